//! `cargo xtask`: everything that is done to this project from a command line, so that a machine
//! needs nothing but rustup and a C compiler; the tests also need Python, Node, `PostgreSQL` and
//! Redis.

mod bench;
mod clients;
mod debian;
mod deploy;
mod fleet;
mod plugins;
mod project;
mod servers;
mod soak;
mod test;
mod tidy;
mod tools;
mod up;

use std::process::ExitCode;

use anyhow::{Result, bail};

use project::Project;

const USAGE: &str = "\
cargo xtask COMMAND

  up [ARGUMENTS]      sets everything up, builds and starts Pillion; ARGUMENTS are `pillion up`'s
  up --fleet          the same as a fleet: every service its own process, the busy ones twice, on
                      PostgreSQL, NATS and Redis; takes `--config FILE` and `--data DIR`
  test [ARGUMENTS]    builds what the tests need and runs them all; ARGUMENTS are `cargo test`'s
  plugins             builds the plugins into target/plugins
  bench [ARGUMENTS]   measures what plugins cost and holds it against the budgets; ARGUMENTS are
                      the comparison's: `--rounds N`, `--seconds N`, `--modes wasm,native`
  bench load|bounds|growth
                      puts a running system under load, `--forms embedded,fleet` two forms of it in
                      turns; or measures what in it cannot be multiplied; or how its costs grow with
                      what is stored and with followers; `--help` after it shows the ARGUMENTS
  soak crash [KILLS]  kills a running system 1,000 times, or KILLS times, on each back end, and checks
                      that it keeps what it acknowledged
  soak sagas          ends a running system at every place of every saga, on each back end, and
                      checks that each saga ends whole
  soak hostile [SECONDS]
                      has all hostile components attack at once for ten minutes, or SECONDS, beside a
                      healthy plugin, and checks its latency and the host's memory
  soak stash [REQUESTS]
                      sends a million requests, or REQUESTS, through plugins that keep what they see
  soak partition [SECONDS [PART[,PART]]]
                      cuts a fleet between any two of its parts for 60 seconds, or SECONDS, and
                      checks the same; with a PART, such as tweets or NATS, only where that is one
  soak overload [SECONDS]
                      sends three times what a running system can serve, for 30 seconds, or SECONDS,
                      and holds goodput and refusals to what is promised
  soak attacks [SECONDS]
                      lets one address misbehave in every way, each for 10 seconds, or SECONDS, and
                      holds another one's latency to what is promised
  tidy                checks what compiler and lints cannot see";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let project = Project::find()?;
    match command.as_str() {
        "up" => up::up(&project, &rest),
        "test" => test::test(&project, &rest),
        "plugins" => {
            tools::ready(&project)?;
            plugins::build(&project)?;
            Ok(ExitCode::SUCCESS)
        }
        "bench" => bench::bench(&project, &rest),
        "soak" => soak::soak(&project, &rest),
        "tidy" => tidy::tidy(&project),
        "" | "help" | "-h" | "--help" => {
            eprintln!("{USAGE}");
            Ok(if command.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        other => bail!("there is no command `{other}`\n\n{USAGE}"),
    }
}
