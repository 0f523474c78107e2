//! Where a server or another process is: its address, and the network that it sees.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::Owner;

/// An address, and the network in which it is one.
#[derive(Clone, Debug)]
pub struct Place {
    address: Ipv4Addr,
    /// The file of a network namespace; `None` is the one of this process.
    namespace: Option<PathBuf>,
}

impl Default for Place {
    /// This machine's loopback.
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, namespace: None }
    }
}

impl Place {
    /// An address in another namespace.
    pub(crate) fn new(address: Ipv4Addr, namespace: PathBuf) -> Self {
        Self { address, namespace: Some(namespace) }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Whether it is on this machine's own loopback.
    pub(crate) fn is_here(&self) -> bool {
        self.namespace.is_none()
    }

    /// A run of a program here as that user: without our environment, in the folder.
    pub(crate) fn command(
        &self,
        owner: Owner,
        program: impl AsRef<OsStr>,
        folder: &Path,
    ) -> Command {
        let Some(namespace) = &self.namespace else {
            return owner.command(program, folder);
        };
        let mut command = Owner::SELF.command("nsenter", folder);
        command.arg(format!("--net={}", namespace.display()));
        // Who enters a network must be more than whom a server runs as.
        if let Some((user, group)) = owner.ids() {
            command.arg("setpriv").arg("--clear-groups");
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
        }
        command.arg(program);
        command
    }
}
