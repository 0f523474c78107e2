//! Measures what plugins cost: single hooks and swaps, then whole servers side by side.

use std::process::ExitCode;

use anyhow::Result;

use crate::project::{Project, run, say};
use crate::{plugins, tools};

const PACKAGE: &str = "pillion-bench";

/// Builds what is measured, measures, and prints the figures next to their budgets. `arguments`
/// are those of the comparison of servers, such as `--rounds 10`.
pub(crate) fn bench(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    tools::ready(project)?;
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
