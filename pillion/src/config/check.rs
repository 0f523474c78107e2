//! What one key's type cannot know: names that must exist elsewhere, addresses that must differ,
//! files that must be there. Finds everything that is wrong, not only the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pillion_host::{FailurePolicy, Fallback, INSTANCES_MAX, instances_needed};

use super::reading::{Problem, line_of_key, nearest};
use super::sections::{Plugin, SERVICES, Service};
use super::{Config, Loaded};
use crate::keys::is_services;
use crate::tracing_output;

/// HMAC-SHA-256 with a key shorter than its output is easier to guess than to forge (RFC 7518,
/// section 3.2).
const HS256_KEY_BYTES_MIN: u64 = 32;

/// Each is looked at for every connection and request.
const TRUSTED_PROXIES_MAX: usize = 64;

/// A key file is a secret of some dozens of bytes; more is the wrong file.
const HS256_KEY_BYTES_MAX: u64 = 4_096;

impl Loaded {
    /// Everything that is wrong, in the order of the file's sections.
    pub(super) fn check(&self) -> Vec<Problem> {
        let mut found = Findings { loaded: self, problems: Vec::new() };
        found.addresses();
        found.proxies();
        found.log();
        found.servers();
        found.certificates();
        found.keysets();
        found.tokens();
        found.fleet();
        for (name, plugin) in &self.config.plugins {
            found.plugin(name, plugin);
        }
        found.services();
        found.instances();
        found.problems
    }
}

