//! `pillion plugin … --fleet`: changes the document and shows who runs what.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pillion_chassis::{Clock as _, ServerTls, SystemClock, Timestamp};
use pillion_host::{Cause, Digest, GenerationSpec, Host, PluginSpec, SinkSpec, SinkTarget};
use serde_json::{Value, json};

use super::document::{Document, Report, State};
use super::follow::REPORT_INTERVAL;
use super::source::{Replaced, Source, SourceAddress};
use crate::cli::{Fleet, FleetStatus, Publish, Rollback, Swap};
use crate::config::{Loaded, Overrides, SERVICES};
use crate::output::{print, table};
use crate::plugin::{config_argument, scratch};

/// A host that has not said anything for this long is not there, or not well.
const SILENT_AFTER: Duration = REPORT_INTERVAL.saturating_mul(3);

/// How often `--wait` looks.
const WAIT_POLL: Duration = Duration::from_millis(250);

/// The flag's value when it has none: the place that the configuration names.
pub(crate) const CONFIGURED: &str = "";

/// Makes the configuration's set that of all hosts.
pub(crate) fn publish(publish: &Publish) -> Result<()> {
    let loaded = Loaded::load(publish.config.as_deref(), Overrides::default())?;
    let address = match publish.fleet.fleet.as_deref() {
        None | Some(CONFIGURED) => configured(&loaded)?,
        Some(text) => SourceAddress::of_argument(text, loaded.server_tls(None))?,
    };
    let mut set = loaded.generation(&SERVICES);
    let mut components = Vec::new();
    for (name, plugin) in &mut set.plugins {
        components.push(pinned(name, plugin)?);
    }
    for (name, plugin) in &set.plugins {
        try_out(name, plugin)?;
    }
    block_on(async {
        let source = open(address, &publish.fleet).await?;
        let before = source.source.document().await?;
        source.commit(before, Cause::Configuration, set, &components, publish.actor.name()).await
    })
}

/// Exchanges one plugin on all hosts.
pub(crate) fn swap(swap: &Swap) -> Result<()> {
    let config = swap.config.as_deref().map(config_argument).transpose()?;
    let digest = swap.digest.clone().map(Digest::try_from).transpose();
    let digest = digest.map_err(|reason| anyhow::anyhow!(reason))?;
    block_on(async {
        let source = open(address(&swap.fleet)?, &swap.fleet).await?;
        let before = source.required().await?;
        let mut set = before.set.clone();
        let known: Vec<&str> = before.set.plugins.keys().map(String::as_str).collect();
        let plugin = set.plugins.get_mut(&swap.name).with_context(|| {
            format!("the fleet has no plugin `{}`; there are: {}", swap.name, known.join(", "))
        })?;
        if let Some(config) = config {
            plugin.config = config;
        }
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut components = Vec::new();
        if let Some(path) = &swap.component {
            plugin.component.clone_from(path);
            plugin.digest = digest;
            components.push(pinned(&swap.name, plugin)?);
        } else if let Some(there) = plugin.digest {
            ensure!(
                digest.is_none_or(|expected| expected == there),
                "plugin `{}`: the fleet runs the component {there}, not that one",
                swap.name
            );
            let digest = there;
            // The component stays; it is fetched to try the configuration out.
            let bytes = source.source.component(&digest, plugin.limits.component_bytes).await?;
            let bytes = bytes.with_context(|| {
                format!("the component {digest} is not at {}; publish it again", source.address)
            })?;
            let name = plugin.component.clone();
            plugin.component = folder.path().join("component.wasm");
            std::fs::write(&plugin.component, bytes)?;
            try_out(&swap.name, plugin)?;
            plugin.component = name;
        }
        if swap.component.is_some() {
            try_out(&swap.name, plugin)?;
        }
        let cause = Cause::Swap { plugin: swap.name.clone() };
        source.commit(Some(before), cause, set, &components, swap.actor.name()).await
    })
}

