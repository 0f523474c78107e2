//! Runs that are too long for every commit: on demand, each with its stated length.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::project::{Project, run, say};
use crate::{clients, plugins, servers, tools};

/// A run of tests that an argument makes as long as it is to be.
struct Soak {
    name: &'static str,
    suite: &'static str,
    /// What the names of its tests begin with.
    test: &'static str,
    /// The environment variable by which they know, and its unit.
    variable: &'static str,
    unit: &'static str,
    default: u32,
    about: &'static str,
}

/// The runs of one suite each; `social` and `fuzz` are of their own kind.
#[rustfmt::skip]
const SOAKS: &[Soak] = &[
    Soak { name: "attacks", suite: "e2e", test: "p18_", variable: "PILLION_SOAK_ATTACKS_S", unit: "SECONDS", default: 10,
        about: "one address attacks in every way, each for that long, beside another one" },
    Soak { name: "crash", suite: "crash", test: "kills_at_any_moment", variable: "PILLION_SOAK_KILLS", unit: "KILLS", default: 1_000,
        about: "kill -9 at any moment, on each backend; half a second each" },
    Soak { name: "hostile", suite: "hostile", test: "all_at_once", variable: "PILLION_SOAK_HOSTILE_S", unit: "SECONDS", default: 600,
        about: "all hostile components at once beside a healthy plugin, whose p99 must not exceed twice its baseline" },
    Soak { name: "hour", suite: "e2e", test: "p20_", variable: "PILLION_SOAK_HOUR_S", unit: "SECONDS", default: 3_600,
        about: "steady load: memory and descriptors stay flat, planted secrets stay out of logs" },
    Soak { name: "outage", suite: "crash", test: "without_its_broker", variable: "PILLION_SOAK_OUTAGE_S", unit: "SECONDS", default: 600,
        about: "the broker is down while posts continue" },
    Soak { name: "overload", suite: "e2e", test: "p17_", variable: "PILLION_SOAK_OVERLOAD_S", unit: "SECONDS", default: 30,
        about: "three times the load that the system has capacity for" },
    Soak { name: "partition", suite: "fleet", test: "partitions_lose", variable: "PILLION_SOAK_PARTITION_S", unit: "SECONDS [PART[,PART]]", default: 60,
        about: "every two parts of a fleet are partitioned for that long, or those of one part, or one pair" },
    Soak { name: "sagas", suite: "crash", test: "every_saga_ends_whole", variable: "PILLION_SAGA_CELLS", unit: "", default: 0,
        about: "an abort at every step of every saga, on each backend; some hundred, a second each" },
    Soak { name: "schemathesis", suite: "clients", test: "p13_", variable: "PILLION_SOAK_EXAMPLES", unit: "EXAMPLES", default: 50,
        about: "random requests of each operation and phase" },
    Soak { name: "stash", suite: "hostile", test: "no_state_crosses", variable: "PILLION_SOAK_STASH", unit: "REQUESTS", default: 1_000_000,
        about: "plugins that keep what they see never see another user's request" },
    Soak { name: "swaps", suite: "swap", test: "p01_six_hundred_swaps", variable: "PILLION_SOAK_SWAPS", unit: "SWAPS", default: 10_000,
        about: "hot swaps under load, 30 a second; memory, descriptors and instances stay flat" },
];

/// How long each fuzz target runs, in seconds, unless another time is given.
const FUZZ_SECONDS_DEFAULT: u32 = 300;

/// Crates with fuzz targets: tests called `fuzz_NAME`.
const FUZZED: [&str; 6] = [
    "pillion",
    "pillion-chassis",
    "pillion-host",
    "pillion-plugin-auth",
    "pillion-search",
    "pillion-text",
];

