//! Runs every test and says in the last line how many passed.

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::project::{Project, run, say};
use crate::{clients, deploy, plugins, servers, tools};

/// What all test programs together reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// In the order in which they failed.
    failures: Vec<String>,
}

/// Prepares what the suites start (components, the program, servers, client libraries), then builds and
/// runs everything that cargo tests.
/// `arguments` go to `cargo test`.
pub(crate) fn test(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    tools::ready(project)?;
    plugins::build(project)?;
    plugins::build_fixtures(project)?;
    // Without them some tests fail; the others still say what they can.
    let absent: Vec<String> = [
        ("client libraries, so the suite `clients` failed", clients::install(project)),
        ("validators, so the suite `deploy` failed", deploy::install(project)),
        ("servers, so every test that starts one failed", servers::install(project)),
    ]
    .into_iter()
    .filter_map(|(what, installed)| Some(format!("no {what}: {:#}", installed.err()?)))
    .collect();
    for absence in &absent {
        say(absence);
    }
    // Everything at once, the program that the suites start included: built by itself it would
    // have other features, and so another build of half of what it stands on.
    say("building the tests and the program that they start");
    run(&mut project.cargo(&["test", "--workspace", "--no-run"]), "building the tests")?;
    say("running the tests");
    let mut command = project.cargo(&["test", "--workspace", "--no-fail-fast"]);
    let mut tests =
        (command.args(arguments).stdout(Stdio::piped()).spawn()).context("cannot start cargo")?;
    let output = tests.stdout.take().context("no output of cargo")?;
    let mut summary = Summary::default();
    let mut stdout = std::io::stdout().lock();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read cargo's output")?;
        summary.add(&line);
        writeln!(stdout, "{line}").context("cannot write to the output")?;
    }
    let status = tests.wait().context("cannot wait for cargo")?;
    for name in &summary.failures {
        say(&format!("failed: {name}"));
    }
    for absence in &absent {
        say(absence);
    }
    if !status.success() && summary.failed == 0 {
        say("cargo test failed before all tests had run; the cause stands above");
    }
    let Summary { passed, failed, ignored, .. } = summary;
    say(&format!("{passed} passed, {failed} failed, {ignored} ignored"));
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Summary {
    /// Takes in a line of a test program's output.
    fn add(&mut self, line: &str) {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let number: u64 = number.parse().unwrap_or_default();
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_programs() {
        let mut summary = Summary::default();
        for line in [
            "test serve::works ... ok",
            "test serve::breaks ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; \
             finished in 0.00s",
            "test result: ok. 20 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; \
             finished in 1.00s",
        ] {
            summary.add(line);
        }
        let failures = vec!["serve::breaks".to_owned()];
        assert_eq!(summary, Summary { passed: 21, failed: 1, ignored: 2, failures });
    }
}