/// Brings back the set before, on all hosts.
pub(crate) fn rollback(back: &Rollback) -> Result<()> {
    if back.to.is_some() {
        bail!("a fleet keeps the set before only: leave --to out");
    }
    let fleet = &back.fleet;
    block_on(async {
        let source = open(address(fleet)?, fleet).await?;
        let before = source.required().await?;
        let earlier = before.previous.clone().context("there is no revision to go back to")?;
        let cause = Cause::Rollback { to: earlier.revision };
        source.commit(Some(before), cause, earlier.set, &[], back.actor.name()).await
    })
}

/// Shows who runs what, who lags and why.
pub(crate) fn status(status: &FleetStatus) -> Result<()> {
    let fleet = &status.fleet;
    block_on(async {
        let source = open(address(fleet)?, fleet).await?;
        let began = Instant::now();
        loop {
            let document = source.source.document().await?;
            let reports = source.source.reports().await?;
            let revision = document.as_ref().map(|document| document.revision);
            let now = SystemClock.now();
            let behind = reports.iter().filter(|report| !is_current(report, revision, now)).count();
            let waits = status.wait.is_some_and(|wait| began.elapsed() < Duration::from_secs(wait));
            if waits && (behind > 0 || reports.is_empty()) {
                tokio::time::sleep(WAIT_POLL).await;
                continue;
            }
            print(&shown(document.as_ref(), &reports, now, status.json)?)?;
            if status.wait.is_some() {
                ensure!(!reports.is_empty(), "no host has said anything");
                ensure!(
                    behind == 0,
                    "{behind} of {} hosts do not run the newest revision",
                    reports.len()
                );
            }
            return Ok(());
        }
    })
}

fn is_current(report: &Report, revision: Option<u64>, now: Timestamp) -> bool {
    report.state == State::Current && report.revision == revision && !is_silent(report, now)
}

fn is_silent(report: &Report, now: Timestamp) -> bool {
    age(report, now) > SILENT_AFTER
}

