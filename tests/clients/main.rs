//! X's client libraries against the system: programs that exist work with another address.
//!
//! The tests themselves are in `python/` and `node/`, written against each library as its users
//! write; here each gets a system of its own. `cargo xtask test` installs the libraries.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pillion_tests::build;
use pillion_tests::system::System;

/// Each takes seconds; a library that waits for ever says nothing.
const DEADLINE: Duration = Duration::from_mins(2);

/// Runs a library's tests against a new system. `passed` finds in their output how many passed.
fn run(mut tests: Command, folder: &str, passed: impl Fn(&str) -> Option<u64>) {
    // A sample is one tweet of a hundred: a suite that waits for one posts more than X allows.
    let system = System::start_with(|config| {
        let posts = "\"POST /2/tweets\" = { user = 100 }";
        assert!(config.contains(posts), "the limit on posts is written differently");
        config.replace(posts, "\"POST /2/tweets\" = { user = 5000 }")
    });
    let log = system.folder().join("client.log");
    let output = File::create(&log).expect("a log");
    let mut tests = tests
        .current_dir(build::root().join("tests/clients").join(folder))
        .env("PILLION_URL", system.client.base())
        // The system is on this machine, whatever stands between it and others.
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a log"))
        .stderr(output)
        .spawn()
        .expect("the library's language runs");
    let began = Instant::now();
    let status = loop {
        if let Some(status) = tests.try_wait().expect("a child of ours") {
            break status;
        }
        if began.elapsed() > DEADLINE {
            tests.kill().expect("a child of ours");
            break tests.wait().expect("a child of ours");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(status.success(), "{status}\n{text}");
    // To the runners, no tests are a success.
    let passed = passed(&text).unwrap_or_default();
    assert!(passed > 0, "no test ran\n{text}");
}

fn python(module: &str) {
    let mut tests = Command::new(build::client("venv/bin/python"));
    // -B: nothing is written beside the sources.
    tests.args(["-B", "-m", "unittest", "--verbose", module]);
    run(tests, "python", |text| {
        let (_, rest) = text.rsplit_once("\nRan ")?;
        rest.split_whitespace().next()?.parse().ok()
    });
}

fn node(file: &str) {
    let modules = build::client("node/node_modules");
    let mut tests = Command::new("node");
    tests.args(["--test", "--test-reporter=tap"]).arg(Path::new(".").join(file));
    tests.env("NODE_PATH", modules);
    run(tests, "node", |text| {
        text.lines().find_map(|line| line.strip_prefix("# pass ")?.trim().parse().ok())
    });
}

#[test]
fn tweepy() {
    python("test_tweepy");
}

#[test]
fn tweepy_among_people() {
    python("test_tweepy_social");
}

#[test]
fn xdk() {
    python("test_xdk");
}

#[test]
fn xdk_among_people() {
    python("test_xdk_social");
}

#[test]
fn twitter_api_v2() {
    node("twitter_api_v2.test.js");
}

#[test]
fn twitter_api_v2_among_people() {
    node("twitter_api_v2_social.test.js");
}

#[test]
fn twitter_api_sdk_among_people() {
    node("twitter_api_sdk_social.test.js");
}

#[test]
fn twitter_api_sdk() {
    node("twitter_api_sdk.test.js");
}
