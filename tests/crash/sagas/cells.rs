//! What is to be crashed: every place that a course comes by, and that nothing of the sagas'
//! declarations is missing among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pillion_tests::ledger::Kinds;

use super::courses::Course;

/// Where the process is ended, while a saga takes this course.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) course: Course,
    /// As `PILLION_CRASH_AT` has it: `saga.send.before change_handle users.swap PUT`.
    pub(super) place: String,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.course, self.place)
    }
}

impl Cell {
    /// The same number every time, and as good as any other's: FNV-1a.
    pub(super) fn lot(&self) -> u64 {
        let fold = |lot: u64, byte: u8| (lot ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, fold)
    }
}

/// The cells of a course, of the trace that it left.
pub(super) fn of(course: Course, trace: &str) -> BTreeSet<Cell> {
    let places = trace.lines().filter(|place| {
        let words: Vec<&str> = place.split(' ').collect();
        // Whether a step that waits for an event is too early at first is up to chance; and a log
        // that says nothing of a step only keeps such a saga for later.
        words.len() > 3 && words[1] == course.saga() && words[3] != "failing"
    });
    places.map(|place| Cell { course, place: place.to_owned() }).collect()
}

/// Every place of every step that a declaration promises is in some course.
pub(super) fn are_all(cells: &BTreeSet<Cell>, declared: &BTreeSet<String>, kinds: &Kinds) {
    let known: BTreeSet<&String> = kinds.keys().collect();
    assert_eq!(known, declared.iter().collect(), "a course for every saga that is declared");
    let met: BTreeSet<&str> = cells.iter().map(|cell| cell.place.as_str()).collect();
    let log = |what: &str| [format!("saga.log.before {what}"), format!("saga.log.after {what}")];
    let mut absent = Vec::new();
    for (saga, steps) in kinds {
        for (index, (step, kind)) in steps.iter().enumerate() {
            let mut expected = Vec::new();
            let mut call = |method: &str, places: &[&str]| {
                let place = |name: &&str| format!("saga.{name} {saga} {step} {method}");
                expected.extend(places.iter().map(place));
            };
            let done = if kind == "wait" {
                expected.extend(log(&format!("{saga} {step} waiting")));
                "proceeded"
            } else {
                let effect = ["effect.before", "effect.after"];
                call("PUT", &["send.before", "send.after", "reply.before"]);
                call("PUT", &effect);
                if matches!(kind.as_str(), "compensated" | "plain") {
                    call("DELETE", &["send.before", "send.after", "reply.before"]);
                }
                if kind == "compensated" {
                    call("DELETE", &["compensate.before", "compensate.after"]);
                    expected.extend(log(&format!("{saga} {step} undone")));
                }
                "done"
            };
            expected.extend(log(&format!("{saga} {step} {done}")));
            if index == 0 {
                expected.extend(log(&format!("{saga} {step} started")));
            }
            absent.extend(expected.into_iter().filter(|place| !met.contains(place.as_str())));
        }
    }
    assert!(absent.is_empty(), "no course comes by: {absent:#?}\nof {met:#?}");
}

/// Of each saga, each of its ends and each kind of place one cell: that with the lowest lot.
pub(super) fn sample(cells: BTreeSet<Cell>, lot: impl Fn(&Cell) -> u64) -> BTreeSet<Cell> {
    let mut chosen = BTreeMap::new();
    for cell in cells {
        let kind: Vec<String> = cell.place.split(' ').map(str::to_owned).collect();
        // All but the step.
        let kind = (kind[..2].to_vec(), kind[3..].to_vec(), cell.course.end());
        let lot = lot(&cell);
        let before = chosen.entry(kind).or_insert_with(|| (lot, cell.clone()));
        if lot < before.0 {
            *before = (lot, cell);
        }
    }
    chosen.into_values().map(|(_, cell)| cell).collect()
}

/// How many there are of each saga, in words.
pub(super) fn told(cells: &[Cell]) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for cell in cells {
        *counts.entry(cell.course.saga()).or_default() += 1;
    }
    crate::world::told(&counts)
}