/// `soak NAME [LENGTH]`: one of [`SOAKS`]; `soak social`: the social suite on a fleet; `soak fuzz
/// [SECONDS]`: each fuzz target for so long, with inputs that differ from run to run.
pub(crate) fn soak(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let (name, rest) = arguments.split_first().map_or(("", arguments), |(name, rest)| (name, rest));
    if name == "social" && rest.is_empty() {
        return social(project);
    }
    let number = |text: &String| -> Result<u32> {
        text.parse().with_context(|| format!("`{text}` is not a whole number"))
    };
    if name == "fuzz" && rest.len() <= 1 {
        return fuzz(project, rest.first().map_or(Ok(FUZZ_SECONDS_DEFAULT), number)?);
    }
    let Some(soak) = SOAKS.iter().find(|soak| soak.name == name) else {
        bail!("usage: cargo xtask soak NAME [LENGTH]\n{}", list());
    };
    let words = soak.unit.split_whitespace().count();
    if rest.len() > words {
        bail!("usage: cargo xtask soak {name} {}", soak.unit);
    }
    let length = match rest.first() {
        Some(text) => number(text)?.to_string(),
        // What has no length runs all of its cells.
        None if words == 0 => "all".to_owned(),
        None => soak.default.to_string(),
    };
    tools::ready(project)?;
    plugins::build(project)?;
    plugins::build_fixtures(project)?;
    servers::install(project)?;
    if soak.suite == "clients" {
        clients::install(project)?;
    }
    let packages = ["--package", "pillion", "--package", "pillion-tests"];
    run(project.cargo(&["build"]).args(packages), "building the program")?;
    say(&format!("{name}: {} ({length} {})", soak.about, soak.unit.to_lowercase()));
    let mut tests = project.cargo(&["test"]);
    tests.args(packages).args(["--test", soak.suite, "--", "--nocapture", soak.test]);
    if let Some(part) = rest.get(1) {
        tests.env("PILLION_SOAK_PART", part);
    }
    run(tests.env(soak.variable, length), "soaking")?;
    Ok(ExitCode::SUCCESS)
}

/// Every run with its unit and default length.
fn list() -> String {
    let line = |soak: &Soak| {
        let default =
            if soak.unit.is_empty() { String::new() } else { format!(" [{}]", soak.default) };
        format!("  {} {}{default}: {}\n", soak.name, soak.unit, soak.about)
    };
    let others = format!(
        "  fuzz SECONDS [{FUZZ_SECONDS_DEFAULT}]: each fuzz target for that long\n  social: what \
         users do with each other, on a fleet\n"
    );
    SOAKS.iter().map(line).chain([others]).collect()
}

/// Runs every fuzz target for so long, from a seed of the clock.
fn fuzz(project: &Project, seconds: u32) -> Result<ExitCode> {
    let seed = std::time::UNIX_EPOCH.elapsed().context("the clock is before 1970")?.as_secs();
    say(&format!("each fuzz target for {seconds} s, with PILLION_FUZZ_SEED={seed}"));
    let mut tests = project.cargo(&["test", "--no-fail-fast", "--lib", "--bins"]);
    for package in FUZZED {
        tests.args(["--package", package]);
    }
    tests.args(["--", "--nocapture", "fuzz_"]);
    tests.env("PILLION_FUZZ_SEED", seed.to_string());
    tests.env("PILLION_FUZZ_MS", (u64::from(seconds) * 1_000).to_string());
    run(&mut tests, "fuzzing")?;
    Ok(ExitCode::SUCCESS)
}

/// Tests of the social suite that are about the files of one process.
const OF_ONE_PROCESS: [&str; 6] = [
    "events::a_backup_while_writes_go_on_is_a_system_of_one_moment",
    "events::a_damaged_backup_is_refused_and_leaves_nothing",
    "events::a_newer_or_foreign_schema_is_refused_and_left_alone",
    "events::another_services_database_is_refused",
    "sealing::",
    "servers::",
];

/// Whoever ended the fleet's processes has gone by then.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// The social suite on one fleet, a test after the other. It wants a machine for itself: 14
/// processes and three servers answer 503 when they get no time.
fn social(project: &Project) -> Result<ExitCode> {
    tools::ready(project)?;
    plugins::build(project)?;
    servers::install(project)?;
    let packages = ["--package", "pillion", "--package", "pillion-tests"];
    run(project.cargo(&["build"]).args(packages), "building the program")?;
    say("what users do with each other, once more on one fleet; some minutes");
    let folder = std::env::temp_dir().join(format!("pillion-social-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut suite = project.cargo(&["test"]);
    suite.args(packages).args(["--test", "e2e", "--", "social::", "--test-threads", "1"]);
    for test in OF_ONE_PROCESS {
        suite.args(["--skip", &format!("social::{test}")]);
    }
    run(suite.env("PILLION_TESTS_FLEET", &folder), "running the suite")?;
    let began = Instant::now();
    while let Err(error) = fs::remove_dir_all(&folder) {
        if began.elapsed() > END_DEADLINE {
            bail!("cannot remove {}: {error}", folder.display());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(ExitCode::SUCCESS)
}
