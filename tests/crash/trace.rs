//! What is acknowledged is on disk, as the kernel saw it: before the answer to a post is sent, the
//! database's log was written and then synced.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pillion_tests::client::Client;
use pillion_tests::system::System;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::world::without_limits;

const POSTS: usize = 20;
/// The start compiles plugins, under a tracer.
const READY_DEADLINE: Duration = Duration::from_mins(3);
const END_DEADLINE: Duration = Duration::from_secs(30);
const FREE: &str = "127.0.0.1:0";
/// The file that a post of a tweet is committed to.
const LOG: &str = "/tweets.sqlite-wal>";
const REQUEST: &str = "\"POST /2/tweets ";
const ANSWER: &str = "\"HTTP/1.1 201 ";

const WRITES: [&str; 4] = ["write", "writev", "pwrite64", "pwritev"];
const SYNCS: [&str; 2] = ["fdatasync", "fsync"];
const READS: [&str; 2] = ["read", "recvfrom"];
const SENDS: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];

/// A program under `strace`, which ends with it.
struct Traced {
    strace: Child,
    program: Pid,
}

impl Traced {
    fn start(system: &System, trace: &Path) -> (Self, Client) {
        let program = system.command(&system.data(), FREE, FREE);
        let calls: Vec<&str> = [&READS[..], &SENDS, &WRITES, &SYNCS].concat();
        let strace = Command::new("strace")
            .args(["--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--string-limit=64"])
            .args(["--signal=none", "-qq"])
            .arg(format!("--trace={}", calls.join(",")))
            .arg("--output")
            .arg(trace)
            .arg(program.get_program())
            .args(program.get_args())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("strace is there: `cargo xtask test` installs it");
        let ready = system.folder().join("ready.json");
        let began = Instant::now();
        let text = loop {
            match fs::read_to_string(&ready) {
                Ok(text) => break text,
                Err(_) => assert!(began.elapsed() < READY_DEADLINE, "it is not ready"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let ready: Value = serde_json::from_str(&text).expect("the ready file is whole JSON");
        let admin = fs::read_to_string(system.data().join("admin.json")).expect("an admin file");
        let admin: Value = serde_json::from_str(&admin).expect("JSON");
        let pid = admin["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let program = pid.and_then(Pid::from_raw).expect("its process's number");
        (Self { strace, program }, Client::new(ready["url"].as_str().expect("its address")))
    }

    fn end(mut self) {
        kill_process(self.program, Signal::TERM).expect("it runs");
        let began = Instant::now();
        while self.strace.try_wait().expect("our child").is_none() {
            assert!(began.elapsed() < END_DEADLINE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if let Ok(None) = self.strace.try_wait() {
            // A test that fails leaves nothing behind; either may be gone by itself.
            kill_process(self.program, Signal::KILL).ok();
            self.strace.kill().ok();
            self.strace.wait().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_synced_before_it_is_answered() {
    let mut system = System::new(without_limits, Vec::new());
    // The account is made, and plugins are compiled, without a tracer.
    system.launch();
    let (_, token) = system.register("anna").await;
    system.stop();
    fs::remove_file(system.folder().join("ready.json")).expect("the one of the last start");

    let trace = system.folder().join("trace");
    let (traced, client) = Traced::start(&system, &trace);
    for n in 0..POSTS {
        let body = json!({ "text": format!("number {n}") });
        client.post("/2/tweets").bearer(&token).json(&body).send().await.expect(201);
    }
    traced.end();
    let trace = fs::read_to_string(trace).expect("a trace");
    assert_eq!(synced_answers(&trace), Ok(POSTS), "{trace}");
}

/// A call of a traced thread: how it begins, and what it ended with once it has.
enum Step<'t> {
    Begins { name: &'t str, rest: &'t str },
    Ends { name: &'t str, begun: &'t str, rest: &'t str },
}

/// Counts the posts that were answered, each after a sync of all that was written to the log since
/// it was read; or says what is wrong. One post is under way at a time.
fn synced_answers(trace: &str) -> Result<usize, String> {
    let mut under_way: HashMap<&str, &str> = HashMap::new();
    // Whether a post is being answered; whether it wrote; writes that no sync covers yet, and
    // those that a sync under way covers.
    let (mut posted, mut written) = (false, false);
    let mut unsynced = 0_u32;
    let mut covered: HashMap<&str, u32> = HashMap::new();
    let mut answered = 0;
    for line in trace.lines() {
        for step in steps(line, &mut under_way) {
            match step {
                (thread, Step::Begins { name, rest }) => {
                    if SENDS.contains(&name) && rest.contains(ANSWER) {
                        if !posted {
                            return Err(format!("an answer to nothing: {line}"));
                        }
                        if !written {
                            return Err(format!("answered, and nothing was written: {line}"));
                        }
                        if unsynced > 0 {
                            return Err(format!("answered before the sync: {line}"));
                        }
                        answered += 1;
                        (posted, written) = (false, false);
                    } else if WRITES.contains(&name) && rest.contains(LOG) {
                        written = true;
                        unsynced += 1;
                    } else if SYNCS.contains(&name) && rest.contains(LOG) {
                        covered.insert(thread, unsynced);
                    }
                }
                (thread, Step::Ends { name, begun, rest }) => {
                    if SYNCS.contains(&name) && begun.contains(LOG) && rest.ends_with("= 0") {
                        unsynced -= covered.remove(thread).unwrap_or(0).min(unsynced);
                    } else if READS.contains(&name)
                        && (begun.contains(REQUEST) || rest.contains(REQUEST))
                    {
                        (posted, written) = (true, false);
                    }
                }
            }
        }
    }
    Ok(answered)
}

/// What a line tells: `PID name(arguments) = result`, or the two halves of it apart.
fn steps<'t>(line: &'t str, under_way: &mut HashMap<&'t str, &'t str>) -> Vec<(&'t str, Step<'t>)> {
    let Some((thread, call)) = line.split_once(' ') else { return Vec::new() };
    let call = call.trim_start();
    if let Some(resumed) = call.strip_prefix("<... ") {
        let Some((name, rest)) = resumed.split_once(" resumed>") else { return Vec::new() };
        let begun = under_way.remove(thread).unwrap_or_default();
        return vec![(thread, Step::Ends { name, begun, rest })];
    }
    let Some((name, rest)) = call.split_once('(') else { return Vec::new() };
    let begins = (thread, Step::Begins { name, rest });
    if rest.ends_with("<unfinished ...>") {
        under_way.insert(thread, rest);
        return vec![begins];
    }
    vec![begins, (thread, Step::Ends { name, begun: rest, rest })]
}

/// The judge itself, on traces that are right and wrong.
#[test]
fn a_trace_is_judged() {
    const READ: &str = "7 recvfrom(9<socket:[1]>, \"POST /2/tweets HTTP/1.1\\r\\n\", 64, 0) = 70";
    const WRITE: &str = "8 pwrite64(5</d/tweets.sqlite-wal>, \"x\", 4096, 0) = 4096";
    const SYNC: &str = "8 fdatasync(5</d/tweets.sqlite-wal>) = 0";
    const SEND: &str = "7 writev(9<socket:[1]>, [{\"HTTP/1.1 201 Created\\r\\n\", 9}], 1) = 9";
    const SYNC_BEGINS: &str = "8 fdatasync(5</d/tweets.sqlite-wal> <unfinished ...>";
    const SYNC_ENDS: &str = "8 <... fdatasync resumed>) = 0";
    let judge = |lines: &[&str]| synced_answers(&lines.join("\n"));
    assert_eq!(judge(&[READ, WRITE, SYNC, SEND]), Ok(1));
    assert_eq!(judge(&[READ, WRITE, SYNC_BEGINS, SYNC_ENDS, SEND, READ, WRITE, SYNC, SEND]), Ok(2));
    assert_eq!(
        judge(&[
            "7 read(9<socket:[1]>, <unfinished ...>",
            "7 <... read resumed>\"POST /2/tweets HTTP/1.1\\r\\n\", 64) = 70",
            WRITE,
            SYNC,
            SEND
        ]),
        Ok(1)
    );
    let unsynced = [
        &[READ, WRITE, SEND, SYNC] as &[&str],
        &[READ, WRITE, SYNC_BEGINS, SEND, SYNC_ENDS],
        &[READ, WRITE, SYNC_BEGINS, WRITE, SYNC_ENDS, SEND],
        &[READ, WRITE, SYNC, WRITE, SEND],
        &[READ, WRITE, "8 fdatasync(5</d/users.sqlite-wal>) = 0", SEND],
        &[READ, WRITE, "8 fdatasync(5</d/tweets.sqlite-wal>) = -1 EIO (Input/output error)", SEND],
        &[WRITE, SYNC, READ, SEND],
    ];
    for trace in unsynced {
        assert!(judge(trace).is_err(), "{trace:?}");
    }
}
