//! `pillion plugin inspect` and `run` with components that speak to the terminal, exceed limits,
//! or fail.

use std::path::Path;
use std::process::{Command, Output};

use pillion_tests::build;

use crate::guest::Guest;

/// What the program prints, standard output first, and whether it succeeded.
fn pillion(arguments: &[&str], component: &Path, more: &[&str]) -> (bool, String) {
    let output = Command::new(build::pillion())
        .args(arguments)
        .arg(component)
        .args(more)
        .env_remove("PILLION_LOG")
        .output()
        .expect("the program runs");
    let Output { status, stdout, stderr } = output;
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.success(), said)
}

/// Nothing but visible text and line feeds that are the program's own.
fn assert_printable(said: &str) {
    let bad = |char: char| {
        (char.is_control() && char != '\n') || matches!(char, '\u{202a}'..='\u{202e}' | '\u{200b}')
    };
    assert!(!said.contains(bad), "{said:?}");
    let forged = |line: &&str| line.trim_start().starts_with("FORGED");
    assert_eq!(said.lines().find(forged), None, "{said}");
}

const EVIL: &str = "\r\nFORGED \u{1b}[31m\u{9b}1m\u{202e}\u{200b}";

#[test]
fn h03_nothing_that_a_component_says_reaches_the_terminal_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = || Guest {
        description: format!("It is.{EVIL}"),
        schema: serde_json::json!({ "properties": { EVIL: { "description": EVIL } } }).to_string(),
        name: format!("hook{EVIL}"),
        body: format!("body{EVIL}"),
        ..Guest::default()
    };
    let path = guest().write(&folder);
    for more in [&[][..], &["--json"]] {
        let (done, said) = pillion(&["plugin", "inspect"], &path, more);
        assert!(done && said.contains("It is."), "{said}");
        assert_printable(&said);
    }
    // A trap names the function.
    let trap = Guest { on_request: "(unreachable)".to_owned(), ..guest() };
    let (done, said) = pillion(&["plugin", "run"], &trap.write(&folder), &[]);
    assert!(!done && said.contains("hook\\r\\nFORGED"), "{said}");
    assert_printable(&said);
    // A body, of which line feeds are shown.
    let answer = Guest { on_request: "(call $respond (i32.const 200))".to_owned(), ..guest() };
    let (done, said) = pillion(&["plugin", "run"], &answer.write(&folder), &[]);
    assert!(done && said.contains("\\u{1b}[31m"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{said:?}");
    // Configuration errors, and a function name of 90 KB.
    let refuses = Guest { problems: vec![(EVIL.to_owned(), EVIL.to_owned()); 20], ..guest() };
    let (done, said) = pillion(&["plugin", "run"], &refuses.write(&folder), &[]);
    assert!(!done && said.contains("and 4 more"), "{said}");
    assert_printable(&said);
    let long = Guest {
        name: "n".repeat(90_000),
        on_request: "(unreachable)".to_owned(),
        ..Guest::default()
    };
    let (done, said) = pillion(&["plugin", "run"], &long.write(&folder), &[]);
    assert!(!done && said.contains("more bytes") && said.len() < 8_000, "{} bytes", said.len());
}

#[test]
fn h04_the_author_is_told_of_a_body_that_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest =
        Guest { on_request: "(call $respond (i32.const 204))".to_owned(), ..Guest::default() };
    let (done, said) = pillion(&["plugin", "run"], &guest.write(&folder), &[]);
    assert!(done && said.contains("RFC 9110") && said.contains("204"), "{said}");
}

#[test]
fn h11_a_call_that_was_not_granted_names_the_grant() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = Guest {
        imports: r#"(import "pillion:plugin/random@0.1.0" "bytes" (func $bytes (param i32 i32)))"#
            .to_owned(),
        on_request: "(call $bytes (i32.const 1) (i32.const 16)) (call $continue)".to_owned(),
        ..Guest::default()
    };
    let (done, said) = pillion(&["plugin", "run"], &guest.write(&folder), &["--grant", "metrics"]);
    assert!(!done && said.contains("called `bytes` of `random`"), "{said}");
    assert!(said.contains("add \"random\" to its grants"), "{said}");
}

#[test]
fn h11_the_contract_is_printed_as_one_file() {
    let output = Command::new(build::pillion()).args(["plugin", "wit"]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.matches("package pillion:plugin@0.1.0;").count(), 1);
    assert!(text.contains("world request-only") && text.contains("interface types"), "{text}");
}

