//! The plugins of a running process: seen, replaced, put back.

use anyhow::{Context, Result};
use http::Method;
use pillion_chassis::Timestamp;
use serde_json::{Value, json};

use super::config_argument;
use crate::admin::{RollbackBody, SwapBody};
use crate::cli::{Rollback, Running, Swap};
use crate::output::{cell, print};
use crate::running::{ask, show};

pub(super) fn list(process: &Running) -> Result<()> {
    let answer = ask(process, Method::GET, "/admin/v1/plugins", None)?;
    show(process, &answer, &PLUGIN_COLUMNS, plugin_row)
}

pub(super) fn history(process: &Running) -> Result<()> {
    let generations = ask(process, Method::GET, "/admin/v1/generations", None)?;
    let attempts = ask(process, Method::GET, "/admin/v1/generations/attempts", None)?;
    if process.json {
        let data = |answer: &Value| answer.get("data").cloned().unwrap_or_default();
        let both = json!({ "generations": data(&generations), "attempts": data(&attempts) });
        return print(&serde_json::to_string_pretty(&both)?);
    }
    show(process, &generations, &GENERATION_COLUMNS, generation_row)?;
    print("\nEvery attempt to change them, newest first:")?;
    show(process, &attempts, &ATTEMPT_COLUMNS, attempt_row)
}

pub(super) fn rollback(back: &Rollback) -> Result<()> {
    let body = serde_json::to_value(RollbackBody { to: back.to, by: back.actor.name() })?;
    let path = "/admin/v1/generations/rollback";
    let answer = ask(&back.running, Method::POST, path, Some(body))?;
    activated(&back.running, &answer)
}

/// Shows what a change came to.
fn activated(process: &Running, answer: &Value) -> Result<()> {
    if !process.json && answer.pointer("/data/unchanged") == Some(&Value::Bool(true)) {
        let generation = answer.pointer("/data/generation").and_then(Value::as_u64);
        let generation = generation.unwrap_or_default();
        return print(&format!("unchanged: generation {generation} has exactly that already"));
    }
    show(process, answer, &ACTIVATED_COLUMNS, generation_row)
}

pub(super) fn swap(swap: &Swap) -> Result<()> {
    let component = match &swap.component {
        None => None,
        Some(path) => Some(
            std::fs::canonicalize(path)
                .with_context(|| format!("cannot find the component {}", path.display()))?,
        ),
    };
    let digest = match &swap.digest {
        None => None,
        Some(text) => {
            Some(text.clone().try_into().map_err(|reason: String| anyhow::anyhow!(reason))?)
        }
    };
    let config = swap.config.as_deref().map(config_argument).transpose()?;
    let by = swap.actor.name();
    let body = serde_json::to_value(SwapBody { component, config, digest, by })?;
    let path = format!("/admin/v1/plugins/{}/swap", swap.name);
    let answer = ask(&swap.running, Method::POST, &path, Some(body))?;
    activated(&swap.running, &answer)
}

const PLUGIN_COLUMNS: [&str; 9] = [
    "name",
    "version",
    "digest",
    "mode",
    "failure_policy",
    "state",
    "calls",
    "failures",
    "mean_us",
];

/// Adds the sums over all phases.
fn plugin_row(plugin: &Value) -> Value {
    let mut row = plugin.clone();
    let phases = plugin.get("phases").and_then(Value::as_object);
    let sum = |name: &str| -> u64 {
        let each = phases.into_iter().flatten();
        each.filter_map(|(_, totals)| totals.get(name)?.as_u64()).sum()
    };
    let calls = sum("calls");
    if let Some(row) = row.as_object_mut() {
        row.insert("calls".to_owned(), calls.into());
        row.insert("failures".to_owned(), sum("failures").into());
        if let Some(mean_us) = sum("micros").checked_div(calls) {
            row.insert("mean_us".to_owned(), mean_us.into());
        }
    }
    row
}

const GENERATION_COLUMNS: [&str; 6] =
    ["generation", "active", "activated", "cause", "changed", "plugins"];

const ATTEMPT_COLUMNS: [&str; 8] =
    ["at", "by", "action", "outcome", "from", "generation", "plugins", "reason"];

/// Writes the time, and the digests before and after, for people.
fn attempt_row(attempt: &Value) -> Value {
    let at_us = attempt.get("at_us").and_then(Value::as_i64);
    let plugins = attempt.get("plugins").and_then(Value::as_object).into_iter().flatten();
    let plugins = plugins.map(|(name, change)| {
        let side = |key: &str| cell(change.get(key));
        let digests = format!("{name} {} > {}", side("from"), side("to"));
        if change.get("config_from") == change.get("config_to") {
            return digests;
        }
        format!("{digests} (config {} > {})", side("config_from"), side("config_to"))
    });
    json!({
        "at": at_us.map(|at| Timestamp::from_micros(at).to_string()),
        "by": attempt.get("by"),
        "action": attempt.get("action"),
        "outcome": attempt.get("outcome"),
        "from": attempt.get("from"),
        "generation": attempt.get("generation"),
        "plugins": plugins.collect::<Vec<_>>().join(", "),
        "reason": attempt.get("reason"),
    })
}

