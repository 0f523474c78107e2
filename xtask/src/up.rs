//! From a fresh clone to a running system.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow};

use crate::project::{Project, run, say};
use crate::{fleet, plugins, tools};

/// Builds what has changed, then becomes `pillion up`, so that signals reach it directly; or, with
/// `--fleet`, starts every service as a process of its own.
pub(crate) fn up(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    tools::ready(project)?;
    if !project.target.join("release/pillion").exists() {
        say("the first build takes some minutes; later ones take what has changed");
    }
    let built = plugins::build(project).and_then(|()| {
        run(
            &mut project.cargo(&["build", "--release", "--package", "pillion"]),
            "building the program",
        )
    });
    built.map_err(|error| tools::full_disk(project).map_or(error, |full| anyhow!(full)))?;
    if arguments.iter().any(|it| it == "--fleet") {
        return fleet::up(project, arguments);
    }
    let mut pillion = Command::new(project.target.join("release/pillion"));
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
