//! The self-check: a plugin's hooks on a synthetic request, before it is activated and before a
//! breaker lets requests through again.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use crate::chain::Chain;
use crate::error::LoadErrorReason;
use crate::exchange::{Attributes, Exchange};
use crate::host_calls::now_us;
use crate::plugin::LoadedPlugin;
use crate::trace::TraceContext;

/// The request's id in log lines, and its service.
const NAME: &str = "self-check";

/// Runs the hooks of a rehearsal (see `LoadedPlugin::self_check`) on `GET /` with nothing but a
/// host, and on an empty 200.
pub(crate) fn run(rehearsal: LoadedPlugin) -> Result<(), LoadErrorReason> {
    let chain = Chain::new(NAME, vec![Arc::new(rehearsal)]).map_err(|error| error.reason)?;
    let exchange = exchange(&chain);
    chain.rehearse(exchange).map_err(|(phase, error)| LoadErrorReason::SelfCheck {
        phase: phase.name(),
        failure: error.to_string(),
    })
}

fn exchange(chain: &Chain) -> Box<Exchange> {
    let mut request_headers = HeaderMap::new();
    request_headers.insert(header::HOST, HeaderValue::from_static("self-check.invalid"));
    Box::new(Exchange {
        service: Arc::clone(&chain.service),
        generation: 0,
        route: None,
        address: None,
        source: 0,
        trace: TraceContext::of(&request_headers),
        method: Method::GET,
        uri: Uri::from_static("/"),
        version: Version::HTTP_11,
        request_headers,
        request_id: NAME.into(),
        time_us: now_us(),
        arrived: Instant::now(),
        caller: None,
        attributes: Attributes::new(Arc::clone(&chain.attributes)),
        status: 200,
        response_headers: HeaderMap::new(),
        duration_us: 0,
        response_bytes: 0,
        ended_by: "complete",
        decisions: Vec::new(),
        fresh: Vec::new(),
        probes: Vec::new(),
    })
}
