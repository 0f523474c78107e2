//! Another configuration for a process that runs, by SIGHUP or `POST /admin/v1/reload`: what can be
//! applied is applied as a whole or not at all, and what needs a restart is named.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pillion_chassis::{Shutdown, Worker};
use pillion_host::Host;
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::Signal;
use tokio::sync::Mutex;

use crate::certificates::Certificates;
use crate::cli::Running;
use crate::config::{Loaded, changed_keys};
use crate::keys::KeySets;
use crate::output::print;
use crate::running::ask;
use crate::tracing_output;

/// Applies the configuration's file again. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Reloader(Arc<Inner>);

/// What a reloader works with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The services of this process.
    pub(crate) services: Vec<&'static str>,
    pub(crate) host: Host,
    /// Where relative sinks are.
    pub(crate) outputs: PathBuf,
    pub(crate) keysets: KeySets,
    pub(crate) certificates: Certificates,
    /// Whether the plugins are those of the fleet's document.
    pub(crate) follows_fleet: bool,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    /// What the process was started with: what needs a restart is still as there.
    started: Loaded,
    /// What was applied last. One reload at a time.
    current: Mutex<Loaded>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reloaded {
    /// Keys that have changed and are in force.
    changed: Vec<String>,
    /// Keys that differ from those that the process was started with, and need a restart.
    needs_restart: Vec<String>,
    /// The new generation of plugins, when there is one.
    generation: Option<u64>,
    /// Whether certificate files had something new.
    certificates: bool,
    /// What else there is to know.
    notes: Vec<String>,
}

/// What a change of a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Part of the set of plugins.
    Plugins,
    /// Applied by a reload.
    Applied,
    Restart,
}

fn effect_of(key: &str) -> Effect {
    let mut path = key.split('.');
    match (path.next().unwrap_or_default(), path.next(), path.next()) {
        ("plugins", ..) | ("services", _, Some("plugins")) | ("host", Some("plugin_dir"), _) => {
            Effect::Plugins
        }
        ("sinks" | "keysets", ..) | ("log", Some("filter"), _) => Effect::Applied,
        _ => Effect::Restart,
    }
}

impl Reloader {
    pub(crate) fn new(loaded: &Loaded, parts: Parts) -> Self {
        let current = Mutex::new(loaded.clone());
        Self(Arc::new(Inner { parts, started: loaded.clone(), current }))
    }

    /// Reads the configuration and certificates again and applies what can be applied. Fails
    /// without having changed anything but, perhaps, certificates, which follow their files
    /// anyway.
    pub(crate) async fn reload(&self) -> Result<Reloaded> {
        let mut current = self.0.current.lock().await;
        let reloaded = self.apply(&current).await;
        match reloaded {
            Ok((new, reloaded)) => {
                *current = new;
                reloaded.log();
                Ok(reloaded)
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "configuration not reloaded, the one before stays in force"
                );
                Err(error)
            }
        }
    }

    async fn apply(&self, current: &Loaded) -> Result<(Loaded, Reloaded)> {
        let parts = &self.0.parts;
        let new = current.reread()?;
        let changed = changed_keys(current, &new);
        let filter = tracing_output::filter(&new.config)?;
        let certificates = parts.certificates.reload().await?;
        let mut reloaded = Reloaded { certificates, ..Reloaded::default() };
        reloaded.classify(&changed, &changed_keys(&self.0.started, &new), parts.follows_fleet);
        reloaded.generation = self.apply_to_host(&new).await?;
        tracing_output::replace_filter(filter)?;
        if changed.contains("log.filter") && tracing_output::is_fixed() {
            reloaded.notes.push("log.filter: PILLION_LOG takes its place".to_owned());
        }
        Ok((new, reloaded))
    }

    /// Keys first, for a plugin without its key set would refuse everybody; then sinks and
    /// plugins, which compile and wait for requests on a thread of their own.
    async fn apply_to_host(&self, new: &Loaded) -> Result<Option<u64>> {
        let (this, new) = (self.clone(), new.clone());
        let applied = tokio::task::spawn_blocking(move || {
            let parts = &this.0.parts;
            let sinks = new.config.sinks.iter();
            let sinks =
                sinks.map(|(name, sink)| (name.clone(), sink.spec(&parts.outputs))).collect();
            let spec = (!parts.follows_fleet).then(|| new.generation(&parts.services));
            let before = parts.keysets.replace(KeySets::read(&new)?);
            parts.host.reload(spec, &sinks).map_err(|error| {
                parts.keysets.replace(before);
                anyhow::Error::from(error)
            })
        });
        let info = applied.await.context("applying the configuration failed")??;
        Ok(info.map(|info| info.generation))
    }

    /// The worker that reloads on each SIGHUP.
    pub(crate) fn worker(&self, hangups: Signal) -> Worker {
        let reloader = self.clone();
        Worker::stateful("reload", hangups, move |hangups, mut shutdown: Shutdown| {
            let reloader = reloader.clone();
            Box::pin(async move {
                loop {
                    tokio::select! {
                        () = shutdown.requested() => return,
                        // Several that came meanwhile are one.
                        _ = hangups.recv() => {}
                    }
                    tracing::info!("SIGHUP received, reloading the configuration");
                    // The log says what became of it.
                    let _reloaded = reloader.reload().await;
                }
            })
        })
    }
}

