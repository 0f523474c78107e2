//! Compares servers with and without plugins, and puts the whole system under load. `cargo xtask
//! bench` builds what this needs and runs it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum as _};
use pillion_bench::{
    BoundsPlan, Form, GrowthPlan, LoadPlan, Mode, Plan, bounds, compare, growth, load, serve,
};

/// What plugins cost in a whole server, and what the system bears.
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
    /// Puts a system under the load of a social network, at rising rates.
    Load {
        /// Sizes of populations.
        #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
        users: Vec<usize>,
        /// Requests a second, one after the other.
        #[arg(long, value_delimiter = ',', default_values_t = [200, 400, 800])]
        rates: Vec<u32>,
        /// Seconds at each rate.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Forms of the system, measured in turns.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Form::Embedded])]
        forms: Vec<Form>,
        /// Turns of each form.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Go on to the next form at the first rate at which an objective is missed.
        #[arg(long)]
        saturate: bool,
    },
    /// Measures what cannot be multiplied: a service's one writer, and its consumers.
    Bounds {
        /// The size of the population.
        #[arg(long, default_value_t = 1_000)]
        users: usize,
        /// Seconds for which tweets are posted.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Measures how costs grow with stored tweets and with followers.
    Growth {
        /// Stored tweets, ascending.
        #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
        tweets: Vec<u64>,
        /// Followers of an author.
        #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
        followers: Vec<usize>,
        /// Requests of each kind.
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
        requests: u64,
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
    let command = Arguments::parse().command;
    if cfg!(debug_assertions) && !matches!(command, What::Serve { .. }) {
        eprintln!("this is a debug build, whose figures mean nothing");
    }
    match command {
        What::Serve { mode, folder, core } => serve(mode, &folder, core),
        What::Compare { rounds, seconds, mut modes } => {
            if modes.is_empty() {
                modes = Mode::value_variants().to_vec();
            }
            if !modes.contains(&Mode::Bare) {
                modes.insert(0, Mode::Bare);
            }
            compare(&Plan { rounds, time: Duration::from_secs(seconds), modes })
        }
        What::Load { users, rates, seconds, forms, rounds, saturate } => {
            let time = Duration::from_secs(seconds);
            load(&LoadPlan { users, rates, time, forms, rounds, saturate })
        }
        What::Bounds { users, seconds } => {
            bounds(&BoundsPlan { users, time: Duration::from_secs(seconds) })
        }
        What::Growth { tweets, followers, requests } => {
            growth(&GrowthPlan { tweets, followers, requests })
        }
    }
}
