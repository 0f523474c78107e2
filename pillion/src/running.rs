//! Asks a running process over its admin API and shows its answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::admin::{AdminFile, file_name};
use crate::cli::Running;
use crate::config::SERVICES;
use crate::output::{print, table};

/// A process that says nothing about itself for this long does not run well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A change may compile a component, which the host gives two minutes, and then waits for the
/// requests of the generation before it.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(3);

/// Some hundred generations with all of their plugins.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Prints the answer, as JSON or as a table of what `row` makes of each entry.
pub(crate) fn show(
    process: &Running,
    answer: &Value,
    columns: &[&str],
    row: fn(&Value) -> Value,
) -> Result<()> {
    let data = answer.get("data").context("the answer holds no `data`")?;
    if process.json {
        return print(&serde_json::to_string_pretty(data)?);
    }
    let entries = match data {
        Value::Array(entries) => entries.as_slice(),
        one => std::slice::from_ref(one),
    };
    if entries.is_empty() {
        // A head without rows looks like an answer that was cut off.
        return print("none");
    }
    let rows: Vec<Value> = entries.iter().map(row).collect();
    print(&table(columns, &rows))
}

/// Where and with which token.
fn address(process: &Running) -> Result<AdminFile> {
    if let (Some(url), Some(token)) = (&process.admin_url, &process.admin_token) {
        return Ok(AdminFile { url: url.clone(), token: token.clone(), pid: 0 });
    }
    let path = admin_file(&process.data, process.service.as_deref())?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// The file of the process that is meant. One that is alone in its data folder, as in a container,
/// needs no name.
fn admin_file(data: &Path, service: Option<&str>) -> Result<PathBuf> {
    let path = |service| data.join(file_name(service));
    let meant = path(service);
    if meant.exists() {
        return Ok(meant);
    }
    let alone: Vec<_> = SERVICES.into_iter().filter(|name| path(Some(name)).exists()).collect();
    let place = data.display();
    match (service, alone.as_slice()) {
        (None, [one]) => Ok(path(Some(one))),
        (None, []) => bail!(
            "no running Pillion found: {} cannot be read; name its data folder with --data DIR",
            meant.display()
        ),
        (None, several) => bail!(
            "several processes have their data in {place}: name one with --service: {}",
            several.join(", ")
        ),
        (Some(service), _) if path(None).exists() => bail!(
            "`pillion up` runs in {place}, and no `pillion serve {service}`: leave --service out"
        ),
        (Some(service), _) => bail!(
            "no `pillion serve {service}` runs in {place}: {} is not there; name its data folder \
             with --data DIR",
            meant.display()
        ),
    }
}

/// Sends a request to the admin API and gives the answer, or the reason why there is none.
pub(crate) fn ask(
    process: &Running,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value> {
    let admin = address(process)?;
    let changes = method != Method::GET;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", admin.url.trim_end_matches('/')))
        .header(AUTHORIZATION, format!("Bearer {}", admin.token))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .with_context(|| format!("{}{path} is no address", admin.url))?;
    let timeout = if changes { CHANGE_TIMEOUT } else { ANSWER_TIMEOUT };
    let (status, body) = exchange(&admin.url, request, timeout, changes)?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        let detail = answer.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
        let errors = answer.get("errors").and_then(Value::as_array).into_iter().flatten();
        let messages: Vec<&str> = errors.filter_map(|it| it.get("message")?.as_str()).collect();
        bail!("{}", if messages.is_empty() { detail.to_owned() } else { messages.join("; ") });
    }
    Ok(answer)
}

/// One request to the process at `url` and its whole answer, or what to make of having none.
fn exchange(
    url: &str,
    request: Request<Full<Bytes>>,
    timeout: Duration,
    changes: bool,
) -> Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        tokio::time::timeout(timeout, async {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let response = client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        })
        .await
    });
    let Ok(answered) = answered else {
        let still = if changes {
            "; what it was to do may still be done: look before you try again"
        } else {
            ""
        };
        bail!("{url} gave no answer within {timeout:?}{still}");
    };
    answered
        .with_context(|| format!("cannot reach {url}; if that process has ended, start it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_name_or_because_it_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let found = |service: Option<&str>| {
            let found = admin_file(folder.path(), service).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.file_name().unwrap().to_str().unwrap().to_owned())
        };
        let make = |name: &str| std::fs::write(folder.path().join(name), "{}").unwrap();
        assert!(found(None).unwrap_err().starts_with("no running Pillion found"));
        assert!(found(Some("users")).unwrap_err().starts_with("no `pillion serve users` runs"));
        make("admin-tweets.json");
        assert_eq!(found(None).unwrap(), "admin-tweets.json");
        make("admin-users.json");
        assert!(found(None).unwrap_err().ends_with("name one with --service: users, tweets"));
        assert_eq!(found(Some("users")).unwrap(), "admin-users.json");
        make("admin.json");
        assert_eq!(found(None).unwrap(), "admin.json");
        assert!(found(Some("graph")).unwrap_err().ends_with("leave --service out"));
    }

    #[test]
    fn a_change_without_an_answer_may_still_succeed() {
        // Takes connections, and never answers.
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let ask = |changes: bool| {
            let request = Request::post(&url).body(Full::default()).unwrap();
            let timeout = Duration::from_millis(50);
            exchange(&url, request, timeout, changes).unwrap_err().to_string()
        };
        let silence = format!("{url} gave no answer within 50ms");
        assert_eq!(ask(false), silence);
        let change = ask(true);
        assert!(change.starts_with(&silence), "{change}");
        assert!(change.contains("may still be done"), "{change}");
    }
}
