//! Every case, one after the other on one host.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::case::{self, Reaction};
use crate::pillion::{self, Pillion};
use crate::referee::{self, Row};
use crate::{logs, make};

/// The corpus is never smaller than what was promised.
const CASES_MIN: usize = 64;

/// Tries only the cases whose name holds this.
const ONLY: &str = "PILLION_HOSTILE_CASE";

#[test]
fn the_corpus_is_complete() {
    let cases = case::all();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "each name is there once");
    for case in &cases {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(case.name.bytes().all(legal) && case.name.len() <= 64, "{}", case.name);
        assert!(!case.about.is_empty(), "{}", case.name);
        let fails = !matches!(case.expect.reaction, Reaction::Allowed | Reaction::Sanitized);
        assert_eq!(fails, !case.expect.class.is_empty(), "{}: classes", case.name);
    }
    for reaction in [
        Reaction::Refused,
        Reaction::Interrupted,
        Reaction::Contained,
        Reaction::Sanitized,
        Reaction::Allowed,
    ] {
        assert!(
            cases.iter().any(|case| case.expect.reaction == reaction),
            "no case is {}",
            reaction.name()
        );
    }
}

#[test]
fn every_component_can_be_made() {
    let made = |case: &case::Case| std::panic::catch_unwind(|| drop(make::component(case)));
    let failed = case::all().into_iter().filter(|case| made(case).is_err());
    let failed: Vec<String> = failed.map(|case| case.name).collect();
    assert_eq!(failed, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_case_has_its_reaction_and_leaves_the_host_and_its_neighbor_well() {
    logs::collect();
    let only = std::env::var(ONLY).unwrap_or_default();
    let _alone = pillion::MACHINE.lock().await;
    let mut host = Pillion::start().await;
    let mut rows = Vec::new();
    println!("{}", referee::heading());
    for case in case::all().iter().filter(|case| case.name.contains(&only)) {
        let row = referee::try_case(&mut host, case, &make::component(case)).await;
        // At once, so that a case that never ends is known by name.
        println!("{}", referee::line(&row));
        rows.push(row);
    }
    let wrong: Vec<&Row> = rows.iter().filter(|row| !row.wrong.is_empty()).collect();
    let told: Vec<String> =
        wrong.iter().map(|row| format!("{}: {}", row.name, row.wrong.join("; "))).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), told.join("\n"));
}

/// The page that lists the corpus, and where its table begins and ends.
const PAGE: &str = "docs/hostile.md";
const BEGIN: &str = "<!-- corpus: generated, see tests/hostile/corpus.rs -->\n";
const END: &str = "<!-- end of corpus -->";

/// Writes the page's table again instead of comparing it.
const WRITE: &str = "PILLION_HOSTILE_PAGE";

fn written(chapters: &[case::Chapter]) -> String {
    let mut text = String::new();
    for chapter in chapters {
        let _ = writeln!(text, "\n### {}\n\n{}\n", chapter.name, chapter.about);
        text.push_str("| case | what it does | reaction |\n|---|---|---|\n");
        for case in &chapter.cases {
            let reaction = match (case.expect.reaction, case.expect.class.join(", ")) {
                (reaction, class) if class.is_empty() => reaction.name().to_owned(),
                (reaction, class) => format!("{}: {class}", reaction.name()),
            };
            let _ = writeln!(text, "| `{}` | {} | {reaction} |", case.name, case.about);
        }
    }
    text + "\n"
}

#[test]
fn the_page_lists_the_corpus() {
    let path = pillion_tests::build::root().join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the table begins");
    let (table, after) = rest.split_once(END).expect("the table ends");
    let fresh = written(&case::chapters());
    if std::env::var_os(WRITE).is_some_and(|value| value == "write") {
        std::fs::write(&path, format!("{before}{BEGIN}{fresh}{END}{after}")).expect("the page");
        return;
    }
    assert_eq!(
        table, fresh,
        "{PAGE} is not current; write it again with\n{WRITE}=write cargo test -p pillion-tests --test hostile the_page"
    );
}
