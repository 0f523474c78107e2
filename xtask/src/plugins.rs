//! Builds the plugins, and the components that tests load, for WebAssembly.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::project::{Package, Project, run, say};
use crate::tools::PLUGIN_TARGET;

/// The root manifest's profile for them.
const PROFILE: &str = "guest";

/// `plugins/NAME` becomes `target/plugins/NAME.wasm`.
pub(crate) fn build(project: &Project) -> Result<()> {
    build_below(project, "plugins", &project.root.join("target/plugins"))
}

/// `tests/fixtures/NAME` becomes `target/fixtures/NAME.wasm`.
pub(crate) fn build_fixtures(project: &Project) -> Result<()> {
    build_below(project, "tests/fixtures", &project.root.join("target/fixtures"))
}

fn build_below(project: &Project, below: &str, into: &Path) -> Result<()> {
    let components = project.components(below);
    if components.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = components.iter().map(|package| package.short_name()).collect();
    say(&format!("building {below}: {}", names.join(", ")));
    let mut command = project.cargo(&["build", "--target", PLUGIN_TARGET, "--profile", PROFILE]);
    for package in &components {
        command.args(["--package", &package.name]);
    }
    run(&mut command, "building plugins")?;
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    for package in components {
        place(project, package, into)?;
    }
    Ok(())
}

/// Puts a built component where the host looks for it, whole or not at all: a running host may
/// be about to read it.
fn place(project: &Project, package: &Package, into: &Path) -> Result<()> {
    let built = (project.target.join(PLUGIN_TARGET).join(PROFILE))
        .join(format!("{}.wasm", package.name.replace('-', "_")));
    let name = package.short_name();
    let place = into.join(format!("{name}.wasm"));
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(&place).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let aside = into.join(format!(".{name}.wasm.new"));
    fs::write(&aside, &bytes)
        .and_then(|()| fs::rename(&aside, &place))
        .with_context(|| format!("cannot write {}", place.display()))?;
    say(&format!("{} ({} KiB)", place.display(), bytes.len() / 1_024));
    Ok(())
}
