//! Redis or Valkey, in memory only: what ends loses what it holds.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::place::Place;
use crate::process::{Kind, Process, Program};
use crate::program::{self, Owner};
use crate::server::Server;

const KIND: Kind = Kind {
    name: "Redis",
    ready: "eady to accept connections",
    stop: Signal::TERM,
    end: (Signal::KILL, "KILL"),
};

/// A [`Server`] of our own.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Redis {
    /// Starts an empty one.
    pub async fn start() -> Self {
        Self::start_at(None, Place::default()).await
    }

    /// Starts one at a place, that makes its folder in another than the system's for temporary
    /// files.
    pub async fn start_at(within: Option<PathBuf>, place: Place) -> Self {
        let server = Server::start(move || {
            let found = program::find("redis-server").or_else(|| program::find("valkey-server"));
            let path = found.unwrap_or_else(|| {
                panic!(
                    "neither Redis nor Valkey is installed: on Debian and Ubuntu `apt-get install \
                     redis-server` installs one, and as root so does `cargo xtask test`; \
                     elsewhere put `redis-server` or `valkey-server` on PATH"
                )
            });
            let folder = Folder::new(within.as_deref(), Owner::SELF, KIND.end.1);
            let host = place.address().to_string();
            let arguments = ["--bind", &host, "--save", "", "--appendonly", "no"];
            let mut arguments: Vec<OsString> = arguments.map(Into::into).to_vec();
            // It has no password, and takes nobody from elsewhere unless it is told to.
            arguments.extend(["--protected-mode", "no"].map(Into::into));
            let owner = Owner::SELF;
            let program = Program { path, arguments, port_argument: "--port", owner, place };
            Process::start(KIND, program, folder)
        });
        Self { server: server.await }
    }

    /// `redis://HOST:PORT`, the same for as long as it lives.
    pub fn url(&self) -> String {
        format!("redis://{}", self.server.authority())
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
