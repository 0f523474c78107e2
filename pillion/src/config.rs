//! The configuration: found, read, overridden by flags, and checked as a whole before anything
//! is opened or bound.

mod changes;
mod check;
#[cfg(test)]
mod fuzz;
mod reading;
mod sections;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use pillion_chassis::{ServerTls, TlsFiles};
use pillion_host::{GenerationSpec, PluginSpec};

pub(crate) use changes::changed_keys;
pub(crate) use check::json;
pub(crate) use reading::ConfigError;
pub(crate) use sections::{Config, KeySource, Keyset, LogFormat, SERVICES, Server};

use crate::fleet_plugins::SourceAddress;
use reading::Problem;

/// The file at the project's root; in force when no other is named or found.
pub(crate) const BUILT_IN: &str = include_str!("../../pillion.toml");

/// Stands for the service's name in the paths of `[tls]`.
const SERVICE: &str = "{service}";

/// What is looked for in the working folder.
const FILE_NAME: &str = "pillion.toml";

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// What it says, flags applied.
    pub(crate) config: Config,
    /// The file's name for messages.
    pub(crate) name: String,
    /// Relative paths in the file begin here: the file's folder, or the working folder for the
    /// built-in one.
    pub(crate) base: PathBuf,
    text: String,
    /// The file; `None` is the built-in one.
    file: Option<PathBuf>,
    overrides: Overrides,
}

/// What flags and environment variables put in the place of the file's values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `--data`, relative to the working folder.
    pub(crate) data: Option<PathBuf>,
    /// `--listen`.
    pub(crate) listen: Option<SocketAddr>,
    /// `--admin-listen`.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// `--probe-listen`.
    pub(crate) probe_listen: Option<SocketAddr>,
}

