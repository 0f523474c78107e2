//! Where things are in the project's target folder.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target")
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