struct Findings<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn config(&self) -> &Config {
        &self.loaded.config
    }

    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let key = key.into();
        let line = line_of_key(&self.loaded.text, &key);
        self.problems.push(Problem { key, line, message: message.into() });
    }

    /// Two listeners on one address: the second could never bind. Port 0 is always free.
    fn addresses(&mut self) {
        let server = &self.config().server;
        let (listen, admin, probe) = (server.listen, server.admin_listen, server.probe_listen);
        if !admin.ip().is_loopback() {
            self.add(
                "server.admin_listen",
                format!(
                    "{admin} can be reached from other machines; the admin API stays on a \
                     loopback address such as 127.0.0.1:{}",
                    admin.port()
                ),
            );
        }
        if collide(listen, admin) {
            self.add(
                "server.admin_listen",
                format!("{admin} is taken by `server.listen`; give each its own port"),
            );
        }
        let own = [("server.listen", listen), ("server.admin_listen", admin)];
        if let Some(probe) = probe
            && let Some((other, _)) = own.into_iter().find(|(_, address)| collide(probe, *address))
        {
            let message = format!("{probe} is taken by `{other}`; give each its own port");
            self.add("server.probe_listen", message);
        }
        let mut taken: BTreeMap<String, SocketAddr> = BTreeMap::new();
        let wanted: Vec<(String, SocketAddr)> = (self.config().services.iter())
            .flat_map(|(name, service)| {
                let listen = service.listen.map(|it| (format!("services.{name}.listen"), it));
                let admin =
                    service.admin_listen.map(|it| (format!("services.{name}.admin_listen"), it));
                listen.into_iter().chain(admin)
            })
            .collect();
        for (key, address) in wanted {
            let other = taken.iter().find(|(_, other)| collide(address, **other));
            if let Some((other, _)) = other {
                let message = format!("{address} is taken by `{other}`; give each its own port");
                self.add(key.clone(), message);
            }
            taken.insert(key, address);
        }
    }

    /// Who is believed on a client's address decides whom every limit by address is about.
    fn proxies(&mut self) {
        let server = &self.config().server;
        let (networks, header) = (&server.trusted_proxies, server.proxy_protocol);
        let everything = networks.iter().find(|network| network.is_everything()).copied();
        let (count, is_empty) = (networks.len(), networks.is_empty());
        if let Some(network) = everything {
            let message = format!(
                "`{network}` trusts every client to choose its own address; name the proxies only"
            );
            self.add("server.trusted_proxies", message);
        }
        if count > TRUSTED_PROXIES_MAX {
            let message = format!("{count} entries; at most {TRUSTED_PROXIES_MAX} are allowed");
            self.add("server.trusted_proxies", message);
        }
        if header && is_empty {
            let message = "is believed from `server.trusted_proxies` only, and there are none";
            self.add("server.proxy_protocol", message);
        }
    }

    fn log(&mut self) {
        if let Err(reason) = tracing_output::levels(&self.config().log.filter) {
            self.add("log.filter", reason);
        }
    }

    /// What leads to no server is told before a start. Never with the URL, which may hold a
    /// password.
    fn servers(&mut self) {
        let broker = self.config().broker.clone();
        let is_nats = |url: &str| {
            (url.starts_with("nats://") || url.starts_with("tls://"))
                && url.parse::<http::Uri>().is_ok_and(|it| it.host().is_some())
        };
        if broker.url.is_some_and(|urls| !urls.split(',').map(str::trim).all(is_nats)) {
            let message =
                "is no address of a NATS server: write nats://HOST:PORT, or tls://HOST:PORT";
            self.add("broker.url", message);
        }
        if broker.replicas == 2 {
            let message = "2 servers keep no majority when one is away: write 1 or 3";
            self.add("broker.replicas", message);
        }
        for (name, service) in self.config().services.clone() {
            let is_postgres =
                |url: &String| url.starts_with("postgres://") || url.starts_with("postgresql://");
            if service.database.as_ref().is_some_and(|url| !is_postgres(url)) {
                let message = "is no database of PostgreSQL: write \
                               postgres://ROLE:PASSWORD@HOST:PORT/DATABASE, or leave it out for a \
                               file in the data folder";
                self.add(format!("services.{name}.database"), message);
            }
        }
    }

    /// Half of a certificate is none. The files themselves are read at the start.
    fn certificates(&mut self) {
        let tls = self.config().tls.clone();
        let files = [("ca", &tls.ca), ("certificate", &tls.certificate), ("key", &tls.key)];
        let missing: Vec<_> =
            files.iter().filter(|(_, file)| file.is_none()).map(|(name, _)| *name).collect();
        if !missing.is_empty() && missing.len() < files.len() {
            let missing = missing.join(", ");
            let message = format!("ca, certificate and key belong together; {missing} are missing");
            self.add("tls", message);
        }
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if tls.trust_domain.is_empty() || !tls.trust_domain.bytes().all(fits) {
            let message = format!(
                "`{}` is none: write a-z, 0-9, `.`, `-` and `_`, such as prod.example.com",
                tls.trust_domain
            );
            self.add("tls.trust_domain", message);
        }
        let public = &self.config().server.tls;
        let halved = [
            ("server.tls", public.certificate.is_some() != public.key.is_some()),
            ("tls.servers", tls.servers.certificate.is_some() != tls.servers.key.is_some()),
        ];
        for (section, _) in halved.into_iter().filter(|(_, is_halved)| *is_halved) {
            self.add(section, "certificate and key belong together; one of them is missing");
        }
    }

    fn keysets(&mut self) {
        let keysets = self.config().keysets.clone();
        for (name, keyset) in keysets {
            if keyset.source.is_none() && keyset.hs256.is_empty() {
                self.add(
                    format!("keysets.{name}"),
                    "holds no keys: write `source = \"identity\"` or name files under `hs256`",
                );
            }
            for (kid, path) in keyset.hs256 {
                if is_services(&kid) {
                    let message = "names of this kind are for the key that services have for \
                                   themselves (tokens.service_key); choose another";
                    self.add(format!("keysets.{name}.hs256.{kid}"), message);
                }
                let path = self.loaded.base.join(path);
                let wrong = match std::fs::metadata(&path) {
                    Err(error) => Some(format!("{}: {error}", path.display())),
                    Ok(file) if file.len() < HS256_KEY_BYTES_MIN => Some(format!(
                        "{} holds {} bytes; an HS256 key needs {HS256_KEY_BYTES_MIN} or more: \
                         `head -c 32 /dev/urandom > FILE` makes one",
                        path.display(),
                        file.len()
                    )),
                    Ok(file) if file.len() > HS256_KEY_BYTES_MAX => Some(format!(
                        "{} holds {} bytes, which is no HS256 key (at most \
                         {HS256_KEY_BYTES_MAX})",
                        path.display(),
                        file.len()
                    )),
                    Ok(_) => None,
                };
                if let Some(wrong) = wrong {
                    self.add(format!("keysets.{name}.hs256.{kid}"), wrong);
                }
            }
        }
    }

    /// Every key is published until the last token that it signed has expired.
    fn tokens(&mut self) {
        let tokens = self.config().tokens.clone();
        let published = tokens.app_token_days / tokens.key_rotation_days + 3;
        let most = u64::try_from(pillion_identity::PUBLISHED_KEYS_MAX).unwrap_or(u64::MAX);
        if published > most {
            let message = format!(
                "with app_token_days = {} up to {published} keys would be published at once, and \
                 {most} is the most: rotate less often, or let tokens of apps expire sooner",
                tokens.app_token_days
            );
            self.add("tokens.key_rotation_days", message);
        }
        let name = &self.config().accounts.service_name;
        if name.trim().is_empty() || name.chars().count() > 50 {
            self.add("accounts.service_name", "must have 1 to 50 characters");
        }
    }

    fn fleet(&mut self) {
        /// A name stands in file names and subjects.
        const NAME_BYTES_MAX: usize = 48;
        let fleet = self.config().fleet.clone();
        if let Err(reason) = self.loaded.fleet_plugins(None) {
            self.add("fleet.plugins", reason);
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if let Some(host) = fleet.host
            && (host.is_empty() || host.len() > NAME_BYTES_MAX || !host.bytes().all(fits))
        {
            self.add("fleet.host", "a host's name is 1 to 48 of a-z, A-Z, 0-9 and `-`");
        }
    }

    fn plugin(&mut self, name: &str, plugin: &Plugin) {
        /// A name stands in metrics, log lines and file names.
        const NAME_BYTES_MAX: usize = 64;
        let key = |rest: &str| format!("plugins.{name}{rest}");
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
            self.add(key(""), "a plugin's name is 1 to 64 of a-z, 0-9 and `-`");
        }
        if plugin.grants.identity && plugin.failure_policy == FailurePolicy::Open {
            self.add(
                key(".failure_policy"),
                "a plugin with the grant `identity` decides who the caller is: it can only be \
                 \"closed\"",
            );
        }
        if let Some((limit, reason)) = plugin.limits.out_of_range() {
            self.add(key(&format!(".limits.{limit}")), reason);
        }
        if plugin.grants.identity && plugin.fallback == Fallback::Previous {
            self.add(
                key(".fallback"),
                "a plugin with the grant `identity` decides who the caller is: clients that make \
                 it fail must not be able to bring back an older one; use \"none\"",
            );
        }
        if let Err(reason) = plugin.breaker.check() {
            self.add(key(".breaker"), reason);
        }
        for sink in &plugin.grants.sinks {
            let names: Vec<String> = self.config().sinks.keys().cloned().collect();
            self.known(&key(".grants"), "sink", sink, &names);
        }
        for keyset in &plugin.grants.keysets {
            let names: Vec<String> = self.config().keysets.keys().cloned().collect();
            self.known(&key(".grants"), "key set", keyset, &names);
        }
        if let Err(reason) = json(&plugin.config) {
            self.add(key(".config"), reason);
        }
        let component = self.loaded.plugin_dir().join(&plugin.component);
        if !component.is_file() {
            self.add(
                key(".component"),
                format!(
                    "there is no file {}; `cargo xtask plugins` builds the plugins of this \
                     project, `host.plugin_dir` says where others are",
                    component.display()
                ),
            );
        }
    }

    fn services(&mut self) {
        let services = self.config().services.clone();
        let plugins: Vec<String> = self.config().plugins.keys().cloned().collect();
        let known = SERVICES.map(str::to_owned);
        for name in services.keys() {
            self.known(&format!("services.{name}"), "service", name, &known);
        }
        for name in SERVICES {
            let Some(service) = services.get(name) else {
                self.add(
                    format!("services.{name}"),
                    "is missing; say which plugins stand before it: `plugins = [\"auth\"]`",
                );
                continue;
            };
            let Service { plugins: chain, .. } = service;
            let key = format!("services.{name}.plugins");
            for (index, plugin) in chain.iter().enumerate() {
                self.known(&key, "plugin", plugin, &plugins);
                if chain.iter().take(index).any(|before| before == plugin) {
                    self.add(key.clone(), format!("`{plugin}` stands in the chain twice"));
                }
            }
            let tls = &self.config().tls;
            let (scheme, on) = (tls.scheme(), tls.is_on());
            for url in service.urls().iter().filter(|url| !is_base_url(url, scheme)) {
                let mut message = format!("`{url}` is no base address: write {scheme}://HOST:PORT");
                if !on && url.starts_with("https://") {
                    message += " (https:// is for services with certificates, see [tls])";
                }
                self.add(format!("services.{name}.url"), message);
            }
        }
    }

    /// What requests may hold at once must fit into the address space, or requests that the bound
    /// lets in would find no instance.
    fn instances(&mut self) {
        let requests = usize::try_from(self.config().server.requests).unwrap_or(usize::MAX);
        let generation = self.loaded.generation(&SERVICES);
        let needed = instances_needed(&generation, self.loaded.workers(), requests);
        if needed > INSTANCES_MAX {
            let message = format!(
                "{requests} requests may need {needed} instances of plugins at once, and there is \
                 room for {INSTANCES_MAX}: lower it, or have fewer plugins in `mode = \"fresh\"`"
            );
            self.add("server.requests", message);
        }
    }

    /// Adds a problem when `name` is none of `names`.
    fn known(&mut self, key: &str, what: &str, name: &str, names: &[String]) {
        if names.iter().any(|known| known == name) {
            return;
        }
        let names = names.iter().map(String::as_str);
        let hint = match nearest(name, names.clone()) {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.add(key, format!("there is no {what} `{name}`; {hint}"));
    }
}

