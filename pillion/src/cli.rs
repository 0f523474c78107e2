//! The command line: names, flags, environment variables and their help texts.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::config::{Overrides, SERVICES};

/// The sidecar without the car: services, and sandboxed WebAssembly plugins around them, in one
/// process.
#[derive(Debug, Parser)]
#[command(name = "pillion", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start every service in this process; without any other configuration, on files in one folder
    Up(Up),
    /// Start one service in this process; it reaches the others over HTTP
    Serve(Serve),
    /// Check the configuration and try out every plugin in it, without starting anything
    Check(Check),
    /// Show whether a running process is ready, and its background workers
    Status(Running),
    /// Have a running process read its configuration again, as SIGHUP does
    Reload(Running),
    /// See and replace the plugins of a running process; write, try and inspect plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// See the events of the services of a running process, and help them on
    #[command(subcommand)]
    Events(Events),
    /// See the transactions over several services of a running process, and help them on
    #[command(subcommand)]
    Saga(Saga),
    /// Bring the schemas of all databases that the configuration names up to date
    Migrate(Migrate),
    /// Copy the data folder of a running or stopped `pillion up`, all services as of one moment
    Backup(Backup),
    /// Put a backup into an empty data folder
    Restore(Restore),
    /// Make certificates and keys with which services know each other
    #[command(subcommand)]
    Certs(Certs),
    /// The keys that sign access tokens
    #[command(subcommand)]
    Keys(Keys),
    /// Compile a component; the host starts this as a child of its own
    #[command(name = COMPILE, hide = true)]
    Compile { input: PathBuf, output: PathBuf },
}

/// The hidden command.
pub(crate) const COMPILE: &str = "compile-component";

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Write addresses and tokens as JSON into this file once everything is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Begin with nobody and nothing instead of a few accounts and tweets
    #[arg(long)]
    pub(crate) no_seed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which service
    #[arg(value_parser = PossibleValuesParser::new(SERVICES))]
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Write addresses and tokens as JSON into this file once everything is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration [default: ./pillion.toml, else the built-in one]
    #[arg(long, value_name = "FILE", env = "PILLION_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// What may be said on the command line and in the environment instead of in the file.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The configuration [default: ./pillion.toml, else the built-in one]
    #[arg(long, value_name = "FILE", env = "PILLION_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept
    #[arg(long, value_name = "DIR", env = "PILLION_DATA")]
    data: Option<PathBuf>,
    /// The address for clients; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env = "PILLION_LISTEN")]
    listen: Option<SocketAddr>,
    /// The address for operators; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env = "PILLION_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// The address for health probes and metrics alone [default: none]
    #[arg(long, value_name = "ADDR", env = "PILLION_PROBE_LISTEN")]
    probe_listen: Option<SocketAddr>,
}

