//! `pillion status`: how a running process is.

use anyhow::Result;
use http::Method;
use serde_json::Value;

use crate::cli::Running;
use crate::output::print;
use crate::running::{ask, show};

const COLUMNS: [&str; 5] = ["worker", "up", "required", "restarts", "last_failure"];

pub(crate) fn status(process: &Running) -> Result<()> {
    let answer = ask(process, Method::GET, "/admin/v1/workers", None)?;
    if !process.json {
        let is_ready = answer.get("ready").and_then(Value::as_bool) == Some(true);
        print(if is_ready { "ready\n" } else { "not ready\n" })?;
    }
    show(process, &answer, &COLUMNS, |worker| {
        let mut row = worker.clone();
        let reason = worker.pointer("/last_failure/reason").cloned();
        if let Some(row) = row.as_object_mut() {
            row.insert("worker".to_owned(), worker.get("name").cloned().unwrap_or_default());
            row.insert("last_failure".to_owned(), reason.unwrap_or_default());
        }
        row
    })
}
