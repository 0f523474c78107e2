//! Tests that go on for as long as somebody wants them to.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::project::{Project, run, say};
use crate::{plugins, servers, tools};

/// Kills, unless another number is given: a thousand crashes have found what ten did not.
const KILLS_DEFAULT: u32 = 1_000;

/// How long the broker is away, unless another time is given: the promise is ten minutes.
const OUTAGE_SECONDS_DEFAULT: u32 = 600;

/// How long a partition lasts, unless another time is given: longer than every time-out and lease.
const PARTITION_SECONDS_DEFAULT: u32 = 60;

/// How long each fuzz target runs, unless another time is given.
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

/// `soak crash [KILLS]`: kills the system at any moment, so many times on each back end, and holds
/// what it has against what was acknowledged. `soak outage [SECONDS]`: posts go on while the broker
/// is away so long, and are caught up with. `soak partition [SECONDS [PART[,PART]]]`: the parts of a
/// fleet lose each other for so long, every pair in its turn, or those of one part, or one pair.
/// `soak sagas`: ends the system at every place of every saga, on each back end. `soak social`: the
/// suite of what users do with each other, on a fleet. `soak fuzz [SECONDS]`: each fuzz target for so
/// long, with inputs that differ from run to run.
pub(crate) fn soak(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let number = |text: &str| -> Result<u32> {
        text.parse().with_context(|| format!("`{text}` is not a whole number"))
    };
    let (suite, test, variable, value, told) = match arguments {
        [what, rest @ ..] if what == "crash" && rest.len() <= 1 => {
            let kills = rest.first().map_or(Ok(KILLS_DEFAULT), |text| number(text))?;
            let told = format!("{kills} kills on each back end; each takes about half a second");
            ("crash", "kills_at_any_moment", "PILLION_SOAK_KILLS", kills.to_string(), told)
        }
        [what] if what == "sagas" => {
            let told = "some hundred crashes on each back end; each takes about a second";
            let all = "all".to_owned();
            ("crash", "every_saga_ends_whole", "PILLION_SAGA_CELLS", all, told.to_owned())
        }
        [what] if what == "social" => return social(project),
        [what, rest @ ..] if what == "fuzz" && rest.len() <= 1 => {
            let seconds = rest.first().map_or(Ok(FUZZ_SECONDS_DEFAULT), |text| number(text))?;
            return fuzz(project, seconds);
        }
        [what, rest @ ..] if what == "outage" && rest.len() <= 1 => {
            let seconds = rest.first().map_or(Ok(OUTAGE_SECONDS_DEFAULT), |text| number(text))?;
            let told = format!("the broker is away for {seconds} s while posts go on");
            ("crash", "without_its_broker", "PILLION_SOAK_OUTAGE_S", seconds.to_string(), told)
        }
        [what, rest @ ..] if what == "partition" && rest.len() <= 2 => {
            let seconds =
                rest.first().map_or(Ok(PARTITION_SECONDS_DEFAULT), |text| number(text))?;
            let told = format!("every two parts of a fleet lose each other for {seconds} s");
            ("fleet", "partitions_lose", "PILLION_SOAK_PARTITION_S", seconds.to_string(), told)
        }
        _ => bail!(
            "say `cargo xtask soak crash [KILLS]`, `soak sagas`, `soak social`, `soak \
             fuzz [SECONDS]`, `soak outage [SECONDS]` or `soak partition [SECONDS [PART[,PART]]]`"
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
    run(soak.env(variable, value), "soaking")?;
    Ok(ExitCode::SUCCESS)
}

/// Every fuzz target for so long. The seed is shown, for a run that found something.
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
