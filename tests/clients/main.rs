//! X's client libraries against the system: programs that exist work with another address.
//!
//! The tests themselves are in `python/` and `node/`, written against each library as its users
//! write; here each gets a system of its own. `cargo xtask test` installs the libraries.

#![expect(clippy::print_stdout, reason = "who runs it by hand reads how much was tried")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pillion_tests::build;
use pillion_tests::system::System;

/// Each takes seconds; a library that waits for ever says nothing.
const DEADLINE: Duration = Duration::from_mins(2);

/// Runs a library's tests against a new system. `passed` finds in their output how many passed.
fn run(tests: Command, folder: &str, passed: impl Fn(&str) -> Option<u64>) {
    // A sample is one tweet of a hundred: a suite that waits for one posts more than X allows.
    let system = System::start_with(|config| {
        let posts = "\"POST /2/tweets\" = { user = 100 }";
        assert!(config.contains(posts), "the limit on posts is written differently");
        config.replace(posts, "\"POST /2/tweets\" = { user = 5000 }")
    });
    let folder = build::root().join("tests/clients").join(folder);
    let text = run_against(&system, tests, &folder, DEADLINE);
    // To the runners, no tests are a success.
    let passed = passed(&text).unwrap_or_default();
    assert!(passed > 0, "no test ran\n{text}");
}

/// Runs a program against a system, asserts that it succeeds, and returns what it printed.
fn run_against(system: &System, mut tests: Command, folder: &Path, deadline: Duration) -> String {
    let log = system.folder().join("client.log");
    let output = File::create(&log).expect("a log");
    let mut tests = tests
        .current_dir(folder)
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
        if began.elapsed() > deadline {
            tests.kill().expect("a child of ours");
            break tests.wait().expect("a child of ours");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(status.success(), "{status}\n{text}");
    text
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

/// Random requests of each operation and phase, and how long all of them may take: an on-demand run
/// sets more with `PILLION_SOAK_EXAMPLES`.
const EXAMPLES: u32 = 3;
const SCHEMATHESIS_DEADLINE: Duration = Duration::from_mins(5);

/// P13: schemathesis, in all phases and with all checks but one, finds nothing wrong with the API.
///
/// The one is that what the schema allows is accepted: ids must be of something that exists, and a
/// path's account the caller's own, which a schema cannot say. Left out are operations that end the
/// caller's account, and connections that stay open.
#[test]
fn p13_schemathesis_finds_no_failure() {
    let examples = std::env::var("PILLION_SOAK_EXAMPLES");
    let (examples, deadline) = match examples {
        Ok(examples) => {
            let examples: u32 = examples.parse().expect("a number of examples");
            // A tenth of a second for each of 70 operations and four phases.
            (examples, SCHEMATHESIS_DEADLINE + Duration::from_secs(30) * examples)
        }
        Err(_) => (EXAMPLES, SCHEMATHESIS_DEADLINE),
    };
    let system = System::start_with(|config| {
        let chain = "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]";
        assert!(config.contains(chain), "the chain is written differently");
        config.replace(chain, "plugins = [\"logging\", \"auth\"]")
    });
    let mut tests = Command::new(build::client("venv/bin/schemathesis"));
    tests.args(["run", &format!("{}/openapi.json", system.client.base())]);
    tests.args(["--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"]);
    tests.args(["--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]);
    tests.args(["--max-examples", &examples.to_string(), "--seed", "1", "--workers", "1"]);
    tests.args(["--exclude-path-regex", "stream$", "--exclude-path", "/pillion/v1/accounts/me"]);
    tests.args(["--suppress-health-check", "all", "--request-timeout", "30", "--no-color"]);
    tests.arg("--header").arg(format!("Authorization: Bearer {}", system.demo("bearer_token")));
    // It leaves its notes in the working folder.
    let text = run_against(&system, tests, system.folder(), deadline);
    let generated = text.lines().find_map(|line| {
        let (count, _) = line.trim().split_once(" generated")?;
        count.parse::<u32>().ok()
    });
    let generated = generated.unwrap_or_else(|| panic!("no summary\n{text}"));
    println!("{generated} requests");
    assert!(generated >= 3_000, "only {generated} requests\n{text}");
    assert!(!text.contains("Missing authentication"), "{text}");
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
