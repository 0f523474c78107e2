//! `pillion events …`: what the events of a running process do, and the ways to help them on.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use pillion_chassis::Timestamp;
use serde_json::{Value, json};

use crate::cli;
use crate::output::{print, table};
use crate::running::{ask, show};

/// How often `tail --follow` looks for new events.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// Does what the command line says.
pub(crate) fn events(command: &cli::Events) -> Result<()> {
    match command {
        cli::Events::Lag(process) => lag(process),
        cli::Events::Tail(arguments) => tail(arguments),
        cli::Events::Parked(arguments) => {
            let path = format!("/admin/v1/events/{}/parked", arguments.events_of);
            let answer = ask(&arguments.running, Method::GET, &path, None)?;
            show(&arguments.running, &answer, &PARKED_COLUMNS, event_row)
        }
        cli::Events::Replay(arguments) => replay(arguments),
        cli::Events::Rebuild(arguments) => rebuild(arguments),
    }
}

/// One row for each service and source, and one for each service that follows nobody.
fn lag(process: &cli::Running) -> Result<()> {
    const COLUMNS: [&str; 8] =
        ["service", "recorded", "unpublished", "parked", "source", "lag", "attempts", "error"];
    let answer = ask(process, Method::GET, "/admin/v1/events", None)?;
    let data = answer.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    if process.json {
        return print(&serde_json::to_string_pretty(&data)?);
    }
    let rows: Vec<Value> = data.iter().flat_map(lag_rows).collect();
    print(&table(&COLUMNS, &rows))
}

fn lag_rows(status: &Value) -> Vec<Value> {
    let number = |name: &str| status.get(name).and_then(Value::as_i64);
    let unpublished = number("recorded").zip(number("published")).map(|(all, sent)| all - sent);
    let mut own = json!({
        "service": status.get("service"),
        "recorded": status.get("recorded"),
        "unpublished": match unpublished {
            None => json!("broker down"),
            Some(left) if left < 0 => json!(format!("broker {} ahead", -left)),
            // It has as many, and others.
            Some(_) if status.get("diverged") == Some(&Value::Bool(true)) => json!("broker differs"),
            Some(left) => json!(left),
        },
        "parked": status.get("parked"),
    });
    let sources = status.get("sources").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for source in sources {
        let mut row = std::mem::replace(
            &mut own,
            json!({ "service": "", "recorded": "", "unpublished": "", "parked": "" }),
        );
        if let (Some(row), Some(source)) = (row.as_object_mut(), source.as_object()) {
            for (name, value) in source {
                row.insert(name.clone(), value.clone());
            }
        }
        rows.push(row);
    }
    if rows.is_empty() {
        rows.push(own);
    }
    rows
}

const EVENT_COLUMNS: [&str; 6] = ["position", "recorded", "stream_id", "version", "name", "data"];
const PARKED_COLUMNS: [&str; 6] = ["source", "position", "stream_id", "name", "error", "data"];

/// Writes the time for people.
fn event_row(event: &Value) -> Value {
    let mut row = event.clone();
    let at = event.get("recorded_at").and_then(Value::as_i64);
    if let (Some(row), Some(at)) = (row.as_object_mut(), at) {
        row.insert("recorded".to_owned(), Timestamp::from_micros(at).to_string().into());
    }
    row
}

fn tail(arguments: &cli::Tail) -> Result<()> {
    let process = &arguments.running;
    let after = arguments.after.map(|after| format!("&after={after}")).unwrap_or_default();
    let query = format!("count={}{after}", arguments.count);
    let path = |query: &str| format!("/admin/v1/events/{}?{query}", arguments.events_of);
    let answer = ask(process, Method::GET, &path(&query), None)?;
    show(process, &answer, &EVENT_COLUMNS, event_row)?;
    let newest = |answer: &Value| answer.get("data")?.as_array()?.last()?.get("position")?.as_i64();
    let mut last = newest(&answer).or(arguments.after).unwrap_or(0);
    if !arguments.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(FOLLOW_INTERVAL);
        let answer = ask(process, Method::GET, &path(&format!("after={last}")), None)?;
        let events = answer.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
        for event in &events {
            let row = event_row(event);
            let text = |name: &str| match row.get(name) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => "-".to_owned(),
            };
            print(&EVENT_COLUMNS.map(text).join("  "))?;
        }
        last = newest(&answer).unwrap_or(last);
    }
}

