//! Tests that go on for as long as somebody wants them to.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::project::{Project, run, say};
use crate::{plugins, servers, tools};

/// Kills, unless another number is given: a thousand crashes have found what ten did not.
const KILLS_DEFAULT: u32 = 1_000;

/// How long the broker is away, unless another time is given: the promise is ten minutes.
const OUTAGE_SECONDS_DEFAULT: u32 = 600;

/// How long a partition lasts, unless another time is given: longer than every time-out and lease.
const PARTITION_SECONDS_DEFAULT: u32 = 60;

/// `soak crash [KILLS]`: kills the system at any moment, so many times on each back end, and
/// holds what it has against what was acknowledged. `soak partition [SECONDS [PART]]`: the same with
/// a fleet whose parts lose each other, every pair in its turn, or those of one part. `soak outage
/// [SECONDS]`: posts go on while the broker is away so long, and are caught up with.
pub(crate) fn soak(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let number = |text: &str| -> Result<u32> {
        text.parse().with_context(|| format!("`{text}` is not a whole number"))
    };
    let (suite, test, variable, value, told) = match arguments {
        [what, rest @ ..] if what == "crash" && rest.len() <= 1 => {
            let kills = rest.first().map_or(Ok(KILLS_DEFAULT), |text| number(text))?;
            let told = format!("{kills} kills on each back end; each takes about half a second");
            ("crash", "kills_at_any_moment", "PILLION_SOAK_KILLS", kills, told)
        }
        [what, rest @ ..] if what == "outage" && rest.len() <= 1 => {
            let seconds = rest.first().map_or(Ok(OUTAGE_SECONDS_DEFAULT), |text| number(text))?;
            let told = format!("the broker is away for {seconds} s while posts go on");
            ("crash", "without_its_broker", "PILLION_SOAK_OUTAGE_S", seconds, told)
        }
        [what, rest @ ..] if what == "partition" && rest.len() <= 2 => {
            let seconds =
                rest.first().map_or(Ok(PARTITION_SECONDS_DEFAULT), |text| number(text))?;
            let told = format!("every pair of parts is cut for {seconds} s, one after the other");
            ("fleet", "partitions", "PILLION_SOAK_PARTITION_S", seconds, told)
        }
        _ => bail!(
            "say `cargo xtask soak crash [KILLS]`, `cargo xtask soak outage [SECONDS]` or \
             `cargo xtask soak partition [SECONDS [PART]]`"
        ),
    };
    tools::ready(project)?;
    plugins::build(project)?;
    servers::install(project)?;
    let packages = ["--package", "pillion", "--package", "pillion-tests"];
    run(project.cargo(&["build"]).args(packages), "building the program")?;
    say(&told);
    let mut soak = project.cargo(&["test"]);
    soak.args(packages).args(["--test", suite, "--", "--nocapture", test]);
    if let Some(part) = arguments.get(2) {
        soak.env("PILLION_SOAK_PART", part);
    }
    run(soak.env(variable, value.to_string()), "soaking")?;
    Ok(ExitCode::SUCCESS)
}
