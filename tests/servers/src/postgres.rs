//! `PostgreSQL`: a cluster of its own, and databases in it, each with a role of its own.

use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use tokio::sync::OnceCell;

use crate::folder::Folder;
use crate::options::{ServerFiles, ServerOptions};
use crate::process::{Kind, Process, Program};
use crate::program::{self, Owner};
use crate::server::{Server, aside};

/// The oldest version whose rules for the schema `public` the services' migrations rely on.
const VERSION_MIN: u32 = 15;

const KIND: Kind = Kind {
    name: "PostgreSQL",
    ready: "database system is ready to accept connections",
    stop: Signal::INT,
    end: (Signal::QUIT, "QUIT"),
};

/// How a server keeps its data.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Whether what is committed is on the disk, as a test of crashes must have it. Without it
    /// everything is faster.
    pub fsync: bool,
    /// How it is started.
    pub server: ServerOptions,
}

/// A [`Server`] of our own.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    psql: PathBuf,
    password: String,
    /// What URLs end with.
    query: String,
    databases: AtomicU32,
}

/// The server of this test process, without `fsync`; started by who first asks.
pub async fn postgres() -> &'static Postgres {
    static SHARED: OnceCell<Postgres> = OnceCell::const_new();
    SHARED.get_or_init(|| Postgres::start(PostgresOptions::default())).await
}

impl Postgres {
    /// Makes a cluster and starts its server.
    pub async fn start(options: PostgresOptions) -> Self {
        let (psql, password) = (programs().join("psql"), secret());
        let secret = password.clone();
        let query = options
            .server
            .tls
            .as_ref()
            .map(|files| format!("?sslmode=verify-full&sslrootcert={}", files.ca.display()));
        let query = query.unwrap_or_default();
        let server = Server::start(move || process(&options, &secret)).await;
        let made = Self { server, psql, password, query, databases: AtomicU32::new(0) };
        // A role sees the databases that are its own, and no other.
        made.sql("postgres", "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC").await;
        made
    }

