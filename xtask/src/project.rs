//! Where the project is, what packages it has, and how its programs are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace on this disk.
#[derive(Debug)]
pub(crate) struct Project {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The members.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// `pillion-plugin-auth`.
    pub(crate) name: String,
    /// Relative to the root: `plugins/auth`.
    pub(crate) folder: PathBuf,
    /// The names of its dependencies by path, those of its tests left out.
    pub(crate) dependencies: Vec<String>,
    /// Whether it is built as a component.
    pub(crate) cdylib: bool,
}

impl Project {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo; https://rustup.rs installs it")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed; its message stands above");
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let path = |value: &Value| value.as_str().map(PathBuf::from);
        let root = path(field(&metadata, "workspace_root")).context("no workspace_root")?;
        let packages = list(field(&metadata, "packages"))
            .iter()
            .map(|package| Package::of(package, &root))
            .collect::<Option<Vec<_>>>()
            .context("cargo's metadata has an unknown form")?;
        let target = path(field(&metadata, "target_directory")).context("no target_directory")?;
        Ok(Self { root, target, packages })
    }

    /// A run of cargo in the project's root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// The packages below a folder that are built as components.
    pub(crate) fn components(&self, below: &str) -> Vec<&Package> {
        (self.packages.iter())
            .filter(|package| package.cdylib && package.folder.starts_with(below))
            .collect()
    }
}

impl Package {
    fn of(package: &Value, root: &Path) -> Option<Self> {
        let folder = Path::new(field(package, "manifest_path").as_str()?).parent()?;
        // What only tests depend on is no arrow.
        let is_arrow = |dependency: &&Value| {
            field(dependency, "path").is_string() && field(dependency, "kind") != "dev"
        };
        let is_cdylib =
            |target: &Value| list(field(target, "crate_types")).iter().any(|it| it == "cdylib");
        Some(Self {
            name: field(package, "name").as_str()?.to_owned(),
            folder: folder.strip_prefix(root).ok()?.to_owned(),
            dependencies: list(field(package, "dependencies"))
                .iter()
                .filter(is_arrow)
                .filter_map(|dependency| Some(field(dependency, "name").as_str()?.to_owned()))
                .collect(),
            cdylib: list(field(package, "targets")).iter().any(is_cdylib),
        })
    }

    /// The folder's own name: `auth`.
    pub(crate) fn short_name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Runs a program with its output in the open; `doing` completes "failed while …".
pub(crate) fn run(command: &mut Command, doing: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("failed while {doing}; the cause stands above");
    }
    Ok(())
}

/// Whether a program runs, quietly, to a good end.
pub(crate) fn succeeds(program: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let quiet = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Says what is being done, in the form of cargo's own lines.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// A member of a JSON object; null when it is not there.
fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The cargo that runs us, so that a chosen toolchain stays chosen.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
