//! Where the servers' programs are, and whose processes they become.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user of this machine; `None` is the one that runs the tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(Option<(u32, u32)>);

impl Owner {
    /// The user that runs the tests.
    pub(crate) const SELF: Self = Self(None);

    /// The user `name` where root runs the tests, and who runs them elsewhere.
    pub(crate) fn unprivileged(name: &str) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::SELF;
        }
        let id = |what: &str| -> Option<u32> {
            let output = Command::new("id").args([what, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        let Some(ids) = id("-u").zip(id("-g")) else {
            panic!(
                "there is no user `{name}`, as whom root must start the server: \
                 `cargo xtask test` installs its package, which makes that user"
            );
        };
        Self(Some(ids))
    }

    /// Makes it the owner of a folder.
    pub(crate) fn give(self, folder: &Path) {
        if let Some((user, group)) = self.0 {
            chown(folder, Some(user), Some(group))
                .unwrap_or_else(|error| panic!("cannot give {} away: {error}", folder.display()));
        }
    }

    /// Its user and group, unless they are ours.
    pub(crate) fn ids(self) -> Option<(u32, u32)> {
        self.0
    }

    /// A run of a program as this user: without our environment, in the folder.
    pub(crate) fn command(self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir(folder);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Finds a program on PATH or where administrators' programs are.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    let folders = folders.chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| is_program(program))
}

/// Whether it is there and can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}