impl Loaded {
    /// The named file, else `pillion.toml` of the working folder, else the built-in one; with
    /// the overrides applied and everything checked that needs no component to be run.
    pub(crate) fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let in_folder = Path::new(FILE_NAME);
        let file = file.or_else(|| in_folder.exists().then_some(in_folder));
        Self::read(file, overrides)
    }

    /// Reads the same file again, with the same overrides.
    pub(crate) fn reread(&self) -> Result<Self, ConfigError> {
        Self::read(self.file.as_deref(), self.overrides.clone())
    }

    fn read(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let (name, base, text) = match file {
            None => ("(built-in pillion.toml)".to_owned(), PathBuf::new(), BUILT_IN.to_owned()),
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
                    file: name.clone(),
                    problems: vec![Problem {
                        key: String::new(),
                        line: None,
                        message: format!(
                            "cannot be read: {error}; name another with --config, or leave it \
                             out for the built-in one"
                        ),
                    }],
                })?;
                (name, path.parent().map(Path::to_owned).unwrap_or_default(), text)
            }
        };
        let mut config = reading::parse(&text)
            .map_err(|problem| ConfigError { file: name.clone(), problems: vec![problem] })?;
        config.server.data = match &overrides.data {
            Some(data) => data.clone(),
            None => base.join(&config.server.data),
        };
        if let Some(listen) = overrides.listen {
            config.server.listen = listen;
        }
        if let Some(admin_listen) = overrides.admin_listen {
            config.server.admin_listen = admin_listen;
        }
        config.server.probe_listen = overrides.probe_listen.or(config.server.probe_listen);
        let file = file.map(Path::to_owned);
        let loaded = Self { config, name, base, text, file, overrides };
        let problems = loaded.check();
        if problems.is_empty() {
            Ok(loaded)
        } else {
            Err(ConfigError { file: loaded.name, problems })
        }
    }

    /// Where relative components are looked up: `host.plugin_dir` when it is set, else
    /// `target/plugins` beside the file when that is there, else `plugins` beside the program or
    /// one folder above it, where it is for one that cargo built.
    pub(crate) fn plugin_dir(&self) -> PathBuf {
        if let Some(configured) = &self.config.host.plugin_dir {
            return self.base.join(configured);
        }
        let built = self.base.join("target/plugins");
        if built.is_dir() {
            return built;
        }
        let program = std::env::current_exe().unwrap_or_default();
        let folders = program.ancestors().skip(1).take(2);
        folders.map(|folder| folder.join("plugins")).find(|found| found.is_dir()).unwrap_or(built)
    }

    /// The `PostgreSQL` database of a service, when it has one: `PILLION_DATABASE_` and its name,
    /// else the file's `services.NAME.database`. `None` is a file in the data folder.
    pub(crate) fn database_url(&self, service: &str) -> Option<String> {
        let variable = format!("PILLION_DATABASE_{}", service.to_ascii_uppercase());
        let configured = || self.config.services.get(service)?.database.clone();
        std::env::var(variable).ok().filter(|url| !url.is_empty()).or_else(configured)
    }

    /// A file that `[tls]` names; `None` where it is each service's own, and no service is meant.
    pub(crate) fn tls_file(&self, path: &Path, service: Option<&str>) -> Option<PathBuf> {
        let path = path.to_string_lossy();
        let path = match service {
            Some(service) => path.replace(SERVICE, service),
            None if path.contains(SERVICE) => return None,
            None => path.into_owned(),
        };
        Some(self.base.join(path))
    }

    /// What `PostgreSQL`, NATS and Redis must show, and what a service, or a process of all, shows
    /// them: what is configured for them, else what services have among themselves.
    pub(crate) fn server_tls(&self, service: Option<&str>) -> ServerTls {
        let tls = &self.config.tls;
        let own = &tls.servers;
        let file = |path: &Option<PathBuf>| self.tls_file(path.as_deref()?, service);
        let pair =
            |certificate, key| Some(TlsFiles { certificate: file(certificate)?, key: file(key)? });
        let client = match (&own.ca, &own.certificate) {
            // Of another authority than the services': theirs would be refused.
            (Some(_), None) => None,
            (None, None) => pair(&tls.certificate, &tls.key),
            (_, Some(_)) => pair(&own.certificate, &own.key),
        };
        let ca = file(&own.ca).or_else(|| file(&tls.ca));
        ServerTls { ca, client, base: self.base.clone() }
    }

    /// Where the document of the fleet's plugins is, when there is to be one; `service` is which
    /// one asks.
    pub(crate) fn fleet_plugins(
        &self,
        service: Option<&str>,
    ) -> Result<Option<SourceAddress>, String> {
        let Some(text) = &self.config.fleet.plugins else {
            return Ok(None);
        };
        let broker = &self.config.broker;
        let replicas = usize::try_from(broker.replicas).unwrap_or(1);
        let tls = self.server_tls(service);
        SourceAddress::parse(text, &self.base, broker.url.as_deref(), replicas, tls).map(Some)
    }

    /// The key that services have for themselves, when the configuration names its file.
    pub(crate) fn service_key(&self) -> Option<PathBuf> {
        self.config.tokens.service_key.as_ref().map(|path| self.base.join(path))
    }

    /// The key that encrypts private keys at rest, when the configuration names its file.
    pub(crate) fn key_encryption_key(&self) -> Option<PathBuf> {
        self.config.tokens.key_encryption_key.as_ref().map(|path| self.base.join(path))
    }

    /// Threads that answer requests: `host.workers`, or one per core.
    pub(crate) fn workers(&self) -> usize {
        match usize::try_from(self.config.host.workers) {
            Ok(0) | Err(_) => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            Ok(workers) => workers,
        }
    }

    /// The plugins and chains of these services, as the host wants them.
    pub(crate) fn generation(&self, services: &[&str]) -> GenerationSpec {
        let plugin_dir = self.plugin_dir();
        let chains: BTreeMap<_, _> = (self.config.services.iter())
            .filter(|(name, _)| services.contains(&name.as_str()))
            .map(|(name, service)| (name.clone(), service.plugins.clone()))
            .collect();
        // A plugin that no chain of this process names would be loaded for nothing.
        let used = |name: &String| chains.values().any(|chain| chain.contains(name));
        let plugins = (self.config.plugins.iter())
            .filter(|(name, _)| used(name))
            .map(|(name, plugin)| {
                let spec = PluginSpec {
                    component: plugin_dir.join(&plugin.component),
                    digest: plugin.digest,
                    config: json(&plugin.config).unwrap_or_default(),
                    grants: plugin.grants.clone(),
                    limits: plugin.limits.clone(),
                    failure_policy: plugin.failure_policy,
                    mode: plugin.mode,
                    breaker: plugin.breaker.clone(),
                    fallback: plugin.fallback,
                    self_check: plugin.self_check,
                };
                (name.clone(), spec)
            })
            .collect();
        GenerationSpec { plugins, chains }
    }
}