#[test]
fn h12_limits_are_raised_on_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = || Guest { pages: 400, ..Guest::default() };
    let path = large().write(&folder);
    for command in ["inspect", "run"] {
        let (done, said) = pillion(&["plugin", command], &path, &[]);
        assert!(!done, "{said}");
        assert!(said.contains("limits.memory_bytes = 16777216"), "{said}");
        assert!(said.contains("--limits KEY=VALUE"), "{said}");
        for limits in ["memory_bytes=33554432", "interpreter"] {
            let (done, said) = pillion(&["plugin", command], &path, &["--limits", limits]);
            assert!(done, "{command} --limits {limits}: {said}");
        }
    }
}

/// The message of each limit has the key and the value of the configuration.
#[test]
fn h18_an_exceeded_limit_names_its_key_and_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Guest {
        imports: r#"(import "pillion:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#
            .to_owned(),
        pages: 40,
        on_request: "(call $log (i32.const 2) (i32.const 0) (i32.const 2097152)) (call $continue)"
            .to_owned(),
        ..Guest::default()
    };
    let table = Guest {
        items: "(table $t 1 funcref)".to_owned(),
        on_request: "(if (i32.eq (table.grow $t (ref.null func) (i32.const 5000)) (i32.const -1))
              (then (unreachable)))
            (call $continue)"
            .to_owned(),
        ..Guest::default()
    };
    let large_table = Guest { items: "(table $t 5000 funcref)".to_owned(), ..Guest::default() };
    let memory = Guest {
        on_request: "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1))
              (then (unreachable)))
            (call $continue)"
            .to_owned(),
        ..Guest::default()
    };
    let calls = Guest {
        imports:
            r#"(import "pillion:plugin/current@0.1.0" "field" (func $field (param i32 i32 i32)))"#
                .to_owned(),
        on_request:
            "(loop $again (call $field (i32.const 1) (i32.const 1) (i32.const 16)) (br $again))
            (call $continue)"
                .to_owned(),
        ..Guest::default()
    };
    let spin = Guest {
        on_request: "(loop $again (br $again)) (call $continue)".to_owned(),
        ..Guest::default()
    };
    let handles = Guest {
        wasi: vec!["wasi:cli/stdout@0.2.6"],
        imports: r#"(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))"#
            .to_owned(),
        on_request: "(loop $again (drop (call $stdout)) (br $again)) (call $continue)".to_owned(),
        ..Guest::default()
    };
    let patient = &["--limits", "deadline_ms=60000"][..];
    for (guest, more, says) in [
        (log, &[][..], "limits.host_call_bytes = 1048576"),
        (table, &[][..], "limits.table_elements = 4096"),
        (large_table, &[][..], "limits.table_elements = 4096"),
        (memory, &[][..], "limits.memory_bytes = 16777216"),
        (calls, patient, "limits.host_calls = 10000"),
        (spin, &["--limits", "deadline_ms=20"], "limits.deadline_ms = 20"),
        (handles, patient, "limits.handles = 1024"),
    ] {
        let (done, said) = pillion(&["plugin", "run"], &guest.write(&folder), more);
        assert!(!done && said.contains(says), "{says}: {said}");
    }
}

#[test]
fn h16_a_header_is_appended_beside_those_that_are_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut guest = Guest::default();
    let (name, name_length) = guest.constant(b"vary");
    let (value, value_length) = guest.constant(b"origin");
    let word = |number: usize| u32::try_from(number).expect("an address").to_le_bytes();
    let header = [name, name_length, value, value_length].map(word).concat();
    let (header, _) = guest.constant(&header);
    // `modify` with empty lists but for `append-headers`, and no caller.
    let edits = [1, 0, 0, 0, 0, header, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(word).concat();
    let (edits, _) = guest.constant(&edits);
    guest.on_request = format!("(i32.const {edits})");
    let more = ["--header", "vary: accept"];
    let (done, said) = pillion(&["plugin", "run"], &guest.write(&folder), &more);
    assert!(done && said.contains("vary: accept\n") && said.contains("vary: origin\n"), "{said}");
}

#[test]
fn h25_a_run_fails_when_a_hook_does_and_shows_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let (done, said) =
        pillion(&["plugin", "run"], &Guest::default().write(&folder), &["--times", "3"]);
    assert!(done && said.contains("request") && said.contains("3 calls"), "{said}");
    let trap = Guest { on_request: "(unreachable)".to_owned(), ..Guest::default() };
    let (done, said) = pillion(&["plugin", "run"], &trap.write(&folder), &["--times", "2"]);
    assert!(!done && said.contains("2 of its hooks failed"), "{said}");
}
