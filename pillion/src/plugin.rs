//! `pillion plugin …`: one module per job.

mod inspect;
mod new;
mod run;
mod running;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use pillion_host::{HostOptions, Limits};

use crate::cli;
use crate::fleet_plugins;
use crate::output::print;
use crate::process::compiler;

/// The contract in one file, for tools that take one.
const WIT: &str = include_str!("../../wit/pillion-plugin-0.1.wit");

/// Does what the command line says.
pub(crate) fn plugin(command: &cli::Plugin) -> Result<()> {
    match command {
        cli::Plugin::List(process) => running::list(process),
        cli::Plugin::History(process) => running::history(process),
        cli::Plugin::Rollback(back) if back.fleet.fleet.is_some() => fleet_plugins::rollback(back),
        cli::Plugin::Rollback(back) => running::rollback(back),
        cli::Plugin::Swap(swap) if swap.fleet.fleet.is_some() => fleet_plugins::swap(swap),
        cli::Plugin::Swap(swap) => running::swap(swap),
        cli::Plugin::Publish(publish) => fleet_plugins::publish(publish),
        cli::Plugin::Status(status) => fleet_plugins::status(status),
        cli::Plugin::New(new) => new::new(&new.name, Path::new("")),
        cli::Plugin::Run(run) => run::run(run),
        cli::Plugin::Inspect(inspect) => inspect::inspect(inspect),
        cli::Plugin::Wit => print(WIT),
    }
}

/// A host's options in a folder that goes when it is dropped.
pub(crate) fn scratch() -> Result<(tempfile::TempDir, HostOptions)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut options = HostOptions::new(folder.path());
    options.compiler = compiler()?;
    options.workers = 1;
    Ok((folder, options))
}

/// Limits from the command line: presets and `KEY=VALUE`, the later ones over the earlier.
pub(crate) fn limits(arguments: &[String]) -> Result<Limits> {
    let mut limits = Limits::default();
    for argument in arguments {
        let read = match argument.split_once('=') {
            None => Limits::preset(argument).map(|preset| limits = preset),
            Some((key, value)) => match value.replace('_', "").parse() {
                Ok(value) => limits.set(key.trim(), value),
                Err(_) => Err(format!("`{value}` is not a whole number")),
            },
        };
        read.map_err(|reason| anyhow!("--limits: {reason}"))?;
    }
    Ok(limits)
}

/// Says how to raise a limit here, where there is no `pillion.toml`.
pub(crate) fn explain_limit(error: impl std::fmt::Display) -> anyhow::Error {
    let text = error.to_string();
    if text.contains("limits.") {
        return anyhow!(
            "{text}; to try it with more: --limits KEY=VALUE, or --limits interpreter for a guest \
             with an interpreter"
        );
    }
    anyhow!("{text}")
}

/// A plugin's configuration from the command line: JSON itself, or a file of JSON or TOML.
pub(crate) fn config_argument(argument: &str) -> Result<serde_json::Value> {
    if argument.trim_start().starts_with('{') {
        return serde_json::from_str(argument).context("--config is not JSON");
    }
    let text = std::fs::read_to_string(argument).with_context(|| {
        format!("--config is neither JSON, which begins with `{{`, nor a file: {argument}")
    })?;
    if Path::new(argument).extension().is_some_and(|extension| extension == "toml") {
        let table: toml::Table =
            toml::from_str(&text).with_context(|| format!("{argument} is not TOML"))?;
        return crate::config::json(&table)
            .map_err(|reason| anyhow::anyhow!("{argument}: {reason}"));
    }
    let value: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{argument} is not JSON"))?;
    if !value.is_object() {
        bail!("{argument}: a configuration is a JSON object, `{{…}}`");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_limits_are_presets_and_keys() {
        let read = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
            limits(&arguments)
        };
        assert_eq!(read(&[]).unwrap(), Limits::default());
        let interpreter = Limits::preset("interpreter").unwrap();
        let found = read(&["interpreter", "memory_bytes=268_435_456"]).unwrap();
        assert_eq!(found, Limits { memory_bytes: 256 << 20, ..interpreter });
        for wrong in [["jit"], ["memory=1"], ["memory_bytes=1MiB"]] {
            assert!(read(&wrong).unwrap_err().to_string().starts_with("--limits: "), "{wrong:?}");
        }
    }

    #[test]
    fn a_configuration_is_json_or_a_file_of_json_or_toml() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let expected = serde_json::json!({ "a": [1] });
        assert_eq!(config_argument(" {\"a\":[1]}").unwrap(), expected);
        assert_eq!(config_argument(&file("c.json", "{\"a\":[1]}")).unwrap(), expected);
        assert_eq!(config_argument(&file("c.toml", "a = [1]")).unwrap(), expected);
        for wrong in
            ["{", "no-such-file", &file("d.json", "[1]"), &file("d.toml", "a = 1979-05-27")]
        {
            assert!(config_argument(wrong).is_err(), "{wrong}");
        }
    }
}
