//! Each server starts, answers, comes back after every fault, and ends with its process.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pillion_test_servers::{Nats, Postgres, PostgresOptions, Redis, postgres};

/// How soon a server has ended that nobody holds any more.
const GONE: Duration = Duration::from_secs(20);

/// How long nothing must come from a server that is halted.
const SILENCE: Duration = Duration::from_millis(300);

/// A connection that says something and reads lines.
struct Line(BufReader<TcpStream>);

impl Line {
    fn open(port: u16) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", port)).expect("it listens")))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("it is connected");
    }

    /// The next line that begins with `prefix`.
    fn hear(&mut self, prefix: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("it answers"), 0, "no {prefix}");
            if line.starts_with(prefix) {
                return line;
            }
        }
    }

    fn is_silent(&mut self) -> bool {
        self.0.get_ref().set_read_timeout(Some(SILENCE)).expect("a socket");
        let read = self.0.read(&mut [0]);
        self.0.get_ref().set_read_timeout(None).expect("a socket");
        read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The port in a URL.
fn port(url: &str) -> u16 {
    let rest = url.rsplit_once(':').expect("a URL with a port").1;
    rest.split('/').next().expect("a port").parse().expect("a port")
}

/// Runs a statement as the role of a URL.
fn psql(url: &str, statement: &str) -> Result<String, String> {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-w", "-q", "-A", "-t", "-d", url, "-c", statement]);
    let output = psql.output().expect("psql is installed");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn a_postgres_database_is_empty_and_its_roles_own() {
    let (one, other) = (postgres().await.database().await, postgres().await.database().await);
    assert_ne!(one, other);
    for url in [&one, &other] {
        psql(url, "CREATE TABLE it (id BIGINT); INSERT INTO it VALUES (7)").expect("it is owned");
        assert_eq!(psql(url, "SELECT id FROM it").expect("it is there"), "7");
        assert_eq!(psql(url, "SHOW lc_collate").expect("a setting"), "C");
        assert_eq!(psql(url, "SHOW data_checksums").expect("a setting"), "on");
    }
    let foreign = one.rsplit_once('/').expect("a URL").0.to_owned();
    let foreign = format!("{foreign}/{}", other.rsplit_once('/').expect("a URL").1);
    for database in [foreign.clone(), foreign.replace("database_", "postgres#")] {
        let database = database.split('#').next().expect("text");
        let refused = psql(database, "SELECT 1").expect_err("another's database");
        assert!(refused.contains("permission denied for database"), "{refused}");
    }
    assert_eq!(postgres().await.sql(&one, "SELECT id FROM it").await, "7");
}

#[tokio::test]
async fn postgres_comes_back_with_what_was_committed() {
    let server =
        Postgres::start(PostgresOptions { fsync: true, ..PostgresOptions::default() }).await;
    let url = server.database().await;
    assert_eq!(psql(&url, "SHOW fsync").expect("a setting"), "on");
    psql(&url, "CREATE TABLE it (id BIGINT); INSERT INTO it VALUES (1)").expect("it is owned");
    server.stop().await;
    assert!(!listens(server.port()));
    server.start_again().await;
    psql(&url, "INSERT INTO it VALUES (2)").expect("it is back");
    server.kill().await;
    assert!(!listens(server.port()));
    server.start_again().await;
    assert_eq!(psql(&url, "SELECT count(*) FROM it").expect("it is back"), "2");
}

#[tokio::test]
async fn postgres_hangs_while_it_is_halted() {
    let server = Postgres::start(PostgresOptions::default()).await;
    let url = server.database().await;
    // One that is connected already, and does not notice that the others halt.
    let mut open = Command::new("psql");
    open.args(["-X", "-w", "-q", "-A", "-t", "-d", &url]);
    let mut open = open.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql");
    let mut ask = open.stdin.take().expect("a pipe");
    let answers = BufReader::new(open.stdout.take().expect("a pipe"));
    let (heard, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        answers.lines().try_for_each(|line| heard.send(line.expect("text")))
    });
    writeln!(ask, "SELECT 1;").expect("a pipe");
    assert_eq!(hear.recv().expect("an answer"), "1");

    server.pause().await;
    writeln!(ask, "SELECT 2;").expect("a pipe");
    let refused = psql(&format!("{url}?connect_timeout=2"), "SELECT 1").expect_err("it is halted");
    assert!(refused.contains("timeout expired"), "{refused}");
    assert!(hear.recv_timeout(SILENCE).is_err());
    server.resume().await;
    assert_eq!(hear.recv().expect("an answer"), "2");
    drop(ask);
    open.wait().expect("psql ends");
}

#[tokio::test]
async fn nats_keeps_its_stream_until_it_is_wiped() {
    const MAKE: &str = r#"{"name":"it","subjects":["it"],"storage":"file"}"#;
    /// Asks `JetStream` and gives its answer.
    fn ask(port: u16, subject: &str, body: &str) -> String {
        let mut line = Line::open(port);
        line.hear("INFO ");
        line.say("CONNECT {\"verbose\":false}\r\nSUB inbox 1\r\n");
        line.say(&format!("PUB {subject} inbox {}\r\n{body}\r\n", body.len()));
        line.hear("MSG ");
        line.hear("{")
    }
    let server = Nats::start().await;
    let port = port(&server.url());
    let made = ask(port, "$JS.API.STREAM.CREATE.it", MAKE);
    assert!(made.contains("\"did_create\":true"), "{made}");
    let stored = ask(port, "it", "hello");
    assert!(stored.contains("\"seq\":1"), "{stored}");
    server.kill().await;
    assert!(!listens(port));
    server.start_again().await;
    let stored = ask(port, "it", "hello again");
    assert!(stored.contains("\"seq\":2"), "{stored}");
    server.stop().await;
    server.start_again().await;
    let there = ask(port, "$JS.API.STREAM.INFO.it", "");
    assert!(there.contains("\"messages\":2"), "{there}");
    server.wipe().await;
    let gone = ask(port, "$JS.API.STREAM.INFO.it", "");
    assert!(gone.contains("stream not found"), "{gone}");
}

#[tokio::test]
async fn redis_answers_and_hangs_while_it_is_halted() {
    let server = Redis::start().await;
    let mut line = Line::open(port(&server.url()));
    line.say("SET it 1\r\n");
    line.hear("+OK");
    server.pause().await;
    line.say("PING\r\n");
    assert!(line.is_silent());
    server.resume().await;
    line.hear("+PONG");
    server.stop().await;
    assert!(!listens(server.port()));
    server.start_again().await;
    let mut line = Line::open(server.port());
    line.say("GET it\r\n");
    line.hear("$-1");
}

/// Starts one of each in a process of their own, and gives it and where they listen.
fn holder() -> (std::process::Child, Vec<u16>) {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_test-servers"));
    let mut holder =
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program of ours");
    let stdout = BufReader::new(holder.stdout.take().expect("a pipe"));
    let ports: Vec<u16> = stdout.lines().map(|line| port(&line.expect("text"))).take(3).collect();
    assert!(ports.iter().all(|port| listens(*port)), "{ports:?}");
    (holder, ports)
}

fn assert_gone(ports: &[u16], folders: &[std::path::PathBuf]) {
    let began = Instant::now();
    while ports.iter().any(|port| listens(*port)) || folders.iter().any(|it| it.exists()) {
        assert!(began.elapsed() < GONE, "they outlive their process: {ports:?} {folders:?}");
        sleep(Duration::from_millis(20));
    }
}

/// The folders of servers that a process's watching shells were told to remove.
fn folders_of(parent: u32) -> Vec<std::path::PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    processes
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let of: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            let arguments = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let folder = arguments.split('\0').find(|it| it.contains("pillion-server-"))?;
            (of == parent).then(|| folder.into())
        })
        .filter(|path: &std::path::PathBuf| path.parent() == Some(&std::env::temp_dir()))
        .collect()
}

#[test]
fn servers_end_when_their_process_is_killed() {
    let (mut holder, ports) = holder();
    let folders = folders_of(holder.id());
    assert_eq!(folders.len(), 3, "{folders:?}");
    holder.kill().expect("a child of ours");
    holder.wait().expect("a child of ours");
    assert_gone(&ports, &folders);
}

#[test]
fn servers_end_when_their_process_ends() {
    let (mut holder, ports) = holder();
    let folders = folders_of(holder.id());
    drop(holder.stdin.take());
    assert!(holder.wait().expect("a child of ours").success());
    // Dropped, they have ended before their process does.
    assert!(ports.iter().all(|port| !listens(*port)), "{ports:?}");
    assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
}

#[test]
fn a_server_that_is_not_installed_is_named_with_its_package() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for program in ["sh", "id", "sleep", "rm"] {
        let there = format!("/usr/bin/{program}");
        std::os::unix::fs::symlink(there, folder.path().join(program)).expect("a link");
    }
    let mut holder = Command::new(env!("CARGO_BIN_EXE_test-servers"));
    let output = holder.env("PATH", folder.path()).stdin(Stdio::null()).output().expect("it runs");
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("`apt-get install redis-server`"), "{complaint}");
}
