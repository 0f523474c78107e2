//! Who can open a breaker, and who cannot.

use super::*;

/// A breaker with its calls, driven by hand.
struct Driven {
    breaker: Breaker,
    now: Instant,
    calls: u64,
}

fn hash(client: u64) -> u64 {
    (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Driven {
    fn new() -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(BreakerSpec::default(), now, [0; 3]), now, calls: 0 }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now += Duration::from_millis(100);
            self.breaker.tick(self.now, [self.calls, 0, 0]);
        }
    }

    /// One request; whether it ran, and what changed.
    fn request(&mut self, client: u64, fails: bool) -> (bool, Option<Transition>) {
        let Ok(admission) = self.breaker.admit(hash(client)) else {
            return (false, None);
        };
        self.calls += 1;
        let calls = [self.calls, 0, 0];
        let origin = Origin { source: hash(client), client: hash(client) };
        let changed = if fails {
            let took = Duration::from_micros(50);
            let (now, phase) = (self.now, Phase::Request);
            self.breaker.failed(now, phase, origin, took, admission, calls).transition
        } else if admission == Admission::Probe {
            self.breaker.probe_succeeded(self.now, calls)
        } else {
            None
        };
        (true, changed)
    }

    fn open(&mut self) {
        for number in 0..40 {
            self.request(number % 10, true);
        }
        assert_eq!(self.breaker.state(), "open");
    }
}

#[test]
fn h01_one_client_never_opens_it() {
    let mut driven = Driven::new();
    for _ in 0..100 {
        for _ in 0..100 {
            assert_eq!(driven.request(0, true), (true, None));
        }
        driven.request(1, false);
        driven.pass(1_000);
    }
}

#[test]
fn a_few_clients_do_not_open_it_for_many_healthy_ones() {
    let mut driven = Driven::new();
    for second in 0..60 {
        for healthy in 0..20 {
            driven.request(100 + healthy, false);
        }
        // A burst of five clients that make most of the requests.
        for number in 0..100 {
            assert_eq!(driven.request(number % 5, true).1, None, "{second}");
        }
        driven.pass(1_000);
    }
}

#[test]
fn it_opens_when_most_requests_of_most_clients_fail() {
    let mut driven = Driven::new();
    for number in 0..100 {
        driven.request(number % 10, false);
    }
    driven.pass(20_000);
    let mut failures = 0;
    while driven.breaker.state() == "closed" {
        driven.request(failures % 10, true);
        failures += 1;
        assert!(failures < 100);
    }
    assert_eq!(failures, 20, "the healthy ones are out of the window");
    assert_eq!(driven.request(50, false), (false, None));
}

#[test]
fn too_few_requests_or_clients_do_not_open_it() {
    let mut driven = Driven::new();
    for number in 0..19 {
        assert_eq!(driven.request(number, true).1, None);
    }
    let mut driven = Driven::new();
    for number in 0..1_000 {
        assert_eq!(driven.request(number % 4, true).1, None);
    }
}

#[test]
fn a_failed_self_check_keeps_it_open_for_longer_each_time() {
    let mut driven = Driven::new();
    driven.open();
    for seconds in [2, 4, 8, 16, 32, 60, 60] {
        driven.now += Duration::from_mins(2);
        assert!(driven.breaker.wants_probe(driven.now));
        let again = driven.breaker.self_checked(driven.now, false);
        let length = Duration::from_secs(seconds);
        assert!(matches!(again, Some(Transition::Opened { length: is, .. }) if is == length));
        assert!(!driven.breaker.wants_probe(driven.now));
    }
}

#[test]
fn a_half_open_breaker_lets_one_request_at_a_time_through() {
    let mut driven = Driven::new();
    driven.open();
    driven.now += Duration::from_secs(1);
    assert_eq!(driven.breaker.self_checked(driven.now, true), Some(Transition::HalfOpened));
    assert_eq!(driven.breaker.admit(hash(1)).unwrap(), Admission::Probe);
    assert!(driven.breaker.admit(hash(2)).is_err(), "one at a time");
    assert_eq!(driven.breaker.probe_succeeded(driven.now, [0; 3]), None);
    assert_eq!(driven.request(1, false), (true, None));
    assert_eq!(driven.request(2, false), (true, Some(Transition::Closed)));
    assert_eq!(driven.breaker.admit(hash(3)).unwrap(), Admission::Normal);
}

#[test]
fn h01_one_failing_client_does_not_keep_it_open() {
    let mut driven = Driven::new();
    driven.open();
    driven.now += Duration::from_secs(1);
    driven.breaker.self_checked(driven.now, true);
    assert_eq!(driven.request(0, true), (true, None));
    for _ in 0..100 {
        assert_eq!(driven.request(0, true), (false, None), "one probe a client");
    }
    driven.request(1, false);
    driven.request(2, false);
    assert_eq!(driven.request(3, false).1, Some(Transition::Closed));
}

#[test]
fn a_plugin_that_still_fails_for_all_is_taken_out_again() {
    let mut driven = Driven::new();
    driven.open();
    driven.now += Duration::from_secs(1);
    driven.breaker.self_checked(driven.now, true);
    for client in 0..4 {
        assert_eq!(driven.request(client, true), (true, None));
    }
    let reopened = driven.request(4, true).1;
    let length = Duration::from_secs(2);
    assert!(matches!(reopened, Some(Transition::Opened { length: is, .. }) if is == length));
    // Fewer clients than it takes to decide by count: time decides.
    driven.now += Duration::from_secs(2);
    driven.breaker.self_checked(driven.now, true);
    driven.request(0, true);
    driven.pass(2_000);
    assert_eq!(driven.breaker.state(), "open");
}

#[test]
fn first_requests_are_a_trial() {
    let driven = Driven::new();
    let is_on_trial = |seconds, calls| {
        let now = driven.now + Duration::from_secs(seconds);
        driven.breaker.is_on_trial(now, [calls, 0, 0])
    };
    assert!(!is_on_trial(0, 0), "started, not swapped in");
    driven.breaker.activate(driven.now, [500, 0, 0], true);
    assert!(is_on_trial(59, 50_000));
    assert!(is_on_trial(600, 1_499));
    assert!(!is_on_trial(60, 1_500));
}
