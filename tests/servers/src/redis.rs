//! Redis or Valkey, in memory only: what ends loses what it holds.

use std::ffi::OsString;
use std::ops::Deref;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::options::{ServerFiles, ServerOptions};
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
    /// `redis://` or `rediss://`, with the password.
    begin: String,
}

impl Redis {
    /// Starts an empty one.
    pub async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts one as `options` say. With TLS it asks for a certificate, as it does by itself.
    pub async fn start_with(options: ServerOptions) -> Self {
        let scheme = if options.tls.is_some() { "rediss" } else { "redis" };
        let password = options.password.as_ref().map(|password| format!(":{password}@"));
        let begin = format!("{scheme}://{}", password.unwrap_or_default());
        let server = Server::start(move || {
            let found = program::find("redis-server").or_else(|| program::find("valkey-server"));
            let path = found.unwrap_or_else(|| {
                panic!(
                    "neither Redis nor Valkey is installed: on Debian and Ubuntu `apt-get install \
                     redis-server` installs one, and as root so does `cargo xtask test`; \
                     elsewhere put `redis-server` or `valkey-server` on PATH"
                )
            });
            let ServerOptions { within, place, tls, password, arguments: further } = options;
            let folder = Folder::new(within.as_deref(), Owner::SELF, KIND.end.1);
            let host = place.address().to_string();
            let arguments = ["--bind", &host, "--save", "", "--appendonly", "no"];
            let mut arguments: Vec<OsString> = arguments.map(Into::into).to_vec();
            // Without a password it takes nobody from elsewhere unless it is told to.
            arguments.extend(["--protected-mode", "no"].map(Into::into));
            arguments.extend(further);
            if let Some(password) = password {
                arguments.extend(["--requirepass".into(), password.into()]);
            }
            let port_argument = if let Some(ServerFiles { ca, certificate, key }) = tls {
                arguments.extend(["--port", "0", "--tls-ca-cert-file"].map(Into::into));
                arguments.push(ca.into());
                arguments.extend(["--tls-cert-file".into(), certificate.into()]);
                arguments.extend(["--tls-key-file".into(), key.into()]);
                "--tls-port"
            } else {
                "--port"
            };
            let owner = Owner::SELF;
            let program = Program { path, arguments, port_argument, owner, place };
            Process::start(KIND, program, folder)
        });
        Self { server: server.await, begin }
    }

    /// `redis://HOST:PORT`, or what `options` made of it, the same for as long as it lives.
    pub fn url(&self) -> String {
        format!("{}{}", self.begin, self.server.authority())
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