fn age(report: &Report, now: Timestamp) -> Duration {
    let micros = now.as_micros().saturating_sub(report.at_us);
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

fn shown(
    document: Option<&Document>,
    reports: &[Report],
    now: Timestamp,
    as_json: bool,
) -> Result<String> {
    const COLUMNS: [&str; 7] =
        ["host", "service", "generation", "revision", "state", "seen", "error"];
    let revision = document.map(|document| document.revision);
    let rows: Vec<Value> = reports
        .iter()
        .map(|report| {
            let state = match report.state {
                State::Current if report.revision != revision => "lags",
                state => state.name(),
            };
            let state = if is_silent(report, now) { "silent" } else { state };
            json!({
                "host": report.host,
                "service": report.service,
                "generation": report.generation,
                "revision": report.revision,
                "state": state,
                "seen": format!("{} s ago", age(report, now).as_secs()),
                "error": report.error,
            })
        })
        .collect();
    if as_json {
        let document = document.map(|document| {
            json!({
                "revision": document.revision,
                "changed": Timestamp::from_micros(document.changed_us).to_string(),
                "change": document.change.to_string(),
                "plugins": document.set.plugins.iter()
                    .map(|(name, plugin)| (name.clone(), json!(plugin.digest)))
                    .collect::<serde_json::Map<_, _>>(),
                "chains": document.set.chains,
            })
        });
        return Ok(serde_json::to_string_pretty(&json!({ "document": document, "hosts": rows }))?);
    }
    let head = match document {
        None => "there is no document yet; hosts run their configuration's set".to_owned(),
        Some(document) => format!(
            "revision {} of {}: {}",
            document.revision,
            Timestamp::from_micros(document.changed_us),
            document.change
        ),
    };
    if rows.is_empty() {
        return Ok(format!("{head}\nno host has said anything"));
    }
    Ok(format!("{head}\n\n{}", table(&COLUMNS, &rows)))
}

/// A source that is open for a change.
struct Opened {
    address: SourceAddress,
    source: Source,
    /// The revision that whoever gives the command has seen.
    seen: Option<u64>,
}

async fn open(address: SourceAddress, fleet: &Fleet) -> Result<Opened> {
    let source = Source::open(&address).await?;
    Ok(Opened { address, source, seen: fleet.revision })
}

impl Opened {
    async fn required(&self) -> Result<Document> {
        self.source.document().await?.with_context(|| {
            format!(
                "there is no document at {} yet; `pillion plugin publish --fleet` makes one of \
                 the configuration",
                self.address
            )
        })
    }

    /// Keeps the components, then puts the new document in the place of `before`.
    async fn commit(
        &self,
        before: Option<Document>,
        cause: Cause,
        set: GenerationSpec,
        components: &[(Digest, Vec<u8>)],
        by: Option<String>,
    ) -> Result<()> {
        let there = before.as_ref().map(|before| before.revision);
        if let Some(seen) = self.seen {
            ensure!(
                there.unwrap_or_default() == seen,
                "the fleet is at revision {}, not {seen}; nothing was changed",
                there.unwrap_or_default()
            );
        }
        let mut document = Document::after(before.as_ref(), cause, set, SystemClock.now());
        document.by = by;
        if before.as_ref().is_some_and(|before| before.set == document.set) {
            return print(&format!("revision {} says so already", there.unwrap_or_default()));
        }
        for (digest, bytes) in components {
            self.source.keep(digest, bytes).await?;
        }
        match self.source.replace(there, &document).await? {
            Replaced::Done => {}
            Replaced::Conflict => bail!(
                "somebody else changed the fleet's plugins meanwhile; nothing was changed by \
                 you: look with `pillion plugin status --fleet`, then try again"
            ),
        }
        print(&format!(
            "revision {}: {}; `pillion plugin status --fleet` shows who runs it",
            document.revision, document.change
        ))?;
        if let Err(error) = self.source.prune(&document).await {
            print(&format!("components of old revisions remain there: {error:#}"))?;
        }
        Ok(())
    }
}

fn address(fleet: &Fleet) -> Result<SourceAddress> {
    let file = std::env::var_os("PILLION_CONFIG").filter(|file| !file.is_empty());
    let file = file.as_deref().map(Path::new);
    match (fleet.fleet.as_deref(), file) {
        (None | Some(CONFIGURED), file) => configured(&Loaded::load(file, Overrides::default())?),
        (Some(text), None) => SourceAddress::of_argument(text, ServerTls::default()),
        (Some(text), file) => {
            let loaded = Loaded::load(file, Overrides::default())?;
            SourceAddress::of_argument(text, loaded.server_tls(None))
        }
    }
}

fn configured(loaded: &Loaded) -> Result<SourceAddress> {
    let address = loaded.fleet_plugins(None).map_err(|reason| anyhow::anyhow!(reason));
    address.with_context(|| format!("{}: fleet.plugins", loaded.name))?.with_context(|| {
        format!(
            "{}: fleet.plugins is not set; set it, or write --fleet=file:PATH or \
             --fleet=nats://HOST:PORT",
            loaded.name
        )
    })
}

/// Reads the component and pins it.
fn pinned(name: &str, plugin: &mut PluginSpec) -> Result<(Digest, Vec<u8>)> {
    let path = &plugin.component;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes_max = plugin.limits.component_bytes;
    ensure!(
        bytes.len() <= bytes_max,
        "plugin `{name}`: {} is over its bound of {bytes_max} bytes (limits.component_bytes)",
        path.display()
    );
    let found = Digest::of(&bytes);
    if let Some(expected) = plugin.digest {
        ensure!(expected == found, "plugin `{name}`: the digest is {found}, expected {expected}");
    }
    plugin.digest = Some(found);
    Ok((found, bytes))
}

/// Loads a plugin as a host would, so that what cannot run reaches no host.
fn try_out(name: &str, plugin: &PluginSpec) -> Result<()> {
    let (folder, mut options) = scratch()?;
    for sink in &plugin.grants.sinks {
        let target = SinkTarget::File(folder.path().join("sink.log"));
        options.sinks.insert(sink.clone(), SinkSpec { target, flush: Duration::from_secs(1) });
    }
    let mut set = GenerationSpec::default();
    set.plugins.insert(name.to_owned(), plugin.clone());
    for report in Host::new(options)?.check(&set) {
        if let Some(error) = report.error {
            bail!("plugin `{}`: {error}; nothing was changed", report.name);
        }
    }
    Ok(())
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