#[cfg(test)]
mod ranges;

#[cfg(test)]
mod tests {
    use super::sections::{
        Accounts, BrokerSection, FleetSection, HostSection, Log, StateSection, TlsSection, Tokens,
    };
    use super::*;

    #[test]
    fn the_documented_values_are_the_defaults() {
        let file = reading::parse(BUILT_IN).unwrap();
        assert_eq!(file.server, Server::default());
        assert_eq!(file.log, Log::default());
        assert_eq!(file.host, HostSection::default());
        assert_eq!(file.tokens, Tokens::default());
        assert_eq!(file.accounts, Accounts::default());
        assert_eq!(file.tls, TlsSection::default());
        assert_eq!(file.broker, BrokerSection::default());
        assert_eq!(file.state, StateSection::default());
        assert_eq!(file.fleet, FleetSection::default());
        let logging = &file.plugins["logging"];
        assert_eq!(logging.limits, pillion_host::Limits::default());
        assert_eq!(logging.mode, pillion_host::InstanceMode::default());
        assert_eq!(logging.breaker, pillion_host::BreakerSpec::default());
        assert_eq!(logging.fallback, pillion_host::Fallback::default());
        assert_eq!(logging.self_check, file.plugins["auth"].self_check);
    }

    /// Every key of the sections is in the file, if only in a comment.
    #[test]
    fn every_key_is_documented() {
        for line in [
            "[server]\nx = 1",
            "[server.tls]\nx = 1",
            "[tls]\nx = 1",
            "[tls.servers]\nx = 1",
            "[log]\nx = 1",
            "[host]\nx = 1",
            "[tokens]\nx = 1",
            "[accounts]\nx = 1",
            "[broker]\nx = 1",
            "[state]\nx = 1",
            "[fleet]\nx = 1",
            "[sinks.access]\nx = 1",
            "[keysets.a]\nx = 1",
            "[plugins.a]\nx = 1",
            "[plugins.a.limits]\nx = 1",
            "[services.a]\nx = 1",
        ] {
            let known = reading::parse(line).unwrap_err().message;
            let keys = known.split_once("there are: ").unwrap().1;
            for key in keys.split(", ") {
                let written = |line: &str| {
                    let line = line.trim_start_matches("# ");
                    line.starts_with(&format!("{key} = "))
                        || line.starts_with('[') && line.ends_with(&format!(".{key}]"))
                };
                assert!(BUILT_IN.lines().any(written), "{line}: {key} is not in pillion.toml");
            }
        }
    }

