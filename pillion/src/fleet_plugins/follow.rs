//! A host follows the document: it activates each new revision, stays on the last good one when
//! that fails, and says what it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use pillion_chassis::random::Random as _;
use pillion_chassis::start::{START_TIME_MAX, patiently};
use pillion_chassis::{Clock as _, Shutdown, SystemClock, SystemRandom, Worker};
use pillion_host::{Cause, Digest, GenerationSpec, Host, PluginSpec};

use super::document::{Document, Report, State};
use super::source::{Source, SourceAddress};
use super::standing::Standing;
use crate::config::Loaded;
use crate::data::{write_secret, write_whole};

/// How often the document is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often a host says what it runs when nothing changes.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// How soon a revision is tried again of which a component could not be fetched, and one that
/// does not load here: that costs whole seconds of compiling and seldom changes.
const FETCH_AGAIN: Duration = Duration::from_secs(2);
const LOAD_AGAIN: Duration = Duration::from_mins(1);

/// The last document that was activated, and what tells this host from others of its name, in
/// the host's own folder.
const CACHE: &str = "fleet.json";
const HOST_ID: &str = "host-id";

/// Follows the document for one process.
pub(crate) struct Follower {
    address: SourceAddress,
    source: Source,
    services: Vec<&'static str>,
    cache: PathBuf,
    plugin_dir: PathBuf,
    /// Those of this host's own configuration: the document has none.
    keysets: BTreeSet<String>,
    standing: Arc<Standing>,
    /// What runs, once something of the document does.
    applied: Option<Document>,
    refused: Option<Refused>,
    reported: Option<(Report, Instant)>,
}

/// A revision that cannot be activated here.
struct Refused {
    document: Document,
    error: Refusal,
    at: Instant,
}

#[derive(Debug)]
struct Refusal {
    reason: String,
    again: Duration,
}

/// The follower's part of `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct FollowerMetrics(Arc<Standing>);

impl FollowerMetrics {
    pub(crate) fn text(&self) -> String {
        self.0.metrics()
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower({})", self.address)
    }
}

