//! Starts a fleet, says where it is, and ends it with Ctrl-C: for `cargo xtask up --fleet`.
//!
//! Arguments: the program `pillion`, the folder of the plugins' components, the configuration that
//! the fleet's is made of, and the folder for everything.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, panic};

use pillion_test_servers::{BUSY, Fleet, FleetOptions, FleetTls, with_key};
use tokio::signal::unix::{SignalKind, signal};

/// A configuration of the plugin `ratelimit` whose effect is soon seen.
const STRICT: &str = r#"{"windows": {"default": {"user": 7, "app": 7}}}"#;

fn main() -> ExitCode {
    // What cannot go on says why, and needs no backtrace.
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("it failed");
        let _ = writeln!(std::io::stderr(), "error: {message}");
    }));
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, plugins, config, folder] = &arguments[..] else {
        let _ = writeln!(std::io::stderr(), "error: fleet PROGRAM PLUGINS CONFIG FOLDER");
        return ExitCode::FAILURE;
    };
    let ran = panic::catch_unwind(|| run(program, plugins, config, folder));
    match ran {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
        Err(_told) => ExitCode::FAILURE,
    }
}

fn run(program: &Path, plugins: &Path, config: &Path, folder: &Path) -> std::io::Result<()> {
    let config = fs::read_to_string(config)?;
    fs::create_dir_all(folder)?;
    let folder = fs::canonicalize(folder)?;
    // The servers run as somebody else, who must get to their own folders in it.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
    let options = FleetOptions {
        program: fs::canonicalize(program)?,
        // One set of plugins for all of them, as in deploy/.
        config: with_key(&config, "fleet", "plugins", "\"nats\""),
        plugins: fs::canonicalize(plugins)?,
        folder,
        twice: BUSY.to_vec(),
        spare: false,
        tls: FleetTls::Everything,
        usual_ports: true,
        network: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut stop = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let start = async {
            let mut fleet = Fleet::prepare(options).await;
            fleet.publish_plugins();
            fleet.launch().await;
            fleet
        };
        let mut fleet = tokio::select! {
            fleet = start => fleet,
            () = stop() => return Ok(()),
        };
        print(&greeting(&fleet))?;
        stop().await;
        print("\nending all processes in order; Ctrl-C once more ends them now\n")?;
        tokio::select! {
            () = fleet.stop() => {}
            () = stop() => {}
        }
        Ok(())
    })
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn greeting(fleet: &Fleet) -> String {
    let folder = fleet.folder().display();
    let urls: Vec<String> = fleet.urls().iter().map(|url| format!("  {url}\n")).collect();
    let hosts: Vec<String> = fleet
        .hosts()
        .map(|host| format!("  {:<16} {:<24} {}\n", host.name(), host.url(), host.admin_url()))
        .collect();
    let (urls, hosts) = (urls.concat(), hosts.concat());
    let (address, port) = (fleet.postgres.place().address(), fleet.postgres.port());
    let (nats, redis) = (fleet.nats.url(), fleet.redis.url());
    let (program, config) = (fleet.program().display(), fleet.config().display());
    format!(
        "
Pillion is ready as a fleet. For clients:

{urls}
Its processes, each with the operators' address:

{hosts}
  PostgreSQL       {address}:{port}
  NATS             {nats}
  Redis            {redis}
  folder           {folder}

There are no accounts yet. An operator's look at a process:

  {program} events lag --data {folder}/data/tweets-1 --service tweets
  {program} plugin history --data {folder}/data/gateway-1 --service gateway

All processes run one set of plugins, which is kept in NATS:

  export PILLION_CONFIG={config}
  {program} plugin status --fleet
  {program} plugin swap ratelimit --config '{STRICT}' --fleet
  {program} plugin rollback --fleet
  {program} plugin publish --fleet    # what the file says

Stop all with Ctrl-C; what is in the databases goes with them.
"
    )
}
