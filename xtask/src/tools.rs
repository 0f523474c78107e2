//! Checks what a build needs, adds what can be added, and says how to get the rest.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::project::{Project, say};

/// What plugins are compiled for.
pub(crate) const PLUGIN_TARGET: &str = "wasm32-wasip2";

/// What a first build writes, roughly, with everything in it.
const BUILD_MB: u64 = 4_000;

/// A C compiler, the plugins' target, and room on the disk for a first build.
pub(crate) fn ready(project: &Project) -> Result<()> {
    let quiet =
        (Command::new("cc").arg("--version")).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !quiet.is_ok_and(|status| status.success()) {
        bail!(
            "a C compiler is needed to build SQLite and the cryptography, and there is no `cc`: \
             on Debian and Ubuntu `apt-get install build-essential` installs one"
        );
    }
    add_target()?;
    if !project.target.join("release").exists()
        && let Some(free_mb) = free_mb(project)
        && free_mb < BUILD_MB
    {
        bail!(
            "the disk of {} has {free_mb} MB free and a first build needs about {BUILD_MB} MB: \
             make room, or set CARGO_TARGET_DIR to a folder on another disk",
            project.target.display()
        );
    }
    Ok(())
}

/// Why a build may have failed that compiled before: `Some` when the disk is full.
pub(crate) fn full_disk(project: &Project) -> Option<String> {
    /// Less than a linker needs for its output.
    const FULL_MB: u64 = 200;
    let free_mb = free_mb(project)?;
    (free_mb < FULL_MB).then(|| {
        format!(
            "the disk of {} is full ({free_mb} MB free): make room, or set CARGO_TARGET_DIR to a \
             folder on another disk",
            project.target.display()
        )
    })
}

fn add_target() -> Result<()> {
    let sysroot = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", PLUGIN_TARGET])
        .stderr(Stdio::null())
        .output()
        .context("cannot start rustc; https://rustup.rs installs it")?;
    let library = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim().to_owned());
    if sysroot.status.success() && library.is_dir() {
        return Ok(());
    }
    say(&format!("adding the target {PLUGIN_TARGET}"));
    let added = Command::new("rustup").args(["target", "add", PLUGIN_TARGET]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!(
            "rustup could not add {PLUGIN_TARGET}, which plugins are compiled for; with a \
             network, `rustup target add {PLUGIN_TARGET}` does it"
        ),
        Err(error) => bail!(
            "the target {PLUGIN_TARGET} is missing and rustup cannot be started to add it \
             ({error}); https://rustup.rs installs it"
        ),
    }
}

/// `None` where `df` does not say.
fn free_mb(project: &Project) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(&project.root).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let free_kb: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(free_kb / 1_024)
}
