//! Redis or Valkey, in memory only: what ends loses what it holds.

use std::ops::Deref;

use rustix::process::Signal;

use crate::folder::Folder;
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
        let server = Server::start(|| {
            let found = program::find("redis-server").or_else(|| program::find("valkey-server"));
            let path = found.unwrap_or_else(|| {
                panic!(
                    "neither Redis nor Valkey is installed: on Debian and Ubuntu `apt-get install \
                     redis-server` installs one, and as root so does `cargo xtask test`; \
                     elsewhere put `redis-server` or `valkey-server` on PATH"
                )
            });
            let folder = Folder::new(None, Owner::SELF, KIND.end.1);
            let arguments = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
            let arguments = arguments.map(Into::into).to_vec();
            let program = Program { path, arguments, port_argument: "--port", owner: Owner::SELF };
            Process::start(KIND, program, folder)
        });
        Self { server: server.await }
    }

    /// `redis://127.0.0.1:PORT`, the same for as long as it lives.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.server.port())
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