    /// A route without a rule is closed, which nobody would notice before a caller does.
    #[test]
    fn every_public_route_has_a_rule() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("../../services/gateway/openapi.json")).unwrap();
        let config = reading::parse(BUILT_IN).unwrap();
        let rules = config.plugins["auth"].config["routes"].as_table().unwrap();
        let mut routes = 0;
        for (template, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let route = format!("{} {template}", method.to_uppercase());
                assert!(rules.contains_key(&route), "{route} has no rule in pillion.toml");
                routes += 1;
            }
        }
        assert!(routes >= 60, "{routes}");
    }

    /// Public routes ignore tokens, so an address without a limit could send any number of requests
    /// with a made-up one.
    #[test]
    fn i01_every_public_route_counts_against_the_address_whatever_token_comes_along() {
        for text in [BUILT_IN, include_str!("../../deploy/pillion.toml")] {
            let config: toml::Table = text.parse().unwrap();
            let auth = &config["plugins"]["auth"]["config"]["routes"];
            let public = auth.as_table().unwrap().iter().filter(|(_, access)| {
                access.get("public").and_then(toml::Value::as_bool) == Some(true)
            });
            let counted = &config["plugins"]["ratelimit-address"]["config"]["address"]["routes"];
            let counted: Vec<_> =
                counted.as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
            let public: Vec<_> = public.map(|(route, _)| route.as_str()).collect();
            assert!(public.len() > 10);
            for route in public {
                assert!(counted.contains(&route), "{route} is public and not counted");
            }
        }
    }

    /// A folder with a configuration and the components that it names.
    pub(super) fn load(text: &str) -> Result<Loaded, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("target/plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        for name in ["auth", "logging", "ratelimit"] {
            std::fs::write(plugins.join(format!("{name}.wasm")), "").unwrap();
        }
        std::fs::write(folder.path().join("short.key"), "short").unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        Loaded::load(Some(&path), Overrides::default())
    }

    fn problems(from: &str, to: &str) -> String {
        assert!(BUILT_IN.contains(from), "{from}");
        let text = BUILT_IN.replacen(from, to, 1);
        let error = load(&text).expect_err("should be refused");
        let line = |problem: &Problem| format!("{}: {}", problem.key, problem.message);
        error.problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_file_itself_is_in_order() {
        let loaded = load(BUILT_IN).unwrap();
        let generation = loaded.generation(&["users"]);
        assert_eq!(generation.plugins.keys().collect::<Vec<_>>(), ["auth"]);
        assert_eq!(generation.chains["users"], ["auth"]);
        assert_eq!(
            generation.plugins["auth"].config["routes"]["GET /2/users/me"]["scopes"][1],
            "users.read"
        );
        assert!(loaded.config.server.data.ends_with("pillion-data"));
        assert!(loaded.config.server.data.is_absolute());
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_way_out() {
        for (from, to, expected) in [
            (
                "admin_listen = \"127.0.0.1:8081\"",
                "admin_listen = \"127.0.0.1:8080\"",
                "server.admin_listen: 127.0.0.1:8080 is taken by `server.listen`",
            ),
            (
                "admin_listen = \"127.0.0.1:8081\"",
                "admin_listen = \"0.0.0.0:8081\"",
                "server.admin_listen: 0.0.0.0:8081 can be reached from other machines",
            ),
            (
                "listen = \"127.0.0.1:8083\"",
                "listen = \"0.0.0.0:8082\"",
                "is taken by `services.identity.listen`",
            ),
            (
                "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
                "plugins = [\"logging\", \"atuh\", \"auth\", \"auth\"]",
                "services.gateway.plugins: there is no plugin `atuh`; did you mean `auth`?\n\
                 services.gateway.plugins: `auth` stands in the chain twice",
            ),
            (
                "[\"sink:access\"]",
                "[\"sink:acces\"]",
                "plugins.logging.grants: there is no sink `acces`; did you mean `access`?",
            ),
            (
                "crypto:access-tokens",
                "crypto:other",
                "plugins.auth.grants: there is no key set `other`; there are: access-tokens",
            ),
            (
                "component = \"auth.wasm\"",
                "component = \"auth.wasm\"\nfailure_policy = \"open\"",
                "plugins.auth.failure_policy: a plugin with the grant `identity`",
            ),
            (
                "component = \"auth.wasm\"",
                "component = \"missing.wasm\"",
                "`cargo xtask plugins` builds the plugins",
            ),
            (
                "[services.tweets]",
                "[services.twets]",
                "services.twets: there is no service `twets`; did you mean `tweets`?\n\
                 services.tweets: is missing",
            ),
            (
                "listen = \"127.0.0.1:8084\"",
                "url = \"127.0.0.1:8084\"",
                "services.tweets.url: `127.0.0.1:8084` is no base address",
            ),
            (
                "source = \"identity\"",
                "hs256 = { k = \"short.key\" }",
                "holds 5 bytes; an HS256 key needs 32 or more",
            ),
            ("source = \"identity\"", "", "keysets.access-tokens: holds no keys"),
            (
                "issuer = \"pillion\"\naudience = \"pillion-api\"\nkeyset",
                "issuer = 1979-05-27\naudience = \"pillion-api\"\nkeyset",
                "plugins.auth.config: `issuer`: a date has no JSON form",
            ),
        ] {
            let found = problems(from, to);
            assert!(found.contains(expected), "{to}:\n{found}");
        }
    }

    #[test]
    fn certificates_addresses_and_probes_fit_each_other() {
        for (from, to, expected) in [
            (
                "# ca = ",
                "ca = ",
                "tls: ca, certificate and key belong together; certificate, key are missing",
            ),
            (
                "# certificate = \"public.pem\"",
                "certificate = \"public.pem\"",
                "server.tls: certificate and key belong together",
            ),
            (
                "# key = \"servers/pillion.key\"",
                "key = \"servers/pillion.key\"",
                "tls.servers: certificate and key belong together",
            ),
            (
                "filter = \"info\"",
                "filter = \"verbose,pillion_host=debug\"",
                "log.filter: `verbose` is no level: write error, warn, info, debug or trace",
            ),
            (
                "# url = \"nats://127.0.0.1:4222\"",
                "url = \"nats://a:4222, http://b:4222\"",
                "broker.url: is no address of a NATS server: write nats://HOST:PORT",
            ),
            (
                "# url = \"nats://127.0.0.1:4222\"",
                "url = \"127.0.0.1:4222\"",
                "broker.url: is no address of a NATS server: write nats://HOST:PORT",
            ),
            ("replicas = 1", "replicas = 2", "broker.replicas: 2 servers keep no majority"),
            (
                "listen = \"127.0.0.1:8084\"",
                "database = \"mysql://a:secret@b/c\"",
                "services.tweets.database: is no database of PostgreSQL: write postgres://ROLE",
            ),
            (
                "trust_domain = \"pillion\"",
                "trust_domain = \"Pillion/prod\"",
                "tls.trust_domain: `Pillion/prod` is none",
            ),
            (
                "listen = \"127.0.0.1:8084\"",
                "url = \"https://127.0.0.1:8084\"",
                "services.tweets.url: `https://127.0.0.1:8084` is no base address: write \
                 http://HOST:PORT (https:// is for services with certificates, see [tls])",
            ),
            (
                "# probe_listen = ",
                "probe_listen = \"0.0.0.0:8080\" #",
                "server.probe_listen: 0.0.0.0:8080 is taken by `server.listen`",
            ),
        ] {
            let found = problems(from, to);
            assert!(found.contains(expected), "{to}:\n{found}");
        }
    }

    #[test]
    fn a_problem_names_file_line_and_key() {
        let text = BUILT_IN.replacen("[\"sink:access\"]", "[\"sink:x\"]", 1);
        let line = text.lines().position(|line| line.contains("sink:x")).unwrap() + 1;
        let error = load(&text).unwrap_err().to_string();
        assert!(
            error.contains(&format!("pillion.toml:{line}: plugins.logging.grants: ")),
            "{error}"
        );
    }

    #[test]
    fn flags_take_the_files_place_before_the_checks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let services: String =
            SERVICES.map(|name| format!("[services.{name}]\nplugins = []\n")).concat();
        std::fs::write(&path, services).unwrap();
        let overrides = Overrides {
            data: Some("elsewhere".into()),
            listen: Some(([127, 0, 0, 1], 8081).into()),
            ..Overrides::default()
        };
        let error = Loaded::load(Some(&path), overrides.clone()).unwrap_err();
        assert_eq!(error.problems[0].key, "server.admin_listen");
        let overrides = Overrides { admin_listen: Some(([127, 0, 0, 1], 0).into()), ..overrides };
        let server = Loaded::load(Some(&path), overrides).unwrap().config.server;
        assert_eq!(server.data, Path::new("elsewhere"));
        assert_eq!((server.listen.port(), server.admin_listen.port()), (8081, 0));
    }

    #[test]
    fn one_configuration_does_for_all_services_and_what_they_show_is_for_servers_too() {
        let with = |from: &str, to: &str| {
            let certified = BUILT_IN.replacen("# ca = \"certs", "ca = \"certs", 1);
            let certified =
                certified.replacen("# certificate = \"certs", "certificate = \"certs", 1);
            let certified = certified.replacen("# key = \"certs", "key = \"certs", 1);
            assert!(certified.contains(from), "{from}");
            load(&certified.replacen(from, to, 1)).unwrap()
        };
        let loaded = with("", "");
        let at = |path: &str| loaded.base.join(path);
        let tls = loaded.server_tls(Some("tweets"));
        assert_eq!(tls.ca, Some(at("certs/ca.pem")));
        let files = TlsFiles { certificate: at("certs/tweets.pem"), key: at("certs/tweets.key") };
        assert_eq!(tls.client, Some(files));
        // A process of all services is none of them.
        assert_eq!(loaded.server_tls(None).client, None);
        // Whoever knows another authority is not shown what ours has signed.
        let from = "# ca = \"servers/ca.pem\"";
        let loaded = with(from, "ca = \"servers/ca.pem\"");
        let tls = loaded.server_tls(Some("tweets"));
        assert_eq!((tls.ca, tls.client), (Some(loaded.base.join("servers/ca.pem")), None));
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let error =
            Loaded::load(Some(Path::new("no/such.toml")), Overrides::default()).unwrap_err();
        assert!(error.to_string().starts_with("no/such.toml: cannot be read: "), "{error}");
    }
}
