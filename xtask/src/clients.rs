//! Installs the client libraries that the suite `clients` tries on the system.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::project::{Project, run, say, succeeds};

/// What names the libraries and their versions, below `tests/clients`.
const PINS: [&str; 4] =
    ["requirements.txt", "node/.npmrc", "node/package.json", "node/package-lock.json"];

/// What Debian and Ubuntu call what is needed.
const DEBIAN_PACKAGES: [&str; 3] = ["python3-venv", "nodejs", "npm"];

/// Fills `target/clients` with a virtual environment of Python and a folder of Node's, unless
/// they hold these versions already.
pub(crate) fn install(project: &Project) -> Result<()> {
    let from = project.root.join("tests/clients");
    let into = project.root.join("target/clients");
    let mut pins = String::new();
    for name in PINS {
        let path = from.join(name);
        let text = fs::read_to_string(&path);
        pins += &text.with_context(|| format!("cannot read {}", path.display()))?;
    }
    let installed = into.join("installed");
    let python = into.join("venv/bin/python");
    // A virtual environment breaks when its Python goes.
    if fs::read_to_string(&installed).is_ok_and(|there| there == pins)
        && succeeds(&python, &["-c", "import tweepy, xdk, schemathesis"])
        && succeeds(Path::new("node"), &["--version"])
    {
        return Ok(());
    }
    tools()?;
    if into.exists() {
        fs::remove_dir_all(&into).with_context(|| format!("cannot remove {}", into.display()))?;
    }
    say("installing into target/clients: tweepy, xdk, schemathesis");
    let venv = into.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "making a virtual environment")?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]);
    run(pip.arg(from.join("requirements.txt")), "installing Python packages")?;

    say("installing client libraries into target/clients: twitter-api-v2, twitter-api-sdk");
    let node = into.join("node");
    fs::create_dir_all(&node).with_context(|| format!("cannot make {}", node.display()))?;
    for path in PINS.map(Path::new).into_iter().filter(|path| path.starts_with("node")) {
        fs::copy(from.join(path), into.join(path))
            .with_context(|| format!("cannot copy {}", path.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&node);
    run(&mut npm, "installing Node packages")?;
    fs::write(&installed, pins).with_context(|| format!("cannot write {}", installed.display()))
}

/// Python with virtual environments, Node with its test runner, and npm.
fn tools() -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    debian::install(&DEBIAN_PACKAGES);
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the suite `clients` needs {}: on Debian and Ubuntu `apt-get install {}` installs it; \
         elsewhere install Python 3.10 or newer and Node 20 or newer",
        missing.join(" and "),
        DEBIAN_PACKAGES.join(" ")
    );
}

fn missing() -> Vec<&'static str> {
    [
        ("python3 with venv", "python3", ["-c", "import venv, ensurepip"].as_slice()),
        ("node with its test runner", "node", &["--eval", "require('node:test')"]),
        ("npm", "npm", &["--version"]),
    ]
    .into_iter()
    .filter(|(_, program, arguments)| !succeeds(Path::new(program), arguments))
    .map(|(what, _, _)| what)
    .collect()
}
