//! How a server is started: where, what it shows, and whom it lets in.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::place::Place;
use crate::program::Owner;

/// By default one on this machine's loopback that takes everybody, without TLS.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The folder in which it makes its own; the system's for temporary files by default.
    pub within: Option<PathBuf>,
    /// Where it is.
    pub place: Place,
    /// What it shows; it takes no connection without TLS then.
    pub tls: Option<ServerFiles>,
    /// What it wants to hear; `PostgreSQL` has a password for each role in any case.
    pub password: Option<String>,
    /// Further arguments of the program, before its port.
    pub arguments: Vec<OsString>,
}

/// PEM files of a server.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// The authority of all certificates.
    pub ca: PathBuf,
    /// The server's.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl ServerFiles {
    /// Those of a name in a folder that `pillion certs` has filled.
    pub fn of(folder: &Path, name: &str) -> Self {
        let file = |name: &str| folder.join(name);
        let (certificate, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        Self { ca: file("ca.pem"), certificate, key }
    }

    /// Copies in a folder, for the server's user alone.
    pub(crate) fn give(&self, owner: Owner, folder: &Path) -> Self {
        let copy = |path: &Path, name: &str| {
            let to = folder.join(name);
            fs::copy(path, &to).unwrap_or_else(|error| {
                panic!("cannot copy {} to {}: {error}", path.display(), to.display())
            });
            fs::set_permissions(&to, Permissions::from_mode(0o600)).expect("a file of ours");
            owner.give(&to);
            to
        };
        Self {
            ca: copy(&self.ca, "ca.pem"),
            certificate: copy(&self.certificate, "server.pem"),
            key: copy(&self.key, "server.key"),
        }
    }
}
