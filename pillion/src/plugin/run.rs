//! `pillion plugin run`: one component around a handler that only looks, for as many requests as
//! asked for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use pillion_host::{
    Caller, ClientAddress, GenerationSpec, Grants, Host, Key, Limits, PhaseTotals, PluginSpec,
    RouteTable, SinkSpec, SinkTarget, printable,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{config_argument, explain_limit, limits, scratch};
use crate::cli::Run;
use crate::config::Config;
use crate::output::print;
use crate::tracing_output;

/// The name of the chain, and what the field `service` holds.
const SERVICE: &str = "run";

/// Bytes that are shown of a header's value and of a body.
const VALUE_BYTES_MAX: usize = 1 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;

/// The sink and the key set that are there unless others are granted: the default
/// configuration's.
const SINK: &str = "access";
const KEYSET: &str = "access-tokens";

pub(super) fn run(arguments: &Run) -> Result<()> {
    // What the plugin logs, and why a hook failed.
    let mut settings = Config::default();
    "info,pillion_host::host=warn,pillion_host::audit=warn".clone_into(&mut settings.log.filter);
    tracing_output::begin(&settings)?;
    let request = Template::of(arguments)?;
    let (_folder, mut options) = scratch()?;
    let limits = limits(&arguments.limits)?;
    let grants = grants(arguments, &limits, &Host::new(options.clone())?)?;
    for name in &grants.sinks {
        let sink = SinkSpec { target: SinkTarget::Stdout, flush: Duration::from_millis(1) };
        options.sinks.insert(name.clone(), sink);
    }
    for name in &grants.keysets {
        options.keyring.set(name, keys(&arguments.keys)?);
    }
    let mut plugin = PluginSpec::new(&arguments.file);
    plugin.grants = grants;
    plugin.limits = limits;
    plugin.config = config_argument(&arguments.config)?;
    let name = arguments.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut generation = GenerationSpec::default();
    generation.plugins.insert(name.clone(), plugin);
    generation.chains.insert(SERVICE.to_owned(), vec![name]);
    let host = Host::new(options)?;
    host.start(generation).map_err(explain_limit)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for _ in 0..arguments.times {
        let text = runtime.block_on(pass(&host, &request))?;
        // First the plugin's own lines, then what came of it.
        host.flush_sinks();
        print(&text)?;
    }
    let phases = host.list().pop().map(|plugin| plugin.phases).unwrap_or_default();
    if arguments.times > 1 {
        print(&times(&phases))?;
    }
    let failures: u64 = phases.values().map(|totals| totals.failures).sum();
    if failures > 0 {
        bail!("{failures} of its hooks failed; the lines above say why");
    }
    Ok(())
}

/// How long the hooks of each phase took, host and plugin together.
fn times(phases: &BTreeMap<String, PhaseTotals>) -> String {
    let mut text = String::from("\nTime of the hooks:");
    for (phase, totals) in phases {
        let calls = totals.calls.max(1);
        let mean = Duration::from_micros(totals.micros) / u32::try_from(calls).unwrap_or(u32::MAX);
        let _ = write!(text, "\n  {phase:<10} {} calls, {mean:?} each", totals.calls);
    }
    text
}

/// All that the component imports and says it needs, unless grants were named.
fn grants(arguments: &Run, limits: &Limits, host: &Host) -> Result<Grants> {
    let spelled = if arguments.grants.is_empty() {
        let report = host.inspect_within(&arguments.file, limits).map_err(explain_limit)?;
        let imported = report.imports.iter().filter_map(|import| {
            let interface = import.strip_prefix("pillion:plugin/")?.split('@').next()?;
            Some(interface.to_owned())
        });
        let named = imported.chain(report.description.grants);
        named.filter_map(|name| spelling(&name)).collect()
    } else {
        arguments.grants.clone()
    };
    Grants::try_from(spelled).map_err(|reason| anyhow::anyhow!("--grant: {reason}"))
}

/// The grant for an interface; none for what needs no grant.
fn spelling(interface: &str) -> Option<String> {
    match interface {
        "sink" => Some(format!("sink:{SINK}")),
        "crypto" => Some(format!("crypto:{KEYSET}")),
        "identity" | "kv" | "limiter" | "metrics" | "clock" | "random" | "revocations" => {
            Some(interface.to_owned())
        }
        _ => None,
    }
}

