//! `PgBouncer`: a pooler of connections in front of a database.

use std::fs;
use std::ops::Deref;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::place::Place;
use crate::process::{Kind, Process, Program};
use crate::program::{self, Owner};
use crate::server::Server;

const KIND: Kind = Kind {
    name: "PgBouncer",
    ready: "process up",
    stop: Signal::TERM,
    end: (Signal::KILL, "KILL"),
};

/// It knows its port from its configuration only: arguments are the program and `-p PORT`.
const LAUNCH: &str = r#"sed "s/@PORT@/$3/" template.ini >pgbouncer.ini && exec "$1" pgbouncer.ini"#;

/// What connections share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// Nothing: each has a session of the server while it lasts.
    Session,
    /// Sessions, from one transaction to the next.
    Transaction,
}

/// A [`Server`] of our own.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
    url: String,
}

impl PgBouncer {
    /// Starts one before the database of a URL of `Postgres::database`. It drops the startup
    /// parameters that are `ignored`, and refuses those that it does not know.
    pub async fn start(url: &str, mode: PoolMode, ignored: &[&str]) -> Self {
        let rest = url.strip_prefix("postgres://").expect("a URL of PostgreSQL");
        let (login, place) = rest.split_once('@').expect("a role");
        let (role, password) = login.split_once(':').expect("a password");
        let (authority, database) = place.split_once('/').expect("a database");
        let (host, port) = authority.rsplit_once(':').expect("a port");
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
        };
        let settings = format!(
            "[databases]\n{database} = host={host} port={port} dbname={database} user={role} \
             password={password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = @PORT@\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             ignore_startup_parameters = {}\n",
            ignored.join(",")
        );
        let server = Server::start(move || {
            let path = program::find("pgbouncer").unwrap_or_else(|| {
                panic!(
                    "PgBouncer is not installed: on Debian and Ubuntu `apt-get install pgbouncer` \
                     installs it, and as root so does `cargo xtask test`"
                )
            });
            // It does not run as root.
            let owner = Owner::unprivileged("postgres");
            let folder = Folder::new(None, owner, KIND.end.1);
            let template = folder.path().join("template.ini");
            fs::write(&template, settings).expect("a file in a folder of ours");
            owner.give(&template);
            let arguments = vec!["-c".into(), LAUNCH.into(), "sh".into(), path.into()];
            let program = Program {
                path: "/bin/sh".into(),
                arguments,
                port_argument: "-p",
                owner,
                place: Place::default(),
            };
            Process::start(KIND, program, folder)
        })
        .await;
        let url = format!("postgres://{login}@{}/{database}", server.authority());
        Self { server, url }
    }

    /// Like the URL of the database, through this one.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