/// Whether two listeners cannot both bind. An unspecified address takes the port on all of them.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && overlap
}

fn is_base_url(text: &str, scheme: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some(scheme)
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.path() == "/"
            && uri.query().is_none()
    })
}

/// A table as the JSON that a plugin receives. Dates and not-a-number have no JSON form.
pub(crate) fn json(table: &toml::Table) -> Result<serde_json::Value, String> {
    fn value(path: &str, from: &toml::Value) -> Result<serde_json::Value, String> {
        Ok(match from {
            toml::Value::String(text) => text.clone().into(),
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Boolean(truth) => (*truth).into(),
            toml::Value::Float(number) => serde_json::Number::from_f64(*number)
                .ok_or_else(|| format!("`{path}`: {number} has no JSON form"))?
                .into(),
            toml::Value::Datetime(date) => {
                return Err(format!("`{path}`: a date has no JSON form; write it as \"{date}\""));
            }
            toml::Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| value(&format!("{path}[{index}]"), item))
                .collect::<Result<Vec<_>, _>>()?
                .into(),
            toml::Value::Table(entries) => object(path, entries)?,
        })
    }
    fn object(path: &str, entries: &toml::Table) -> Result<serde_json::Value, String> {
        let dot = if path.is_empty() { "" } else { "." };
        entries
            .iter()
            .map(|(key, item)| Ok((key.clone(), value(&format!("{path}{dot}{key}"), item)?)))
            .collect::<Result<serde_json::Map<_, _>, String>>()
            .map(Into::into)
    }
    object("", table)
}
