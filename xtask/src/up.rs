//! From a fresh clone to a running system.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::project::{Project, run, say};
use crate::{fleet, plugins, tools};

/// Builds what has changed, then becomes `pillion up`, so that signals reach it directly; or, with
/// `--fleet`, starts every service as a process of its own.
pub(crate) fn up(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    tools::ready(project)?;
    let program = project.target.join("release/pillion");
    if !program.exists() {
        say("the first build takes some minutes; later ones take what has changed");
    }
    let began = Instant::now();
    let built = plugins::build(project).and_then(|()| {
        run(
            &mut project.cargo(&["build", "--release", "--package", "pillion"]),
            "building the program",
        )
    });
    built.map_err(|error| tools::full_disk(project).map_or(error, |full| anyhow!(full)))?;
    // What a newcomer waits for and what is deployed have budgets: whoever outgrows them sees it.
    let took = began.elapsed().as_secs();
    let tenths = fs::metadata(&program)?.len().div_ceil(100_000);
    let (minutes, seconds, whole, tenth) = (took / 60, took % 60, tenths / 10, tenths % 10);
    say(&format!("built in {minutes} min {seconds} s; the program has {whole}.{tenth} MB"));
    if arguments.iter().any(|it| it == "--fleet") {
        return fleet::up(project, arguments);
    }
    let mut pillion = Command::new(program);
    pillion.arg("up").args(arguments);
    let has_own = |name: &str| {
        let with_value = format!("{name}=");
        arguments.iter().any(|it| it == name || it.starts_with(&with_value))
    };
    // Started from any folder it is the same system with the same data.
    if !has_own("--config") && std::env::var_os("PILLION_CONFIG").is_none() {
        pillion.arg("--config").arg(project.root.join("pillion.toml"));
    }
    let error = pillion.exec();
    Err(error).context(format!("cannot start {}", pillion.get_program().to_string_lossy()))
}
