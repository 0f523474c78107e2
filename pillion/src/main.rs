//! `pillion`: parses the command line, builds what it says, serves, drains, ends.

mod admin;
mod backup;
mod certificates;
mod certs;
mod check;
mod cli;
mod compose;
mod config;
mod data;
mod events;
mod fleet_plugins;
mod keys;
mod migrate;
mod output;
mod plugin;
mod process;
mod reload;
mod revocations;
mod running;
mod saga;
mod seed;
mod serve;
mod status;
mod storage;
mod token_checks;
mod tracing_output;
mod up;
mod vitals;
mod workers;

use std::process::ExitCode;

use clap::Parser as _;

/// A wrong configuration, like wrong usage; clap ends with the same code.
const WRONG_INPUT: u8 = 2;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    let done = match &command {
        cli::Command::Up(up) => up::up(up),
        cli::Command::Serve(serve) => up::serve(serve),
        cli::Command::Check(check) => check::check(check),
        cli::Command::Status(process) => status::status(process),
        cli::Command::Reload(process) => reload::reload(process),
        cli::Command::Plugin(plugin) => plugin::plugin(plugin),
        cli::Command::Events(events) => events::events(events),
        cli::Command::Saga(command) => saga::saga(command),
        cli::Command::Migrate(migrate) => migrate::migrate(migrate),
        cli::Command::Backup(backup) => backup::backup(backup),
        cli::Command::Restore(restore) => backup::restore(restore),
        cli::Command::Certs(certs) => certs::certs(certs),
        cli::Command::Keys(command) => keys::keys(command),
        cli::Command::Compile { input, output } => {
            pillion_host::compile_in_child(input, output).map_err(anyhow::Error::msg)
        }
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    for line in told(&error).lines() {
        eprintln!("error: {line}");
    }
    if error.is::<config::ConfigError>() { ExitCode::from(WRONG_INPUT) } else { ExitCode::FAILURE }
}

/// An error and its causes. A cause that the error before it tells already is left out.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = Err::<(), _>(anyhow::anyhow!("the disk is full"))
            .context("cannot write a: the disk is full")
            .context("cannot start")
            .unwrap_err();
        assert_eq!(told(&error), "cannot start: cannot write a: the disk is full");
    }
}
