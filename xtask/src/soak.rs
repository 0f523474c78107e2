//! Tests that go on for as long as somebody wants them to.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::project::{Project, run, say};
use crate::{plugins, servers, tools};

/// Kills, unless another number is given: a thousand crashes have found what ten did not.
const KILLS_DEFAULT: u32 = 1_000;

/// `soak crash [KILLS]`: kills the system at any moment, so many times on each back end, and
/// holds what it has against what was acknowledged.
pub(crate) fn soak(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let kills = match arguments {
        [what] if what == "crash" => KILLS_DEFAULT,
        [what, kills] if what == "crash" => {
            kills.parse().with_context(|| format!("`{kills}` is not a number of kills"))?
        }
        _ => bail!("say `cargo xtask soak crash`, or `cargo xtask soak crash KILLS`"),
    };
    tools::ready(project)?;
    plugins::build(project)?;
    servers::install(project)?;
    let packages = ["--package", "pillion", "--package", "pillion-tests"];
    run(project.cargo(&["build"]).args(packages), "building the program")?;
    say(&format!("{kills} kills on each back end; each takes about half a second"));
    let mut test = project.cargo(&["test"]);
    test.args(packages).args(["--test", "crash", "--", "--nocapture", "kills_at_any_moment"]);
    run(test.env("PILLION_SOAK_KILLS", kills.to_string()), "killing")?;
    Ok(ExitCode::SUCCESS)
}
