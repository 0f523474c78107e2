//! `pillion saga …`: the sagas of a running process, and the ways to help one on.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use crate::cli;
use crate::output::{print, table};
use crate::running::{ask, show};

const COLUMNS: [&str; 9] =
    ["id", "service", "saga", "key", "state", "step", "attempts", "changed_at", "error"];

/// Does what the command line says.
pub(crate) fn saga(command: &cli::Saga) -> Result<()> {
    match command {
        cli::Saga::List(arguments) => {
            let path = format!("/admin/v1/sagas?all={}", arguments.all);
            let answer = ask(&arguments.running, Method::GET, &path, None)?;
            show(&arguments.running, &answer, &COLUMNS, row)
        }
        cli::Saga::Show(arguments) => show_one(arguments),
        cli::Saga::Retry(arguments) => {
            let path = format!("/admin/v1/sagas/{}/retry", arguments.id);
            let answer = ask(&arguments.running, Method::POST, &path, None)?;
            show(&arguments.running, &answer, &COLUMNS, row)
        }
        cli::Saga::Abandon(arguments) => {
            let path = format!("/admin/v1/sagas/{}/abandon", arguments.saga.id);
            let body = json!({ "reason": arguments.reason });
            let answer = ask(&arguments.saga.running, Method::POST, &path, Some(body))?;
            show(&arguments.saga.running, &answer, &COLUMNS, row)
        }
    }
}

/// A saga that is or was taken back tells why where others tell what fails, and what was left.
fn row(saga: &Value) -> Value {
    let mut row = saga.clone();
    let error = saga.get("error").and_then(Value::as_str).map(str::to_owned);
    let told: Vec<String> = error.or_else(|| reason(saga)).into_iter().chain(left(saga)).collect();
    if let Some(row) = row.as_object_mut().filter(|_| !told.is_empty()) {
        row.insert("error".to_owned(), told.join("; ").into());
    }
    row
}

fn left(saga: &Value) -> Option<String> {
    let steps = saga.pointer("/reason/left")?.as_array()?.iter().filter_map(Value::as_str);
    Some(format!("not taken back: {}", steps.collect::<Vec<_>>().join(", ")))
}

fn reason(saga: &Value) -> Option<String> {
    let reason = saga.get("reason")?;
    let step = reason.get("step")?.as_str()?;
    let status = reason.get("status")?.as_u64()?;
    let detail = reason.pointer("/problem/detail").and_then(Value::as_str).unwrap_or_default();
    Some(format!("{step} {status}: {detail}"))
}

fn show_one(arguments: &cli::OneSaga) -> Result<()> {
    let path = format!("/admin/v1/sagas/{}", arguments.id);
    let answer = ask(&arguments.running, Method::GET, &path, None)?;
    if arguments.running.json {
        return show(&arguments.running, &answer, &COLUMNS, row);
    }
    let saga = answer.get("data").cloned().unwrap_or_default();
    print(&told(&saga))
}

/// A saga for people: itself, its steps, what happened.
fn told(saga: &Value) -> String {
    let entries =
        |name: &str| saga.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let head = table(&COLUMNS, &[row(saga)]);
    let steps: Vec<Value> = entries("steps")
        .iter()
        .map(|step| {
            let is_now = step.get("is_now") == Some(&Value::Bool(true));
            json!({
                "step": step.get("step"),
                "kind": step.get("kind"),
                "now": if is_now { saga.get("state") } else { Some(&Value::Null) },
            })
        })
        .collect();
    let steps = table(&["step", "kind", "now"], &steps);
    let journal = table(&["at", "step", "what", "detail"], &entries("journal"));
    format!("{head}\n\n{steps}\n\n{journal}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saga_is_told_with_its_steps_and_its_journal() {
        let saga = json!({
            "id": "12", "service": "users", "saga": "change_handle", "key": "7",
            "state": "compensating", "step": "users.reserve_handle", "attempts": 0, "error": null,
            "changed_at": "2026-01-01T00:00:01.000Z",
            "reason": { "step": "identity.rename", "status": 409, "problem": { "detail": "taken" } },
            "steps": [
                { "step": "users.reserve_handle", "kind": "compensated", "is_now": true },
                { "step": "users.swap", "kind": "pivot", "is_now": false },
            ],
            "journal": [
                { "at": "2026-01-01T00:00:00.000Z", "step": "users.reserve_handle", "what": "started",
                  "detail": null },
            ],
        });
        let expected = "\
ID  SERVICE  SAGA           KEY  STATE         STEP                  ATTEMPTS  CHANGED AT                ERROR
12  users    change_handle  7    compensating  users.reserve_handle  0         2026-01-01T00:00:01.000Z  identity.rename 409: taken

STEP                  KIND         NOW
users.reserve_handle  compensated  compensating
users.swap            pivot        -

AT                        STEP                  WHAT     DETAIL
2026-01-01T00:00:00.000Z  users.reserve_handle  started  -";
        assert_eq!(told(&saga), expected);

        let mut given_up = saga;
        given_up["state"] = json!("abandoned");
        given_up["reason"]["left"] = json!(["identity.rename"]);
        let told = told(&given_up);
        let end = "identity.rename 409: taken; not taken back: identity.rename";
        assert!(told.lines().nth(1).is_some_and(|line| line.ends_with(end)), "{told}");
    }
}
