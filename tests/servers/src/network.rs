//! A network of namespaces, each with an address, in which the way between any two can be cut.
//!
//! The process that makes it is in a namespace of its own and is the router between the others, so
//! that nothing of it is seen outside. A cut drops packets at the router: neither side is told, as
//! with a cable that is pulled.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::place::Place;

/// Set where the process is in a network of its own; see [`Network::command`].
const OWN_NETWORK: &str = "PILLION_OWN_NETWORK";

/// Keeps a namespace: says that it is there, and ends when whoever started it has gone.
const HOLD: &str = "echo; read -r line";

/// Parts of a network; each has a byte of its addresses.
const PARTS_MAX: u8 = 250;

/// The router of a network, and its parts. All goes when it is dropped.
#[derive(Debug, Default)]
pub struct Network {
    holders: Mutex<Vec<Child>>,
}

/// The way between two places, cut until it is dropped.
#[derive(Debug)]
pub struct Cut(Ipv4Addr, Ipv4Addr);

impl Network {
    /// Whether this process is in a network of its own.
    pub fn is_own() -> bool {
        std::env::var_os(OWN_NETWORK).is_some()
    }

    /// A program in a network of its own. Root makes it, and anybody else in a namespace of users
    /// of their own.
    pub fn command(program: &std::path::Path) -> Command {
        let mut command = Command::new("unshare");
        command.arg("--net");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-current-user", "--keep-caps"]);
        }
        command.arg(program).env(OWN_NETWORK, "1");
        command
    }

    /// A router without parts. To be called in a network of one's own: it changes the routes.
    pub fn new() -> Self {
        assert!(Self::is_own(), "this is the machine's own network");
        run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
        run("ip", &["link", "set", "lo", "up"]);
        Self::default()
    }

    /// A new part, connected to the router.
    pub fn place(&self) -> Place {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u8::try_from(holders.len() + 1).unwrap_or(u8::MAX);
        assert!(number <= PARTS_MAX, "the network has as many parts as it can");
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start unshare: {error}"));
        let said = holder.stdout.take().map(|mut stdout| stdout.read_exact(&mut [0]));
        assert!(matches!(said, Some(Ok(()))), "no network namespace can be made: run as root");
        let pid = holder.id();
        holders.push(holder);
        let (own, theirs) = (format!("10.77.{number}.1"), Ipv4Addr::new(10, 77, number, 2));
        let link = format!("part{number}");
        let there = pid.to_string();
        run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &there]);
        run("ip", &["addr", "add", &format!("{own}/30"), "dev", &link]);
        run("ip", &["link", "set", &link, "up"]);
        let namespace = format!("/proc/{pid}/ns/net");
        let inside = format!(
            "ip link set lo up && ip addr add {theirs}/30 dev eth0 && ip link set eth0 up && \
             ip route add default via {own}"
        );
        run("nsenter", &[&format!("--net={namespace}"), "sh", "-c", &inside]);
        Place::new(theirs, namespace.into())
    }

    /// Cuts the way between two of its parts, both ways.
    pub fn cut(&self, one: &Place, other: &Place) -> Cut {
        let cut = Cut(one.address(), other.address());
        cut.rules("add");
        cut
    }
}

impl Cut {
    fn rules(&self, what: &str) {
        let Self(one, other) = self;
        for (from, to) in [(one, other), (other, one)] {
            let (from, to) = (from.to_string(), to.to_string());
            run("ip", &["rule", what, "from", &from, "to", &to, "blackhole"]);
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rules("del");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let holders = self.holders.get_mut().unwrap_or_else(PoisonError::into_inner);
        for holder in holders {
            // The namespace goes with its last process.
            if let Some(mut stdin) = holder.stdin.take() {
                let _gone = stdin.write_all(b"\n");
            }
            let _reaped = holder.wait();
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("cannot start {program}: {error}; on Debian and Ubuntu install iproute2")
    });
    assert!(
        output.status.success(),
        "`{program} {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
