//! Installs packages on a Debian or Ubuntu that is ours to change.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::project::{run, say};

/// What Debian's packages ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs these where it can. Whoever needs them looks afterwards whether they are there, and
/// says what to do if not.
pub(crate) fn install(packages: &[&str]) {
    if !Path::new("/etc/debian_version").exists() || !is_root() {
        return;
    }
    say(&format!("installing {}", packages.join(", ")));
    if let Err(error) = without_services(|| apt_get(packages)) {
        say(&format!("{error:#}"));
    }
}

fn apt_get(packages: &[&str]) -> Result<()> {
    run(Command::new("apt-get").args(["update", "--quiet"]), "updating the package lists")?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--quiet", "--no-install-recommends"]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt.args(packages), "installing packages")
}

/// What is installed meanwhile starts no service: tests start servers of their own. A machine
/// with a policy keeps it.
fn without_services(install: impl FnOnce() -> Result<()>) -> Result<()> {
    let policy = Path::new(POLICY);
    if policy.exists() {
        return install();
    }
    // 101: the action is forbidden.
    fs::write(policy, "#!/bin/sh\nexit 101\n")
        .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {POLICY}"))?;
    let installed = install();
    fs::remove_file(policy).with_context(|| format!("cannot remove {POLICY}"))?;
    installed
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