impl Settings {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            data: self.data.clone(),
            listen: self.listen,
            admin_listen: self.admin_listen,
            probe_listen: self.probe_listen,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Show the plugins of a running process
    List(Running),
    /// Replace a plugin's component or configuration, or both, while requests flow
    Swap(Swap),
    /// Go back to the set of plugins before, or to a generation on record
    Rollback(Rollback),
    /// Make the configuration's set of plugins that of all hosts
    Publish(Publish),
    /// Show which host runs what, which lag and why
    Status(FleetStatus),
    /// Show the generations of a running process, and every attempt to change them
    History(Running),
    /// Make a project for a new plugin
    New(New),
    /// Try a component on one request, without any server
    Run(Run),
    /// Show what a component is, wants and needs
    Inspect(Inspect),
    /// Print the contract as one WIT file
    Wit,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// How far each service has come with the events of the others
    Lag(Running),
    /// Show the events of a service
    Tail(Tail),
    /// Show the events that a service could not take up, and those that wait behind them
    Parked(OfService),
    /// Try the parked events of a service again
    Replay(OfService),
    /// Make the tables of a service again of its events, and say whether they are the same. The
    /// service takes no writes meanwhile: they are answered 503
    Rebuild(OfService),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Make an authority that signs the services' certificates
    Init(CertsInit),
    /// Make a certificate for each of these services and servers, in place of the one before
    Issue(CertsIssue),
    /// Make the key of the tokens with which services call each other on their own behalf
    ServiceKey {
        /// The file to make
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make the next signing key, which takes over in five minutes
    Rotate(Running),
    /// Make the key that encrypts signing keys at rest
    EncryptionKey {
        /// The file to make
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CertsInit {
    /// The folder to make it in
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: u32,
}

/// Servers that certificates are made for.
const SERVERS: [&str; 3] = ["postgres", "nats", "redis"];

#[derive(Debug, Args)]
pub(crate) struct CertsIssue {
    /// Services, and the servers that they connect to
    #[arg(value_name = "NAME", required = true, value_parser = PossibleValuesParser::new(SERVICES.into_iter().chain(SERVERS)))]
    pub(crate) names: Vec<String>,
    /// The authority's folder, which also gets the certificates
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// The domain of the identities, as `tls.trust_domain` has it
    #[arg(long, value_name = "DOMAIN", default_value = "pillion")]
    pub(crate) trust_domain: String,
    /// A DNS name besides NAME; may be given again
    #[arg(long, value_name = "DNS-NAME")]
    pub(crate) dns: Vec<String>,
    /// An address by which a server is connected to; may be given again
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Vec<IpAddr>,
    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Saga {
    /// Show the latest sagas that are not at their end
    List(SagaList),
    /// Show a saga: where it stands, its steps, and what happened so far
    Show(OneSaga),
    /// Take a parked saga on, or try a failing one now
    Retry(OneSaga),
    /// Give up what a parked or failing saga stands at
    ///
    /// Before its pivot everything is taken back. A step that cannot be taken back is left as it
    /// is, and those before it are taken back all the same: `show` tells what was left. From the
    /// pivot on there is no way back: what was done stays, and the rest is not done.
    Abandon(SagaAbandon),
}

#[derive(Debug, Args)]
pub(crate) struct SagaList {
    /// Those that came to their end in the last 30 days, too
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, Args)]
pub(crate) struct OneSaga {
    /// Its number
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) id: i64,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, Args)]
pub(crate) struct SagaAbandon {
    #[command(flatten)]
    pub(crate) saga: OneSaga,
    /// Why, for whoever reads its journal
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// The events of which service of which process.
#[derive(Debug, Args)]
pub(crate) struct OfService {
    /// The service
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(SERVICES))]
    pub(crate) events_of: String,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The service
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(SERVICES))]
    pub(crate) events_of: String,
    /// Begin behind this position instead of with the last ones
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) after: Option<i64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) count: u32,
    /// Go on with those that come
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A folder that does not exist yet
    pub(crate) to: PathBuf,
    /// The data folder to copy
    #[arg(long, value_name = "DIR", env = "PILLION_DATA", default_value = "pillion-data")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    pub(crate) from: PathBuf,
    /// The data folder to make; it must not hold data
    #[arg(long, value_name = "DIR", env = "PILLION_DATA", default_value = "pillion-data")]
    pub(crate) data: PathBuf,
}

/// Which running process.
#[derive(Debug, Args)]
pub(crate) struct Running {
    /// The data folder of the process: the address and the token are read there
    #[arg(long, value_name = "DIR", env = "PILLION_DATA", default_value = "pillion-data")]
    pub(crate) data: PathBuf,
    /// The service, when it was started by `pillion serve` and is not alone in its data folder
    #[arg(long, value_parser = PossibleValuesParser::new(SERVICES))]
    pub(crate) service: Option<String>,
    /// The admin API's address, http://HOST:PORT, instead of the data folder's
    #[arg(long, value_name = "URL", env = "PILLION_ADMIN_URL", requires = "admin_token")]
    pub(crate) admin_url: Option<String>,
    /// The admin API's token
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PILLION_ADMIN_TOKEN",
        hide_env_values = true,
        requires = "admin_url",
        // Of 64 tokens one begins with a hyphen.
        allow_hyphen_values = true
    )]
    pub(crate) admin_token: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// All hosts that follow the same document, instead of one process.
