//! The process's own diagnostics, on standard error. Requests are logged by the logging plugin.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
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
        .with_writer(|| Escaped(std::io::stderr()));
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

/// Writes lines in which nothing is that nobody sees or that turns the text around it: what clients
/// and components send may be in them.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(&escape(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `\u202e` for such a character, which is what it is called in JSON, too.
fn escape(line: &[u8]) -> Cow<'_, [u8]> {
    // The end of a line, and the colors that a terminal is sent; others of ASCII are the
    // formatter's business.
    let is_plain = |c: char| c.is_ascii() || !pillion_host::is_unprintable(c);
    match std::str::from_utf8(line) {
        Ok(text) if text.chars().all(is_plain) => Cow::Borrowed(line),
        _ => {
            let mut text = String::with_capacity(line.len() + 16);
            for c in String::from_utf8_lossy(line).chars() {
                if is_plain(c) {
                    text.push(c);
                } else {
                    let units = c.encode_utf16(&mut [0; 2]).to_vec();
                    text.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
                }
            }
            Cow::Owned(text.into_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_what_is_not_seen_is_escaped_in_diagnostics() {
        let mut out = Vec::new();
        let line = "user agent \u{202e}a\u{200b}\u{e0041} caf\u{e9}\n";
        Escaped(&mut out).write_all(line.as_bytes()).unwrap();
        let shown = "user agent \\u202ea\\u200b\\udb40\\udc41 caf\u{e9}\n";
        assert_eq!(String::from_utf8(out).unwrap(), shown);
        assert!(matches!(escape(b"plain\x1b[0m\n"), Cow::Borrowed(_)));
    }
}
