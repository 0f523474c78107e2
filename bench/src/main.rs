//! Compares a bare server, native middleware and the three plugins. `cargo xtask bench` builds
//! what this needs and runs it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum as _};
use pillion_bench::{Mode, Plan, compare, serve};

/// What plugins cost in a whole server.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measures all servers in interleaved rounds, on loopback.
    Compare {
        /// Times that every server is measured.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
        /// Servers besides `bare`; without it all of them.
        #[arg(long, value_enum, value_delimiter = ',')]
        modes: Vec<Mode>,
    },
    /// Is one server, until standard input ends.
    Serve {
        /// Which.
        mode: Mode,
        /// Gets the access log and the plugins' state.
        #[arg(long)]
        folder: PathBuf,
        /// The core that it runs on.
        #[arg(long)]
        core: usize,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        What::Serve { mode, folder, core } => serve(mode, &folder, core),
        What::Compare { rounds, seconds, mut modes } => {
            if cfg!(debug_assertions) {
                eprintln!("this is a debug build, whose figures mean nothing");
            }
            if modes.is_empty() {
                modes = Mode::value_variants().to_vec();
            }
            if !modes.contains(&Mode::Bare) {
                modes.insert(0, Mode::Bare);
            }
            compare(&Plan { rounds, time: Duration::from_secs(seconds), modes })
        }
    }
}
