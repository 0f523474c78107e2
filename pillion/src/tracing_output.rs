//! The process's own diagnostics, on standard error. Requests are logged by the logging plugin.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{Config, LogFormat};

/// Takes the place of `log.filter` for one start.
const FILTER_VARIABLE: &str = "PILLION_LOG";

/// Libraries that tell what is only of interest to their makers, unless the filter names them.
const QUIET: &str = "async_nats=error,sqlx=warn";

/// What is to be written out, or why that cannot be told.
pub(crate) fn filter(config: &Config) -> Result<EnvFilter> {
    let (filter, origin) = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) => (filter, FILTER_VARIABLE),
        Err(_) => (config.log.filter.clone(), "log.filter"),
    };
    levels(&filter).map_err(|reason| anyhow!("{origin}: {reason}"))?;
    EnvFilter::try_new(format!("{QUIET},{filter}")).with_context(|| {
        format!("{origin}: `{filter}` is no filter; write a level, such as `info`, or `info,pillion_host=debug`")
    })
}

/// A word that is no level would be the name of a module, of which everything is told, and of all
/// others nothing.
pub(crate) fn levels(filter: &str) -> Result<(), String> {
    let mut words = filter.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    match words.find(|word| word.parse::<LevelFilter>().is_err()) {
        None => Ok(()),
        Some(word) => Err(format!(
            "`{word}` is no level: write error, warn, info, debug or trace, or MODULE=LEVEL, such \
             as \"info,pillion_host=debug\""
        )),
    }
}

type ReplaceFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Replaces the filter that is in force.
static REPLACE_FILTER: OnceLock<ReplaceFilter> = OnceLock::new();

/// From here on `tracing`'s events are written out.
pub(crate) fn begin(config: &Config) -> Result<()> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(config)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // The two forms are different types, and so are their handles.
    let replace: ReplaceFilter = match config.log.format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |filter| handle.reload(filter))
        }
    };
    // An error says that this process has begun before.
    drop(REPLACE_FILTER.set(replace));
    Ok(())
}

/// Puts another filter in force.
pub(crate) fn replace_filter(filter: EnvFilter) -> Result<()> {
    match REPLACE_FILTER.get() {
        Some(replace) => replace(filter).context("the log filter cannot be replaced"),
        None => Ok(()),
    }
}

/// Whether the environment decides what is written out, whatever the configuration says.
pub(crate) fn is_fixed() -> bool {
    std::env::var_os(FILTER_VARIABLE).is_some()
}