impl Follower {
    /// When the configuration names a document: what follows it, with its files in `state_dir`.
    pub(crate) async fn open(
        loaded: &Loaded,
        services: &[&'static str],
        state_dir: &Path,
    ) -> Result<Option<Self>> {
        let named = || format!("{}: fleet.plugins", loaded.name);
        let own = match services {
            [one] => Some(*one),
            _ => None,
        };
        let address = loaded.fleet_plugins(own).map_err(|reason| anyhow!(reason));
        let Some(address) = address.with_context(named)? else {
            return Ok(None);
        };
        let source = Source::open(&address).await.with_context(named)?;
        std::fs::create_dir_all(state_dir)
            .with_context(|| format!("cannot make {}", state_dir.display()))?;
        let service = own.unwrap_or("all").to_owned();
        let id = match &loaded.config.fleet.host {
            Some(host) => format!("{host}-{service}"),
            None => format!("{}-{service}-{}", machine(), own_id(&state_dir.join(HOST_ID))?),
        };
        Ok(Some(Self {
            address,
            source,
            services: services.to_vec(),
            cache: state_dir.join(CACHE),
            plugin_dir: loaded.plugin_dir(),
            keysets: loaded.config.keysets.keys().cloned().collect(),
            standing: Arc::new(Standing::new(id, service)),
            applied: None,
            refused: None,
            reported: None,
        }))
    }

    /// Activates what the document says, or what this host ran last; only where there has never
    /// been a document what the configuration says. Nothing else: whoever cannot know what
    /// should stand before a service does not serve it.
    pub(crate) async fn start(&mut self, host: &Host, configured: GenerationSpec) -> Result<()> {
        let cached = self.cached();
        // A host that has something to start on does not wait for a server.
        let time_max = if cached.is_some() { Duration::ZERO } else { START_TIME_MAX };
        let source = &self.source;
        let document =
            patiently(time_max, async || source.document().await, |_| source.may_come()).await;
        let away = match document {
            Ok(Some(document)) => {
                self.standing.known().desired = Some(document.revision);
                let Err(refusal) = self.activate(host, &document).await else {
                    self.now(State::Current, None);
                    return Ok(());
                };
                let Some(cached) = cached.filter(|cached| *cached != document) else {
                    bail!(
                        "revision {} of the fleet's plugins cannot be activated: {}; and this \
                         host has no earlier one to stay on ({} would hold it), so nothing is \
                         served",
                        document.revision,
                        refusal.reason,
                        self.cache.display()
                    );
                };
                tracing::error!(
                    revision = document.revision,
                    error = refusal.reason,
                    stays = cached.revision,
                    "this revision of the fleet's plugins cannot be activated here"
                );
                let reason = refusal.reason.clone();
                self.refused = Some(Refused { document, error: refusal, at: Instant::now() });
                self.resume(host, &cached, &reason).await?;
                self.now(State::Failed, Some(reason));
                return Ok(());
            }
            Ok(None) if cached.is_none() => {
                let host = host.clone();
                let started = tokio::task::spawn_blocking(move || host.start(configured));
                let info = started.await.context("loading the plugins failed")??;
                self.standing.known().report.generation = Some(info.generation);
                tracing::warn!(
                    source = %self.address,
                    "there is no document of the fleet's plugins yet; the configuration's set is \
                     used until `pillion plugin publish --fleet` makes one"
                );
                self.now(State::Configuration, None);
                return Ok(());
            }
            Ok(None) => "there is no document any more".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        let Some(cached) = cached else {
            bail!(
                "the document of the fleet's plugins cannot be read at {}: {away}; and this host \
                 has not kept one from earlier ({} is missing), so nothing is served: bring the \
                 source back, or take `plugins` out of [fleet] to run the configuration's own set",
                self.address,
                self.cache.display()
            );
        };
        tracing::error!(
            source = %self.address, error = away, revision = cached.revision,
            "the document of the fleet's plugins cannot be read; this host starts on what it ran last"
        );
        self.resume(host, &cached, &away).await?;
        self.now(State::SourceAway, Some(away));
        Ok(())
    }

    /// Activates the set that this host ran last.
    async fn resume(&mut self, host: &Host, cached: &Document, why: &str) -> Result<()> {
        self.activate(host, cached).await.map_err(|refusal| {
            anyhow!(
                "revision {} of the fleet's plugins, which this host ran last, cannot be \
                 activated either: {}; nothing is served ({why})",
                cached.revision,
                refusal.reason
            )
        })
    }

    /// What goes on while the process serves.
    pub(crate) fn worker(self, host: Host) -> (Worker, FollowerMetrics) {
        let metrics = FollowerMetrics(Arc::clone(&self.standing));
        let worker = Worker::stateful("fleet-plugins", self, move |follower, shutdown| {
            let host = host.clone();
            Box::pin(async move { follower.follow(&host, shutdown).await })
        });
        (worker, metrics)
    }

    async fn follow(&mut self, host: &Host, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                () = self.look(host) => {}
            }
            tokio::select! {
                () = shutdown.requested() => break,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
        let name = self.standing.known().report.host.clone();
        if let Err(error) = self.source.withdraw(&name).await {
            tracing::debug!(%error, "this host's report stays until it expires");
        }
    }

    /// One look at the document, and what follows from it.
    async fn look(&mut self, host: &Host) {
        match self.source.document().await {
            Err(error) => self.away(format!("{error:#}")),
            Ok(None) if self.applied.is_some() => {
                self.away("there is no document any more".to_owned());
            }
            Ok(None) => self.now(State::Configuration, None),
            Ok(Some(document)) => self.consider(host, document).await,
        }
        self.report().await;
    }

    async fn consider(&mut self, host: &Host, document: Document) {
        self.standing.known().desired = Some(document.revision);
        if self.applied.as_ref() == Some(&document) {
            self.refused = None;
            let (state, error) = match running(host).await {
                Some(cause @ Cause::Fallback { .. }) => {
                    (State::FellBack, Some(format!("{cause}: the version kept failing")))
                }
                _ => (State::Current, None),
            };
            self.now(state, error);
            return;
        }
        if let Some(refused) = &self.refused
            && refused.document == document
            && refused.at.elapsed() < refused.error.again
        {
            let reason = refused.error.reason.clone();
            self.now(State::Failed, Some(reason));
            return;
        }
        self.now(State::Activating, None);
        self.report().await;
        match self.activate(host, &document).await {
            Ok(()) => {
                self.refused = None;
                self.now(State::Current, None);
                tracing::info!(revision = document.revision, "the fleet's plugins are active");
            }
            Err(refusal) => {
                let said = self.refused.as_ref().is_some_and(|refused| {
                    refused.document == document && refused.error.reason == refusal.reason
                });
                if !said {
                    tracing::error!(
                        revision = document.revision,
                        error = refusal.reason,
                        stays = self.applied.as_ref().map(|applied| applied.revision),
                        "this revision of the fleet's plugins cannot be activated here"
                    );
                }
                self.now(State::Failed, Some(refusal.reason.clone()));
                self.refused = Some(Refused { document, error: refusal, at: Instant::now() });
            }
        }
    }

    /// Fetches what is missing and has the host activate it.
    async fn activate(&mut self, host: &Host, document: &Document) -> Result<(), Refusal> {
        let load =
            |error: anyhow::Error| Refusal { reason: format!("{error:#}"), again: LOAD_AGAIN };
        let spec = document.of_services(&self.services).map_err(load)?;
        has_keys(&spec, &self.keysets).map_err(load)?;
        let components = self
            .fetch(host, &spec)
            .await
            .map_err(|error| Refusal { reason: format!("{error:#}"), again: FETCH_AGAIN })?;
        let (host, revision, by) = (host.clone(), document.revision, document.by.clone());
        // Compiling takes seconds, and the requests of the generation before end in their time.
        let activated = tokio::task::spawn_blocking(move || {
            host.activate(revision, by.as_deref(), spec, components)
        });
        let info = match activated.await {
            Ok(activated) => activated.map_err(|error| load(error.into()))?,
            Err(error) => return Err(load(error.into())),
        };
        {
            let mut known = self.standing.known();
            known.report.generation = Some(info.generation);
            known.report.revision = Some(document.revision);
        }
        if self.applied.as_ref() != Some(document) {
            let kept = document.to_json().and_then(|json| write_whole(&self.cache, &json));
            if let Err(error) = kept {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "a start without the source would not find this revision"
                );
            }
        }
        self.applied = Some(document.clone());
        Ok(())
    }

    /// The components that the host does not keep: from the plugins' folder when they are there,
    /// else from the source.
    async fn fetch(&self, host: &Host, spec: &GenerationSpec) -> Result<BTreeMap<Digest, Vec<u8>>> {
        let (asked, wanted) = (host.clone(), spec.clone());
        let missing = tokio::task::spawn_blocking(move || asked.missing(&wanted)).await?;
        let mut components = BTreeMap::new();
        for (name, digest) in missing {
            let Some(plugin) = spec.plugins.get(&name) else {
                continue;
            };
            let mut bytes = self.beside(plugin, &digest);
            if bytes.is_none() {
                bytes = self.source.component(&digest, plugin.limits.component_bytes).await?;
            }
            let bytes = bytes.with_context(|| {
                format!(
                    "the component of the plugin `{name}`, {digest}, is missing: neither this \
                     host's cache nor {} nor {} has it",
                    self.plugin_dir.display(),
                    self.address
                )
            })?;
            components.insert(digest, bytes);
        }
        Ok(components)
    }

    /// The component in the plugins' folder, when it is this very one.
    fn beside(&self, plugin: &PluginSpec, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.plugin_dir.join(plugin.component.file_name()?);
        let size = usize::try_from(std::fs::metadata(&path).ok()?.len()).ok()?;
        let fits = size <= plugin.limits.component_bytes;
        let bytes = if fits { std::fs::read(path).ok()? } else { return None };
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    /// The last document that was activated here.
    fn cached(&self) -> Option<Document> {
        let bytes = std::fs::read(&self.cache).ok()?;
        match Document::parse(&bytes) {
            Ok(document) => Some(document),
            Err(error) => {
                tracing::error!(
                    path = %self.cache.display(), error = format!("{error:#}"),
                    "what this host kept of the fleet's plugins cannot be used"
                );
                None
            }
        }
    }

    /// Takes note of where this host stands. A source that comes and goes is told in the log.
    fn now(&mut self, state: State, error: Option<String>) {
        let mut known = self.standing.known();
        let before = std::mem::replace(&mut known.report.state, state);
        known.report.error = error;
        drop(known);
        if before == State::SourceAway && state != State::SourceAway {
            tracing::info!(source = %self.address, "the document of the fleet's plugins can be read again");
        }
    }

    fn away(&mut self, error: String) {
        let before = self.standing.known().report.state;
        if before != State::SourceAway {
            tracing::error!(
                source = %self.address, error,
                "the document of the fleet's plugins cannot be read; this host goes on with what it runs"
            );
        }
        self.now(State::SourceAway, Some(error));
    }

    /// Says what has changed, or now and then that nothing has.
    async fn report(&mut self) {
        let mut report = self.standing.known().report.clone();
        let said = |last: &Report| Report { at_us: report.at_us, ..last.clone() } == report;
        if let Some((last, at)) = &self.reported
            && said(last)
            && at.elapsed() < REPORT_INTERVAL
        {
            return;
        }
        report.at_us = SystemClock.now().as_micros();
        match self.source.report(&report).await {
            Ok(()) => self.reported = Some((report, Instant::now())),
            // That the source is away is told already; it is tried again with the next look.
            Err(error) => tracing::debug!(error = format!("{error:#}"), "cannot report"),
        }
    }
}

/// A plugin whose key set is nowhere would start, and then refuse everybody.
fn has_keys(spec: &GenerationSpec, keysets: &BTreeSet<String>) -> Result<()> {
    for (name, plugin) in &spec.plugins {
        if let Some(keyset) = plugin.grants.keysets.iter().find(|set| !keysets.contains(*set)) {
            bail!(
                "the plugin `{name}` is granted the key set `{keyset}`, which this host's \
                 configuration does not have: add [keysets.{keyset}] to it first"
            );
        }
    }
    Ok(())
}

/// Why what runs does.
async fn running(host: &Host) -> Option<Cause> {
    let host = host.clone();
    // It waits for an activation that is under way.
    let running = tokio::task::spawn_blocking(move || host.running()).await;
    running.ok().flatten().map(|info| info.cause)
}

/// This machine's name, as far as it can stand in a file's name and a subject.
fn machine() -> String {
    const BYTES_MAX: usize = 48;
    // Where there is no such file the digits behind the name are what tells hosts apart.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fits = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
    let name: String = name.chars().filter(fits).take(BYTES_MAX).collect();
    if name.is_empty() { "host".to_owned() } else { name.to_ascii_lowercase() }
}

/// What tells this host from another one of the same service on the same machine, as long as its
/// folder lives.
fn own_id(path: &Path) -> Result<String> {
    const DIGITS: usize = 8;
    if let Ok(id) = std::fs::read_to_string(path)
        && id.len() == DIGITS
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(id);
    }
    let mut bytes = [0; DIGITS / 2];
    SystemRandom.fill(&mut bytes)?;
    let id = bytes.iter().fold(String::new(), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    });
    write_secret(path, &id)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_set_whose_keys_are_not_here_is_refused() {
        let plugin = json!({ "component": "auth.wasm", "grants": ["crypto:partners"] });
        let spec = json!({ "plugins": { "auth": plugin }, "chains": {} });
        let spec: GenerationSpec = serde_json::from_value(spec).unwrap();
        let keysets = |name: &str| BTreeSet::from([name.to_owned()]);
        has_keys(&spec, &keysets("partners")).unwrap();
        let error = has_keys(&spec, &keysets("access-tokens")).unwrap_err().to_string();
        assert!(error.contains("add [keysets.partners] to it first"), "{error}");
    }
}
