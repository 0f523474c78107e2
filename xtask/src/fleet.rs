//! `up --fleet`: every service its own process, some of them twice, on servers of their own.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::project::{Project, run};
use crate::servers;

/// Where everything of the fleet is, unless `--data` says otherwise.
const FOLDER: &str = "pillion-data/fleet";

/// What the command takes.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    config: Option<PathBuf>,
    data: PathBuf,
}

/// Starts it; the program and the plugins are built. Becomes the program that runs it, so that
/// signals reach that directly.
pub(crate) fn up(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let Arguments { config, data } = read(arguments)?;
    servers::install(project)?;
    let fleet = ["build", "--package", "pillion-test-servers", "--bin", "fleet"];
    run(&mut project.cargo(&fleet), "building the program that runs a fleet")?;
    let mut command = Command::new(project.target.join("debug/fleet"));
    command.arg(project.target.join("release/pillion")).arg(project.root.join("target/plugins"));
    command.arg(config.unwrap_or_else(|| project.root.join("pillion.toml"))).arg(data);
    let error = command.exec();
    Err(error).context(format!("cannot start {}", command.get_program().to_string_lossy()))
}

fn read(arguments: &[String]) -> Result<Arguments> {
    let mut read = Arguments { config: None, data: FOLDER.into() };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} wants a value"));
        match name.as_str() {
            "--fleet" => {}
            "--config" => read.config = Some(value()?.into()),
            "--data" => read.data = value()?.into(),
            other => bail!("`up --fleet` takes --config FILE and --data DIR, and no `{other}`"),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Arguments> {
        read(&arguments.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let plain = Arguments { config: None, data: FOLDER.into() };
        assert_eq!(of(&["--fleet"]).unwrap(), plain);
        let both = Arguments { config: Some("a.toml".into()), data: "b".into() };
        assert_eq!(of(&["--data", "b", "--fleet", "--config", "a.toml"]).unwrap(), both);
        for wrong in [&["--fleet", "--data"][..], &["--fleet", "--no-seed"]] {
            of(wrong).unwrap_err();
        }
    }
}
