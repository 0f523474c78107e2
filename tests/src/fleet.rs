//! A fleet for suites: Pillion as many processes, on servers of their own, with the project's
//! configuration.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillion_test_servers::{BUSY, Fleet, FleetOptions, FleetTls, Host, Network};
use serde_json::{Value, json};

use crate::build;

/// Services with events.
pub const WITH_EVENTS: [&str; 7] =
    ["users", "tweets", "graph", "engagements", "timelines", "search", "notifications"];

/// What happened has been heard of everywhere within this, after whatever was wrong is right.
const EVEN_DEADLINE: Duration = Duration::from_mins(2);

/// One in a folder, with two processes of each busy service and a second address of the others. Its
/// services show each other certificates.
pub fn options(
    folder: &Path,
    network: Option<Arc<Network>>,
    change: impl FnOnce(&str) -> String,
) -> FleetOptions {
    let config = std::fs::read_to_string(build::root().join("pillion.toml")).expect("a file");
    let plugins = build::plugin("auth").parent().expect("a file is in a folder").to_owned();
    // The servers run as somebody else, who must get to their own folders in it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder, mode).expect("a folder of ours");
    FleetOptions {
        program: build::pillion(),
        config: change(&config),
        plugins,
        folder: folder.to_owned(),
        twice: BUSY.to_vec(),
        spare: true,
        tls: FleetTls::Services,
        usual_ports: false,
        network,
    }
}

/// A process of the service that runs.
fn of<'a>(fleet: &'a Fleet, service: &str) -> &'a Host {
    let mut hosts = fleet.hosts().filter(|host| host.service() == service && host.is_running());
    hosts.next().unwrap_or_else(|| panic!("no process of {service} runs"))
}

/// What a process of the service says to `pillion ARGUMENTS --json`.
pub fn ask(fleet: &Fleet, service: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = of(fleet, service).command(&[arguments, &["--json"]].concat());
    let output = command.output().expect("the program runs");
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(said());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}", said()))
}

/// How far each service has come with the events, in the form of `pillion events lag --json`.
pub fn lag(fleet: &Fleet) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for service in WITH_EVENTS {
        let mut lag = ask(fleet, service, &["events", "lag"])?;
        all.append(lag.as_array_mut().expect("a list"));
    }
    Ok(all)
}

/// Makes the tables of a service again of its events: what `pillion events rebuild --json` says.
pub fn rebuild(fleet: &Fleet, service: &str) -> Result<Value, String> {
    ask(fleet, service, &["events", "rebuild", service])
}

/// Whether every service has heard of everything; none may have given up on an event.
pub fn is_even(lag: &[Value]) -> bool {
    assert!(lag.iter().all(|service| service["parked"] == json!(0)), "{lag:?}");
    lag.iter().all(|service| {
        let sources = service["sources"].as_array().expect("sources");
        service["published"] == service["recorded"]
            && sources.iter().all(|source| source["lag"] == json!(0))
    })
}

/// Waits until every service has heard of everything; how long that took.
pub async fn until_even(fleet: &Fleet) -> Duration {
    let began = Instant::now();
    loop {
        let lag = lag(fleet);
        if lag.as_ref().is_ok_and(|lag| is_even(lag)) {
            return began.elapsed();
        }
        assert!(began.elapsed() < EVEN_DEADLINE, "{lag:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs the test of this name of this program once more, in a network of its own. Whether this is
/// that run.
pub fn in_own_network(test: &str) -> bool {
    if Network::is_own() {
        return true;
    }
    let program = std::env::current_exe().expect("a test program knows its path");
    let mut command: Command = Network::command(&program);
    let status = command.args(["--exact", test, "--nocapture"]).stdin(Stdio::null()).status();
    let status = status.expect("unshare starts");
    assert!(status.success(), "{test} failed in a network of its own: {status}");
    false
}
