//! Measures what plugins cost: single hooks and swaps, then whole servers side by side; and what
//! the whole system bears.

use std::process::ExitCode;

use anyhow::Result;

use crate::project::{Project, run, say};
use crate::{plugins, servers, tools};

const PACKAGE: &str = "pillion-bench";

/// The measurements of a running system.
const OF_SYSTEM: [&str; 3] = ["load", "bounds", "growth"];

/// Words among their arguments without which no server is started.
const OF_SERVERS: [&str; 2] = ["bounds", "--forms"];

/// Builds what is measured, measures, and prints the figures next to their budgets. `arguments`
/// are those of the comparison of servers, such as `--rounds 10`, or begin with one of
/// [`OF_SYSTEM`].
pub(crate) fn bench(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    tools::ready(project)?;
    if arguments.first().is_some_and(|first| OF_SYSTEM.contains(&first.as_str())) {
        return system(project, arguments);
    }
    plugins::build(project)?;
    plugins::build_fixtures(project)?;
    say("building the benchmarks; the first time this takes some minutes");
    // Both programs come from this one profile and share all that they stand on.
    run(
        &mut project.cargo(&["bench", "--package", PACKAGE, "--bench", "hooks"]),
        "measuring hooks and swaps",
    )?;
    run(
        project.cargo(&["run", "--release", "--package", PACKAGE, "--", "compare"]).args(arguments),
        "comparing servers",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the program under load that is built as for use.
fn system(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|it| OF_SERVERS.iter().any(|word| it.starts_with(word))) {
        servers::install(project)?;
    }
    plugins::build(project)?;
    say("building the program and its load; the first time this takes some minutes");
    // Together: what both stand on has the program's features then, as `up` has built it.
    let packages = ["build", "--release", "--package", "pillion", "--package", PACKAGE];
    run(&mut project.cargo(&packages), "building")?;
    let mut load = std::process::Command::new(project.target.join("release").join(PACKAGE));
    run(load.args(arguments), "measuring")?;
    Ok(ExitCode::SUCCESS)
}
