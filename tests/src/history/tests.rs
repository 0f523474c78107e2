//! The checker finds what is bad in made-up histories, and nothing in good ones.

use super::*;

/// `try KEY [STREAM]`, `ack KEY`, `no KEY` and `lost-answer KEY`, separated by commas. The id of a
/// write is its key with `#` before it.
fn log(text: &str) -> Vec<Line> {
    let lines = text.split(", ").filter(|line| !line.is_empty()).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let key = words[1].to_owned();
        let outcome = match words[0] {
            "try" => {
                let stream = words.get(2).copied().unwrap_or("s").to_owned();
                return Line::Attempt { key, stream };
            }
            "ack" => Outcome::Acknowledged(format!("#{key}")),
            "no" => Outcome::Refused,
            "lost-answer" => Outcome::Unknown,
            other => panic!("{other}?"),
        };
        Line::Outcome { key, outcome }
    });
    lines.collect()
}

/// Keys in the order in which they are held; `KEY=ID` has another id than its own.
fn held(text: &str) -> Vec<Held> {
    let held = text.split_whitespace().map(|it| match it.split_once('=') {
        Some((key, id)) => Held { key: key.to_owned(), id: id.to_owned() },
        None => Held { key: it.to_owned(), id: format!("#{it}") },
    });
    held.collect()
}

fn report(lines: &str, holds: &str) -> Report {
    check(&log(lines), &held(holds)).expect("a client that logs as it should")
}

#[test]
fn good_histories_pass() {
    for (what, lines, holds) in [
        ("nothing", "", ""),
        ("one after the other", "try a, ack a, try b, ack b", "a b"),
        ("at once, in either order", "try a, try b, ack a, ack b", "b a"),
        ("two streams are in no order", "try a one, ack a, try b two, ack b", "b a"),
        ("refused and not there", "try a, no a, try b, ack b", "b"),
        ("unknown and there", "try a, lost-answer a", "a"),
        ("unknown and not there", "try a, lost-answer a", ""),
        ("killed before the outcome", "try a, ack a, try b", "a b"),
        ("unknown, applied late", "try a, lost-answer a, try b, ack b", "b a"),
    ] {
        let report = report(lines, holds);
        assert!(report.is_good(), "{what}: {report}");
    }
}

#[test]
fn what_is_bad_is_found_and_nothing_else_is_blamed() {
    for (what, lines, holds, expected) in [
        ("acknowledged, not there", "try a, ack a, try b, ack b", "b", ("a", Verdict::Lost)),
        ("there under another id", "try a, ack a, try b, ack b", "a=#z b", ("a", Verdict::Lost)),
        ("there twice", "try a, ack a, try b, ack b", "a a b", ("a", Verdict::Duplicated)),
        ("twice, two ids", "try a, ack a, try b, ack b", "a a=#z b", ("a", Verdict::Duplicated)),
        ("unknown and there twice", "try a, try b, ack b", "a a b", ("a", Verdict::Duplicated)),
        ("overtaken", "try a, ack a, try b, ack b", "b a", ("a", Verdict::Reordered)),
        ("overtaken by an unknown", "try a, ack a, try b", "b a", ("a", Verdict::Reordered)),
        (
            "overtaken within its stream",
            "try a one, ack a, try c two, ack c, try b one, ack b",
            "b c a",
            ("a", Verdict::Reordered),
        ),
        ("refused and there", "try a, no a, try b, ack b", "a b", ("a", Verdict::Phantom)),
    ] {
        let report = report(lines, holds);
        assert!(!report.is_good(), "{what}: {report}");
        let bad: Vec<(&str, Verdict)> = (report.verdicts.iter())
            .filter(|(_key, verdict)| verdict.is_bad())
            .map(|(key, verdict)| (key.as_str(), *verdict))
            .collect();
        assert_eq!(bad, [expected], "{what}: {report}");
    }
}

#[test]
fn unknown_attempts_are_told_apart() {
    let report = report("try a, lost-answer a, try b, lost-answer b, try c", "b");
    assert_eq!(report.with(Verdict::Unknown { applied: true }), ["b"]);
    assert_eq!(report.with(Verdict::Unknown { applied: false }), ["a", "c"]);
}

#[test]
fn what_nobody_wrote_is_bad() {
    let report = report("try a, ack a", "a ghost");
    assert!(!report.is_good());
    assert_eq!(report.unasked, held("ghost"));
    let text = report.to_string();
    assert!(text.ends_with("1 never attempted\n  never attempted: ghost"), "{text}");
}