fn keys(arguments: &[String]) -> Result<Vec<(String, Key)>> {
    let key = |argument: &String| {
        let (kid, secret) = argument
            .split_once('=')
            .with_context(|| format!("--key: `{argument}` is not KID=SECRET"))?;
        Ok((kid.to_owned(), Key::hmac_sha256(secret.as_bytes())))
    };
    arguments.iter().map(key).collect()
}

/// The request as the command line gives it.
struct Template {
    method: Method,
    uri: Uri,
    route: String,
    headers: HeaderMap,
    body: String,
}

impl Template {
    fn of(arguments: &Run) -> Result<Self> {
        let text = arguments.request.trim();
        let Some((method, path)) = text.split_once(' ') else {
            bail!("--request: `{text}` is not a method and a path, such as \"GET /2/tweets/20\"");
        };
        let method =
            method.parse().with_context(|| format!("--request: `{method}` is no method"))?;
        let uri: Uri =
            path.trim().parse().with_context(|| format!("--request: `{path}` is no path"))?;
        if !uri.path().starts_with('/') {
            bail!("--request: the path `{path}` does not begin with `/`");
        }
        let mut headers = HeaderMap::new();
        for header in &arguments.headers {
            let (name, value) = header
                .split_once(':')
                .with_context(|| format!("--header: `{header}` is not \"NAME: VALUE\""))?;
            let name: HeaderName =
                name.trim().parse().with_context(|| format!("--header: `{name}` is no name"))?;
            let value = HeaderValue::from_str(value.trim())
                .with_context(|| format!("--header: `{value}` is no value"))?;
            headers.append(name, value);
        }
        let route = arguments.route.clone().unwrap_or_else(|| uri.path().to_owned());
        Ok(Self { method, uri, route, headers, body: arguments.body.clone() })
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(ClientAddress([127, 0, 0, 1].into()));
        request
    }
}

/// Sends the request through the plugin and tells what happened.
async fn pass(host: &Host, template: &Template) -> Result<String> {
    let seen: Arc<Mutex<Option<Parts>>> = Arc::default();
    let handler = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<Body>| {
            let parts = request.into_parts().0;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(parts);
            async { Ok::<_, Infallible>(Response::new(Body::from("the handler's answer\n"))) }
        })
    };
    let routes = RouteTable::new([(template.method.clone(), template.route.clone())]);
    let service = host.layer(SERVICE, routes).layer(handler);
    let response = match service.oneshot(template.request()).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut text = String::new();
    // Writing to a String cannot fail.
    match seen {
        Some(request) => {
            let _ = writeln!(text, "The request went on to the handler:");
            let _ = writeln!(text, "  {} {}", request.method, request.uri);
            headers(&mut text, &request.headers);
            if let Some(Caller { user_id, client_id, scopes }) = request.extensions.get() {
                let user = user_id.as_deref().unwrap_or("none");
                let caller = format!("user {user}, client {client_id}, scopes {scopes}");
                let _ = writeln!(text, "  caller: {}", printable(&caller, VALUE_BYTES_MAX));
            }
        }
        None => text += "The plugin answered, and the handler saw nothing.\n",
    }
    let _ = writeln!(text, "The response:\n  {}", parts.status);
    headers(&mut text, &parts.headers);
    let _ = writeln!(text, "\n  {}", shown_body(&body));
    Ok(text)
}

/// A body's lines, escaped: a plugin's answer must not drive the terminal.
fn shown_body(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let end = text.floor_char_boundary(BODY_BYTES_MAX);
    let kept = text.get(..end).unwrap_or_default();
    let lines: Vec<_> = kept.trim_end().lines().map(|line| printable(line, usize::MAX)).collect();
    let mut shown = lines.join("\n");
    if end < text.len() {
        let _ = write!(shown, "… ({} more bytes)", text.len() - end);
    }
    shown
}

fn headers(text: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = writeln!(text, "  {name}: {}", printable(&value, VALUE_BYTES_MAX));
    }
}
