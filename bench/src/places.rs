//! Where things are in the project's target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The project's folder.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}

fn target() -> PathBuf {
    project().join("target")
}

/// The program `pillion`, of the same profile as this one.
pub(crate) fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("no path of this program")?;
    let path = own.with_file_name("pillion");
    if !path.is_file() {
        bail!("{} is missing: `cargo xtask bench load` builds it", path.display());
    }
    Ok(path)
}

/// Keeps the figures of a measurement.
pub(crate) fn write_results(name: &str, document: &Value) -> Result<()> {
    let path = target().join("bench").join(format!("{name}.json"));
    std::fs::create_dir_all(target().join("bench"))?;
    std::fs::write(&path, serde_json::to_string_pretty(document)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("figures: {}", path.display());
    Ok(())
}

/// The component of a plugin, such as `auth`.
pub(crate) fn plugin(name: &str) -> Result<PathBuf> {
    built("plugins", name)
}

/// A component that the tests load, such as `noop`.
pub fn fixture(name: &str) -> Result<PathBuf> {
    built("fixtures", name)
}

fn built(folder: &str, name: &str) -> Result<PathBuf> {
    let path = target().join(folder).join(format!("{name}.wasm"));
    if !path.is_file() {
        bail!("{} is missing: `cargo xtask bench` builds it", path.display());
    }
    Ok(path)
}

/// Where criterion keeps its estimates.
pub fn criterion_folder() -> PathBuf {
    target().join("criterion")
}

/// Where a comparison's figures go.
pub(crate) fn results() -> PathBuf {
    target().join("bench/results.json")
}
