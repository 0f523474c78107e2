//! Puts the sources of the plugin SDK and of the contract into the binary, for
//! `pillion plugin new`: as long as the SDK is in no registry, a new plugin brings it along. And
//! has the linker keep one copy of functions that came out alike.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("..");
    let mut files = Vec::new();
    collect(&root.join("sdk/src"), &mut files)?;
    collect(&root.join("wit"), &mut files)?;
    files.sort();
    let mut code = String::from("/// Path in the project, contents.\n");
    code.push_str("pub(super) const SOURCES: &[(&str, &str)] = &[\n");
    for path in &files {
        let name = path.strip_prefix(&root)?.to_str().ok_or("a path that is not UTF-8")?;
        let path = fs::canonicalize(path)?;
        let path = path.to_str().ok_or("a path that is not UTF-8")?;
        writeln!(code, "    ({name:?}, include_str!({path:?})),")?;
    }
    code.push_str("];\n");
    let manifest = standalone(
        &fs::read_to_string(root.join("sdk/Cargo.toml"))?,
        &fs::read_to_string(root.join("Cargo.toml"))?,
    )?;
    writeln!(code, "/// The SDK's manifest without a workspace around it.")?;
    writeln!(code, "pub(super) const SDK_MANIFEST: &str = {manifest:?};")?;
    fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("sources.rs"), code)?;
    fold_identical_code()?;
    println!("cargo::rerun-if-changed=build.rs");
    for watched in ["sdk", "wit", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    Ok(())
}

/// Generic code is made for many types and often comes out the same: about a megabyte here. Only
/// where Rust's own choice of a linker knows the option, and not where a build should be quick.
fn fold_identical_code() -> Result<()> {
    let variable = |name: &str| std::env::var(name);
    let platform = [
        variable("CARGO_CFG_TARGET_ARCH")?,
        variable("CARGO_CFG_TARGET_OS")?,
        variable("CARGO_CFG_TARGET_ENV")?,
    ];
    if platform == ["x86_64", "linux", "gnu"] && variable("PROFILE")? == "release" {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Replaces each `KEY.workspace = true` by what the workspace's manifest says for it.
fn standalone(member: &str, workspace: &str) -> Result<String> {
    let mut manifest = String::new();
    for line in member.lines() {
        if let Some(key) = line.strip_suffix(".workspace = true") {
            let prefix = format!("{key} = ");
            let inherited = workspace.lines().find(|line| line.starts_with(&prefix));
            let inherited = inherited.ok_or_else(|| format!("the workspace has no `{key}`"))?;
            writeln!(manifest, "{inherited}")?;
        } else if line == "[lints]" {
            // The project's house rules are not those of whoever writes a plugin.
            break;
        } else {
            writeln!(manifest, "{line}")?;
        }
    }
    Ok(manifest.trim_end().to_owned() + "\n")
}
