//! `pillion plugin inspect`: what a component says of itself and what is seen from outside.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use pillion_host::{ComponentReport, Host, ITEM_BYTES_MAX, printable};
use serde_json::Value;

use super::{explain_limit, limits, scratch};
use crate::cli::Inspect;
use crate::output::print;

/// Bytes that are shown of what a schema says about one key.
const MEANING_BYTES_MAX: usize = 1 << 10;

/// Prints the report, for people or as JSON.
pub(super) fn inspect(arguments: &Inspect) -> Result<()> {
    let (_folder, options) = scratch()?;
    let limits = limits(&arguments.limits)?;
    let host = Host::new(options)?;
    let report = host.inspect_within(&arguments.file, &limits).map_err(explain_limit)?;
    if arguments.json {
        return print(&serde_json::to_string_pretty(&report)?);
    }
    print(&page(&arguments.file, &report))
}

fn page(file: &Path, report: &ComponentReport) -> String {
    let ComponentReport { description, imports, bytes, digest } = report;
    let list = |items: &[String]| {
        if items.is_empty() { "none".to_owned() } else { items.join(", ") }
    };
    let mut text = format!(
        "{} {}: {}\n\nfile     {} ({} KiB)\ndigest   {digest}\ngrants   {}\nimports  {}\n",
        description.name,
        description.version,
        description.description,
        file.display(),
        bytes.div_ceil(1_024),
        list(&description.grants),
        imported(imports),
    );
    // Writing to a String cannot fail.
    text += "\nphases and the fields they see\n";
    for phase in &description.phases {
        let _ = writeln!(text, "  {:<10} {}", phase.phase.name(), list(&phase.fields));
    }
    text += "\nconfiguration\n";
    let keys = keys(&description.config_schema);
    if keys.is_empty() {
        text += "  takes no keys\n";
    }
    for (key, meaning) in keys {
        let _ = writeln!(text, "  {key}\n      {meaning}");
    }
    text
}

/// Our own interfaces by name, and how many of WASI's: those come with a language's library.
fn imported(imports: &[String]) -> String {
    let own = imports
        .iter()
        .filter_map(|import| import.strip_prefix("pillion:plugin/")?.split('@').next());
    let mut names: Vec<String> = own.filter(|name| *name != "types").map(str::to_owned).collect();
    let wasi = imports.iter().filter(|import| import.starts_with("wasi:")).count();
    if wasi > 0 {
        names.push(format!("{wasi} of WASI"));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The keys of a JSON Schema's top level with what it says about each.
fn keys(schema: &Value) -> Vec<(String, String)> {
    let required: Vec<&str> = (schema.get("required").and_then(Value::as_array).into_iter())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties
        .map(|(key, about)| {
            let text = about.get("description").and_then(Value::as_str).unwrap_or_default();
            let text = text.replace('\n', " ");
            let mut meaning = printable(&text, MEANING_BYTES_MAX).into_owned();
            if let Some(default) = about.get("default").filter(|default| !default.is_null()) {
                let default = default.to_string();
                let _ = write!(meaning, " [default: {}]", printable(&default, ITEM_BYTES_MAX));
            } else if required.contains(&key.as_str()) {
                meaning += " [required]";
            }
            (printable(key, ITEM_BYTES_MAX).into_owned(), meaning.trim().to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn imports_are_told_by_what_they_are() {
        let imports =
            ["pillion:plugin/log@0.1.0", "pillion:plugin/types@0.1.0", "wasi:io/poll@0.2.6"];
        assert_eq!(imported(&imports.map(str::to_owned)), "log, 1 of WASI");
        assert_eq!(imported(&[]), "none");
    }

    #[test]
    fn a_schemas_keys_are_told_with_defaults() {
        let schema = json!({
            "properties": {
                "issuer": { "description": "Who made\nthe token.", "default": "pillion" },
                "routes": { "description": "What each route needs." },
                "odd": {},
            },
            "required": ["routes"],
        });
        let told = keys(&schema);
        let line = |key: &str| told.iter().find(|(name, _)| name == key).unwrap().1.clone();
        assert_eq!(line("issuer"), "Who made the token. [default: \"pillion\"]");
        assert_eq!(line("routes"), "What each route needs. [required]");
        assert_eq!(line("odd"), "");
        assert!(keys(&json!(true)).is_empty());
    }
}
