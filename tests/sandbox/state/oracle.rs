//! P16: admitted ≤ burst + rate × time, exactly, on every backend. Random takes at random times are
//! judged by a model that shares no code with the host. The model knows of each take only that
//! its time lies between the request and its answer, so it keeps an interval where the host has a
//! number, and a verdict must be possible for some time in it.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it did not expect ends there, with the reason"
)]

use std::time::Instant;

use tokio::task::JoinSet;

use super::*;

/// Takes of each key: enough for a dozen full buckets and ended windows.
const TAKES: usize = 60;

/// Pauses between takes, in milliseconds: none, less and more than a token's or window's time.
const PAUSES_MS: [u64; 8] = [0, 0, 0, 0, 0, 2, 20, 350];

/// The clocks of servers are read in microseconds, and the fixture's answers are in milliseconds.
const SLACK_MS: f64 = 2.0;

/// When a take may have been judged, in milliseconds of the test.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: f64,
    to: f64,
}

/// A bucket that holds `burst` tokens and gains one every `increment_ms`, as the time at which it
/// would be full.
#[derive(Debug)]
struct BucketModel {
    burst: f64,
    increment_ms: f64,
    full_at: Span,
}

impl BucketModel {
    /// Asserts that the verdict is possible, and applies it.
    fn judge(&mut self, about: &str, at: Span, allowed: bool) {
        let tokens = |full_at: f64, now: f64| {
            let missing = (full_at - now).max(0.0) / self.increment_ms;
            self.burst - missing
        };
        // The most and the least that the bucket can have held.
        let most = tokens(self.full_at.from, at.to + SLACK_MS);
        let least = tokens(self.full_at.to, at.from - SLACK_MS);
        if allowed {
            assert!(most >= 1.0, "{about}: admitted with {least}..{most} tokens: {self:?} {at:?}");
            self.full_at.from = self.full_at.from.max(at.from) + self.increment_ms;
            self.full_at.to = self.full_at.to.max(at.to) + self.increment_ms;
            // What was admitted left no debt: that narrows what the bucket can have held.
            let full_max = at.to + SLACK_MS + self.burst * self.increment_ms;
            self.full_at.to = self.full_at.to.min(full_max);
        } else {
            assert!(least < 1.0, "{about}: refused with {least}..{most} tokens: {self:?} {at:?}");
        }
    }
}

/// A window that begins with the first take after the end of the one before.
#[derive(Debug)]
struct WindowModel {
    limit: u32,
    length_ms: f64,
    running: Option<(Span, u32)>,
}

impl WindowModel {
    fn judge(&mut self, about: &str, at: Span, allowed: bool, left: u32) {
        let may_be_new =
            self.running.is_none_or(|(began, _)| at.to + SLACK_MS >= began.from + self.length_ms);
        let may_be_old =
            self.running.is_some_and(|(began, _)| at.from - SLACK_MS < began.to + self.length_ms);
        let first = allowed && left == self.limit - 1;
        match &mut self.running {
            Some((_, taken)) if may_be_old && allowed && left + *taken + 1 == self.limit => {
                *taken += 1;
            }
            Some((_, taken)) if may_be_old && !allowed && *taken == self.limit => {
                assert_eq!(left, 0, "{about}: {self:?} {at:?}");
            }
            _ => {
                assert!(
                    may_be_new && first,
                    "{about}: allowed {allowed}, left {left}: {self:?} {at:?}"
                );
                self.running = Some((at, 1));
            }
        }
    }
}

/// A generator that is good enough for tests (Knuth, MMIX), the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// Takes from a bucket and a window through hosts that share `backend`.
async fn assert_as_the_model(about: String, nodes: Vec<Node>, seed: u64) {
    let mut dice = Dice(seed);
    let mut bucket =
        BucketModel { burst: 5.0, increment_ms: 100.0, full_at: Span { from: 0.0, to: 0.0 } };
    let mut window = WindowModel { limit: 4, length_ms: 300.0, running: None };
    let began = Instant::now();
    let now = || began.elapsed().as_secs_f64() * 1_000.0;
    let (mut admitted, mut refused) = (0, 0);
    for _ in 0..TAKES {
        let pause = PAUSES_MS[dice.roll(PAUSES_MS.len())];
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let node = &nodes[dice.roll(nodes.len())];
        let of_bucket = dice.roll(2) == 0;
        let deed = if of_bucket { "gcra k 5 500" } else { "window k 4 300" };
        let from = now();
        let answer = node.ask(deed).await;
        let at = Span { from, to: now() };
        let mut words = answer.split(' ');
        let allowed = match words.next() {
            Some("allowed") => true,
            Some("refused") => false,
            _ => panic!("{about}: {answer}"),
        };
        let left: u32 = words.next().and_then(|left| left.parse().ok()).expect("how many are left");
        if of_bucket {
            bucket.judge(&about, at, allowed);
        } else {
            window.judge(&about, at, allowed, left);
        }
        if allowed { admitted += 1 } else { refused += 1 }
    }
    // A model that was never in doubt would prove nothing.
    assert!(admitted > 10 && refused > 5, "{about}: {admitted} admitted, {refused} refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p16_every_backend_admits_what_a_model_admits() {
    let mut runs = JoinSet::new();
    let mut kept = Vec::new();
    for (about, hosts) in [("one host", 1), ("three hosts", 3)] {
        for (backend, guard) in back_ends().await {
            kept.push(guard);
            // Memory is a host's own.
            if hosts > 1 && matches!(backend, StateBackend::Memory) {
                continue;
            }
            let mut nodes = Vec::new();
            for _ in 0..hosts {
                let node = Node::start(state(), both(&backend)).await;
                // Until it has found its backend, a host limits by itself.
                node.until("set ready 1", "set").await;
                nodes.push(node);
            }
            let seed = kept.len() as u64;
            runs.spawn(assert_as_the_model(format!("{about} on {backend:?}"), nodes, seed));
        }
    }
    while let Some(run) = runs.join_next().await {
        run.expect("the model agrees");
    }
}