#[test]
fn a_log_that_contradicts_itself_is_refused() {
    for (lines, complaint) in [
        ("try a, ack a, try a", "line 3: a second attempt with the key a"),
        ("try a, ack b", "line 2: an outcome without an attempt: b"),
        ("try a, ack a, no a", "line 3: a second outcome of a"),
    ] {
        let error = check(&log(lines), &[]).expect_err("a bad log");
        assert_eq!(error.to_string(), complaint);
    }
}

#[test]
fn a_log_survives_being_written_and_cut_short() {
    let lines = log("try a, ack a, try b, no b, try c, lost-answer c");
    let mut text = String::new();
    for line in &lines {
        text += &serde_json::to_string(line).expect("a line is JSON");
        text.push('\n');
    }
    assert_eq!(parse(&text).expect("whole"), lines);
    let first = text.lines().next().expect("a line");
    assert_eq!(first, r#"{"line":"attempt","key":"a","stream":"s"}"#);
    // Killed in the middle of the last line, wherever that is.
    for cut in text.trim_end().rfind('\n').expect("lines") + 1..text.len() {
        assert_eq!(parse(&text[..cut]).expect("cut"), lines[..5], "{:?}", &text[..cut]);
    }
    let broken = text.replace("\"key\":\"b\"", "");
    assert!(parse(&broken).expect_err("broken").to_string().starts_with("line 3: "));
}

/// A repeatable sequence of numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).expect("64 bits")).expect("64 bits")
    }
}

/// What a perfect system does with clients that write at once: each write is applied at some
/// moment between its attempt and its outcome, or whenever if its answer is lost.
fn perfect(numbers: &mut Numbers) -> (Vec<Line>, Vec<Held>) {
    const WRITES: usize = 60;
    const AT_ONCE: usize = 4;
    let (mut log, mut held) = (Vec::new(), Vec::new());
    // Key, and whether it is applied yet.
    let mut under_way: Vec<(String, bool)> = Vec::new();
    let mut begun = 0;
    while begun < WRITES || !under_way.is_empty() {
        if begun < WRITES && under_way.len() < AT_ONCE && numbers.below(3) > 0 {
            let (key, stream) = (format!("w{begun}"), format!("s{}", begun % 2));
            log.push(Line::Attempt { key: key.clone(), stream });
            under_way.push((key, false));
            begun += 1;
        } else if !under_way.is_empty() {
            let place = numbers.below(under_way.len());
            let (key, is_applied) = &mut under_way[place];
            let key = key.clone();
            if !*is_applied {
                *is_applied = true;
                held.push(Held { id: format!("#{key}"), key });
                continue;
            }
            under_way.remove(place);
            let outcome = match numbers.below(8) {
                0 => Outcome::Unknown,
                _ => Outcome::Acknowledged(format!("#{key}")),
            };
            log.push(Line::Outcome { key, outcome });
        }
    }
    (log, held)
}

#[test]
fn every_damage_to_a_good_history_is_found() {
    for seed in 1..=300 {
        let mut numbers = Numbers(seed);
        let (log, held) = perfect(&mut numbers);
        let good = check(&log, &held).expect("a good log");
        assert!(good.is_good(), "seed {seed}: {good}");
        let sure = good.with(Verdict::Ok);
        let key = sure[numbers.below(sure.len())];
        let place = held.iter().position(|it| it.key == key).expect("it is held");

        let mut damaged = held.clone();
        damaged.remove(place);
        let report = check(&log, &damaged).expect("a good log");
        assert_eq!(report.with(Verdict::Lost), [key], "seed {seed}: {report}");

        let mut damaged = held.clone();
        damaged.push(held[place].clone());
        let report = check(&log, &damaged).expect("a good log");
        assert_eq!(report.with(Verdict::Duplicated), [key], "seed {seed}: {report}");

        // Behind all others: out of order if any of its stream was sent after its answer.
        let at = |wanted: &dyn Fn(&Line) -> bool| log.iter().position(wanted);
        let answered = at(&|line| matches!(line, Line::Outcome { key: of, .. } if of == key));
        let own = log.iter().find_map(|line| match line {
            Line::Attempt { key: of, stream } if of == key => Some(stream),
            _ => None,
        });
        let is_followed = log.iter().enumerate().any(|(index, line)| {
            matches!(line, Line::Attempt { stream, .. } if Some(stream) == own)
                && Some(index) > answered
        });
        let mut damaged = held.clone();
        let moved = damaged.remove(place);
        damaged.push(moved);
        let report = check(&log, &damaged).expect("a good log");
        let expected = if is_followed { vec![key] } else { vec![] };
        assert_eq!(report.with(Verdict::Reordered), expected, "seed {seed}: {report}");
    }
}