#[derive(Debug, Args)]
pub(crate) struct Fleet {
    /// On all hosts: in the document that the configuration names, or at `file:PATH` or
    /// `nats://HOST:PORT`
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) fleet: Option<String>,
    /// With --fleet: change nothing unless the document is at this revision
    #[arg(long, value_name = "N", requires = "fleet")]
    pub(crate) revision: Option<u64>,
}

/// Who makes a change, for the audit log.
#[derive(Debug, Args)]
pub(crate) struct Actor {
    /// Who makes the change, for the audit log [default: the user who runs this command]
    #[arg(long, value_name = "NAME", env = "PILLION_BY")]
    by: Option<String>,
}

impl Actor {
    /// The name that was given, or that of the user who runs the command, through `sudo` too.
    pub(crate) fn name(&self) -> Option<String> {
        let variable = |name: &&str| std::env::var(name).ok().filter(|name| !name.is_empty());
        self.by.clone().or_else(|| ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(variable))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The generation to go back to, as `history` shows it [default: the set before the one that
    /// runs; given again, the command goes further back]
    #[arg(long, value_name = "GENERATION")]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[command(flatten)]
    pub(crate) running: Running,
    #[command(flatten)]
    pub(crate) fleet: Fleet,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The configuration [default: ./pillion.toml, else the built-in one]
    #[arg(long, value_name = "FILE", env = "PILLION_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[command(flatten)]
    pub(crate) fleet: Fleet,
}

#[derive(Debug, Args)]
pub(crate) struct FleetStatus {
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// Wait this many seconds at most until every host runs the newest revision; fail if one
    /// does not
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Swap {
    /// The plugin's name in the configuration
    pub(crate) name: String,
    /// The new component
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pub(crate) component: Option<PathBuf>,
    /// The new configuration: JSON, or a file of JSON or TOML
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) config: Option<String>,
    /// Refuse the component unless it has this digest
    #[arg(long, value_name = "sha256:HEX")]
    pub(crate) digest: Option<String>,
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[command(flatten)]
    pub(crate) running: Running,
    #[command(flatten)]
    pub(crate) fleet: Fleet,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Its name and the folder to make: a-z, 0-9 and `-`, beginning with a letter
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The component
    pub(crate) file: PathBuf,
    /// Method and path
    #[arg(long, value_name = "\"METHOD PATH\"", default_value = "GET /")]
    pub(crate) request: String,
    /// A header, "name: value"; may be given again
    #[arg(long = "header", value_name = "\"NAME: VALUE\"")]
    pub(crate) headers: Vec<String>,
    /// The request's body
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) body: String,
    /// The route's template, when it is not the path itself: /2/tweets/{id}
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) route: Option<String>,
    /// The plugin's configuration: JSON, or a file of JSON or TOML
    #[arg(long, value_name = "JSON|FILE", default_value = "{}")]
    pub(crate) config: String,
    /// A grant; may be given again [default: all that the component imports]
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<String>,
    /// An HS256 key for `crypto`, KID=SECRET, in the key set `access-tokens`; may be given again
    #[arg(long = "key", value_name = "KID=SECRET")]
    pub(crate) keys: Vec<String>,
    /// A limit, KEY=VALUE as in `pillion.toml`, or a preset: `interpreter`; may be given again
    #[arg(long = "limits", value_name = "KEY=VALUE|PRESET")]
    pub(crate) limits: Vec<String>,
    /// Send the request this many times, show each answer, and how long the hooks took
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) times: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component
    pub(crate) file: PathBuf,
    /// A limit, KEY=VALUE as in `pillion.toml`, or a preset: `interpreter`; may be given again
    #[arg(long = "limits", value_name = "KEY=VALUE|PRESET")]
    pub(crate) limits: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_may_begin_with_a_hyphen() {
        let admin = ["--admin-url", "http://127.0.0.1:1", "--admin-token", "-n0"];
        let arguments = ["pillion", "events", "lag"].into_iter().chain(admin);
        assert!(Cli::try_parse_from(arguments).is_ok());
    }
}