fn replay(arguments: &cli::OfService) -> Result<()> {
    let process = &arguments.running;
    let path = format!("/admin/v1/events/{}/replay", arguments.events_of);
    let answer = ask(process, Method::POST, &path, None)?;
    let data = answer.get("data").cloned().unwrap_or_default();
    if process.json {
        return print(&serde_json::to_string_pretty(&data)?);
    }
    let failed = data.get("failed").and_then(Value::as_array).cloned().unwrap_or_default();
    let count = |name: &str| data.get(name).and_then(Value::as_u64).unwrap_or_default();
    print(&format!(
        "{} taken up, {} failed again, {} wait behind them",
        count("taken_up"),
        failed.len(),
        count("waiting")
    ))?;
    if failed.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = failed.iter().map(event_row).collect();
    print(&table(&PARKED_COLUMNS, &rows))?;
    bail!("{} parked events failed again; ERROR says why", failed.len())
}

fn rebuild(arguments: &cli::OfService) -> Result<()> {
    const COLUMNS: [&str; 4] = ["name", "rows", "before", "after"];
    let process = &arguments.running;
    let path = format!("/admin/v1/events/{}/rebuild", arguments.events_of);
    let answer = ask(process, Method::POST, &path, None)?;
    let data = answer.get("data").cloned().unwrap_or_default();
    if process.json {
        return print(&serde_json::to_string_pretty(&data)?);
    }
    let tables = data.pointer("/rebuilt/tables").and_then(Value::as_array).cloned();
    let digest = |table: &Value, name: &str| {
        let text = table.get(name).and_then(Value::as_str).unwrap_or_default();
        format!("sha256:{text}")
    };
    let rows: Vec<Value> = tables
        .unwrap_or_default()
        .iter()
        .map(|table| {
            json!({
                "name": table.get("name"),
                "rows": table.get("rows"),
                "before": digest(table, "before"),
                "after": digest(table, "after"),
            })
        })
        .collect();
    print(&table(&COLUMNS, &rows))?;
    let events = data.pointer("/rebuilt/events").and_then(Value::as_u64).unwrap_or_default();
    let verdict = if data.get("identical") == Some(&Value::Bool(true)) {
        "the tables are what they were"
    } else {
        "the tables were not what the events make of them; they are now"
    };
    print(&format!("{events} events taken up; {verdict}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_told_by_service_and_source() {
        let status = json!({
            "service": "timelines", "recorded": 0, "published": 0, "parked": 1,
            "sources": [
                { "source": "tweets", "position": 7, "lag": 2, "attempts": 3, "error": "no" },
                { "source": "graph", "position": 1, "lag": null, "attempts": 0, "error": null },
            ],
        });
        let rows = lag_rows(&status);
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[0]["service"], &rows[0]["lag"]), (&json!("timelines"), &json!(2)));
        assert_eq!((&rows[1]["service"], &rows[1]["source"]), (&json!(""), &json!("graph")));
        let restored = json!({ "service": "users", "recorded": 5, "published": 7, "sources": [] });
        assert_eq!(lag_rows(&restored)[0]["unpublished"], json!("broker 2 ahead"));
        let outgrown =
            json!({ "service": "users", "recorded": 9, "published": 7, "diverged": true });
        assert_eq!(lag_rows(&outgrown)[0]["unpublished"], json!("broker differs"));
        let alone = json!({ "service": "users", "recorded": 5, "published": null, "sources": [] });
        let rows = lag_rows(&alone);
        assert_eq!((rows.len(), &rows[0]["unpublished"]), (1, &json!("broker down")));
    }
}