/// Of a generation that has just been activated: also what is left on the one before, which it
/// did not wait for any longer.
const ACTIVATED_COLUMNS: [&str; 8] = [
    "generation",
    "active",
    "activated",
    "cause",
    "changed",
    "still_draining",
    "streams",
    "plugins",
];

/// Writes the time and the cause for people.
fn generation_row(generation: &Value) -> Value {
    let text = |name: &str| generation.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| generation.get(name).and_then(Value::as_u64);
    let cause = match (text("plugin"), number("to")) {
        ("", None) if text("cause") == "fleet" => {
            format!("revision {} of the fleet", number("revision").unwrap_or_default())
        }
        ("", None) => text("cause").to_owned(),
        ("", Some(to)) => format!("{} to {to}", text("cause")),
        (plugin, _) => format!("{} of {plugin}", text("cause")),
    };
    let activated_us = generation.get("activated_us").and_then(Value::as_i64);
    json!({
        "generation": generation.get("generation"),
        "active": if generation.get("active") == Some(&Value::Bool(true)) { "yes" } else { "" },
        "activated": activated_us.map(|at| Timestamp::from_micros(at).to_string()),
        "cause": cause,
        "changed": changed(generation),
        "still_draining": generation.get("still_draining"),
        "streams": generation.get("streams"),
        "plugins": generation.get("plugins"),
    })
}

/// What differs from the generation before, such as `auth (component), ratelimit (config
/// sha256:0123456789ab), chain of users`; none when that is not on record.
fn changed(generation: &Value) -> Option<String> {
    let changes = generation.get("changes")?.as_object()?;
    let setting = |plugin: &str, setting: &Value| {
        let setting = setting.as_str().unwrap_or_default();
        // Which one it is: one that was there before has the same digest.
        let digest = generation.get("configs").and_then(|configs| configs.get(plugin));
        match digest.filter(|_| setting == "config") {
            Some(digest) => format!("config {}", cell(Some(digest))),
            None => setting.to_owned(),
        }
    };
    let plugins = changes.get("plugins").and_then(Value::as_object).into_iter().flatten();
    let plugins = plugins.map(|(plugin, settings)| {
        let settings = settings.as_array().into_iter().flatten();
        let settings: Vec<String> = settings.map(|it| setting(plugin, it)).collect();
        format!("{plugin} ({})", settings.join(", "))
    });
    let chains = changes.get("chains").and_then(Value::as_array).into_iter().flatten();
    let chains = chains.filter_map(Value::as_str).map(|service| format!("chain of {service}"));
    let all: Vec<String> = plugins.chain(chains).collect();
    Some(if all.is_empty() { "nothing".to_owned() } else { all.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_causes_are_told_for_people() {
        let plugin = json!({
            "name": "auth",
            "phases": {
                "request": { "calls": 3, "failures": 1, "micros": 10 },
                "response": { "calls": 1, "failures": 0, "micros": 2 },
            },
        });
        let row = plugin_row(&plugin);
        assert_eq!(
            (&row["calls"], &row["failures"], &row["mean_us"]),
            (&json!(4), &json!(1), &json!(3))
        );
        assert_eq!(plugin_row(&json!({ "name": "new" })).get("mean_us"), None);

        let generation = json!({
            "generation": 2, "active": true, "activated_us": 1_637_003_285_000_000_u64,
            "cause": "swap", "plugin": "auth", "plugins": {},
            "still_draining": 1, "streams": 2,
        });
        let row = generation_row(&generation);
        assert_eq!(row["cause"], "swap of auth");
        assert_eq!((&row["still_draining"], &row["streams"]), (&json!(1), &json!(2)));
        assert_eq!(row["activated"], "2021-11-15T19:08:05.000Z");
        assert_eq!(row["changed"], Value::Null, "nothing is known of the one before");
        let (digest, short) = (format!("sha256:{}", "ab".repeat(32)), "sha256:abababababab");
        let fleet = generation_row(&json!({
            "cause": "fleet", "revision": 7,
            "changes": {
                "plugins": { "auth": ["component"], "ratelimit": ["config", "limits"] },
                "chains": ["users"],
            },
            "configs": { "auth": digest, "ratelimit": digest },
        }));
        let expected =
            format!("auth (component), ratelimit (config {short}, limits), chain of users");
        assert_eq!(fleet["changed"], expected);
        assert_eq!(fleet["cause"], "revision 7 of the fleet");
        let back = generation_row(&json!({ "cause": "rollback", "to": 1 }));
        assert_eq!((&back["cause"], &back["active"]), (&json!("rollback to 1"), &json!("")));
    }
}