    /// The URL of a fresh, empty database and of the role that owns it, which no other database
    /// lets in: `postgres://ROLE:PASSWORD@HOST:PORT/DATABASE`; with TLS as the URL says behind it.
    pub async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) + 1;
        let (role, password) = (format!("role_{number}"), secret());
        let database = format!("database_{number}");
        // Each by itself: a database cannot be made in a transaction.
        self.sql_all([
            format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {database} OWNER {role}"),
            format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"),
        ])
        .await;
        format!("postgres://{role}:{password}@{}/{database}{}", self.server.authority(), self.query)
    }

    /// Runs statements as the cluster's superuser in a database such as `postgres`, or that of a
    /// URL of [`Self::database`]; gives the rows, one a line, columns separated by `|`.
    pub async fn sql(&self, database: &str, statements: &str) -> String {
        let (database, _) = database.split_once('?').unwrap_or((database, ""));
        let database = database.rsplit('/').next().unwrap_or(database).to_owned();
        let statements = statements.to_owned();
        let psql = self.psql(&database);
        aside(move || psql.run([statements])).await
    }

    async fn sql_all(&self, statements: [String; 3]) {
        let psql = self.psql("postgres");
        aside(move || psql.run(statements)).await;
    }

    fn psql(&self, database: &str) -> Psql {
        let authority = self.server.authority();
        let password = &self.password;
        let url = format!("postgres://postgres:{password}@{authority}/{database}");
        Psql { program: self.psql.clone(), url, server: self.server.clone() }
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A new cluster, and its server.
fn process(options: &PostgresOptions, password: &str) -> Process {
    let programs = programs();
    let owner = Owner::unprivileged("postgres");
    let ServerOptions { within, place, tls, .. } = &options.server;
    let folder = Folder::new(within.as_deref(), owner, KIND.end.1);
    make_cluster(&programs, owner, folder.path(), password);
    let data = folder.path().join("data");
    let place = place.clone();
    let mut settings = configuration(options.fsync, place.address());
    if let Some(files) = tls {
        let ServerFiles { certificate, key, .. } = files.give(owner, &data);
        let (certificate, key) = (certificate.display(), key.display());
        write!(settings, "ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n")
            .expect("a String takes everything");
        fs::write(data.join("pg_hba.conf"), "hostssl all all 0.0.0.0/0 scram-sha-256\n")
            .expect("a file in a folder of ours");
    }
    fs::write(data.join("postgresql.conf"), settings).expect("a file in a folder of ours");
    if !place.is_here() && tls.is_none() {
        // By itself it lets in its own machine only.
        let file = fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf"));
        let others = b"host all all 0.0.0.0/0 scram-sha-256\n";
        file.and_then(|mut file| file.write_all(others)).expect("a file in a folder of ours");
    }
    let program = Program {
        path: programs.join("postgres"),
        arguments: vec!["-D".into(), data.into()],
        port_argument: "-p",
        owner,
        place,
    };
    Process::start(KIND, program, folder)
}

/// A client that comes with the server.
struct Psql {
    program: PathBuf,
    url: String,
    server: Server,
}

impl Psql {
    /// Each of the statements in a transaction of its own.
    fn run(&self, statements: impl IntoIterator<Item = String>) -> String {
        let mut command = Owner::SELF.command(&self.program, Path::new("/"));
        command.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--dbname"]).arg(&self.url);
        for statement in statements {
            command.arg("--command").arg(statement);
        }
        let output = command.output().unwrap_or_else(|error| panic!("cannot start psql: {error}"));
        assert!(
            output.status.success(),
            "psql failed: {}\nThe server's log:\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.server.log()
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

/// The newest version's folder of programs.
fn programs() -> PathBuf {
    // Debian keeps them off PATH, a folder for each version.
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = debian.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"].iter().all(|name| program::is_program(&folder.join(name)))
    };
    let newest = versions
        .filter(|(version, folder)| *version >= VERSION_MIN && complete(folder))
        .max_by_key(|(version, _folder)| *version);
    newest
        .map(|(_version, folder)| folder)
        .or_else(|| {
            let initdb = program::find("initdb")?;
            initdb.parent().map(Path::to_owned).filter(complete)
        })
        .unwrap_or_else(|| {
            panic!(
                "PostgreSQL {VERSION_MIN} or newer is not installed: on Debian and Ubuntu \
                 `apt-get install postgresql` installs it, and as root so does `cargo xtask test`; \
                 elsewhere put its `initdb`, `postgres` and `psql` on PATH"
            )
        })
}

/// The same everywhere: the order of texts does not hang on the machine's language.
fn make_cluster(programs: &Path, owner: Owner, folder: &Path, password: &str) {
    let password_file = folder.join("password");
    fs::write(&password_file, password).expect("a file in a folder of ours");
    owner.give(&password_file);
    let mut initdb = owner.command(programs.join("initdb"), folder);
    initdb.args(["--pgdata", "data", "--username", "postgres", "--pwfile", "password"]);
    initdb.args(["--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8"]);
    initdb.args(["--data-checksums", "--no-sync", "--no-instructions"]);
    let output = initdb.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot run {} in {}: {error}", programs.display(), folder.display())
    });
    assert!(
        output.status.success(),
        "initdb failed in {}: {}{}",
        folder.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Small, because several suites may run at once, and nothing outside of the folder.
fn configuration(fsync: bool, host: Ipv4Addr) -> String {
    let durable = if fsync { "on" } else { "off" };
    format!(
        "listen_addresses = '{host}'\n\
         unix_socket_directories = ''\n\
         max_connections = 200\n\
         shared_buffers = 32MB\n\
         dynamic_shared_memory_type = mmap\n\
         min_wal_size = 32MB\n\
         max_wal_size = 256MB\n\
         password_encryption = scram-sha-256\n\
         timezone = UTC\n\
         lc_messages = C\n\
         fsync = {durable}\n\
         synchronous_commit = {durable}\n\
         full_page_writes = {durable}\n"
    )
}

/// A password that no other server of ours has: who has it talks to this one.
pub(crate) fn secret() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}