impl Reloaded {
    fn classify(
        &mut self,
        changed: &BTreeSet<String>,
        since_start: &BTreeSet<String>,
        follows_fleet: bool,
    ) {
        let is_restart = |key: &&String| {
            // The fleet's follower knows the key sets of the start.
            effect_of(key) == Effect::Restart || follows_fleet && key.starts_with("keysets")
        };
        self.needs_restart = since_start.iter().filter(is_restart).cloned().collect();
        let applied = changed.iter().filter(|key| !is_restart(key));
        let (plugins, applied): (Vec<_>, Vec<_>) =
            applied.cloned().partition(|key| effect_of(key) == Effect::Plugins && follows_fleet);
        self.changed = applied;
        if !plugins.is_empty() {
            self.notes.push(format!(
                "{}: the fleet's plugin manifest stays in charge; `pillion plugin publish --fleet` \
                 makes the configuration's set that of all hosts",
                plugins.join(", ")
            ));
        }
    }

    fn log(&self) {
        tracing::info!(
            changed = self.changed.join(", "),
            generation = self.generation,
            certificates = self.certificates,
            "configuration reloaded, log files reopened"
        );
        if !self.needs_restart.is_empty() {
            tracing::warn!(
                keys = self.needs_restart.join(", "),
                "changed configuration needs a restart"
            );
        }
        for note in &self.notes {
            tracing::warn!(note, "part of the configuration is not in force");
        }
    }
}

/// `pillion reload`.
pub(crate) fn reload(process: &Running) -> Result<()> {
    let answer = ask(process, http::Method::POST, "/admin/v1/reload", None)?;
    let data = answer.get("data").context("the answer holds no `data`")?;
    if process.json {
        return print(&serde_json::to_string_pretty(data)?);
    }
    let list = |name: &str| {
        let items = data.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let (changed, needs_restart) = (list("changed"), list("needs_restart"));
    let mut lines = vec![if changed.is_empty() {
        "changed: nothing; log files were opened again".to_owned()
    } else {
        format!("changed: {}", changed.join(", "))
    }];
    if let Some(generation) = data.get("generation").and_then(Value::as_u64) {
        lines.push(format!("generation: {generation}"));
    }
    if data.get("certificates").and_then(Value::as_bool) == Some(true) {
        lines.push("certificates: new ones are in force".to_owned());
    }
    if !needs_restart.is_empty() {
        lines.push(format!("needs a restart: {}", needs_restart.join(", ")));
    }
    lines.extend(list("notes").into_iter().map(|note| format!("note: {note}")));
    print(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn s15_each_key_is_applied_or_named() {
        let changed = keys(&[
            "broker.url",
            "keysets.partners",
            "log.filter",
            "plugins.auth.config",
            "services.users.listen",
            "services.users.plugins",
            "sinks.access",
        ]);
        let mut reloaded = Reloaded::default();
        reloaded.classify(&changed, &changed, false);
        assert_eq!(
            reloaded.changed,
            [
                "keysets.partners",
                "log.filter",
                "plugins.auth.config",
                "services.users.plugins",
                "sinks.access"
            ]
        );
        assert_eq!(reloaded.needs_restart, ["broker.url", "services.users.listen"]);
        assert!(reloaded.notes.is_empty());
        // What was changed earlier and still waits for a restart is named again.
        let mut reloaded = Reloaded::default();
        reloaded.classify(&keys(&[]), &changed, false);
        assert!(reloaded.changed.is_empty());
        assert_eq!(reloaded.needs_restart, ["broker.url", "services.users.listen"]);
        // In a fleet the document decides on plugins.
        let mut reloaded = Reloaded::default();
        reloaded.classify(&changed, &changed, true);
        assert_eq!(reloaded.changed, ["log.filter", "sinks.access"]);
        assert_eq!(
            reloaded.needs_restart,
            ["broker.url", "keysets.partners", "services.users.listen"]
        );
        assert!(reloaded.notes[0].starts_with("plugins.auth.config, services.users.plugins: "));
    }
}
