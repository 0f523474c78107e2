//! The plugins around one service: their order, who answers instead of whom, and what a failure
//! means. Knows nothing of wasmtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, header};

use crate::backends::Outside;
use crate::breaker::Admission;
use crate::edits;
use crate::error::{HookError, LoadError, LoadErrorReason};
use crate::exchange::{DecisionKind, Exchange};
use crate::fields::{Field, Phase};
use crate::instance::{CompletionHook, RequestHook, ResponseHook};
use crate::plugin::LoadedPlugin;
use crate::refusal::{too_many_failures, unavailable};
use crate::spec::FailurePolicy;
use crate::wit::v0_1::pillion::plugin::types::{Decision, HttpResponse, ResponseDecision};

/// Plugins in order, outermost first.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) service: Arc<str>,
    entries: Vec<Entry>,
    /// Names of the attributes that some hook declared; their places are the slots.
    pub(crate) attributes: Arc<[String]>,
    /// Headers that a later phase wants to see again.
    later_request_headers: Vec<HeaderName>,
    later_response_headers: Vec<HeaderName>,
    /// Some of its hooks have to be awaited.
    pub(crate) awaits: bool,
}

/// One plugin's place.
#[derive(Debug)]
struct Entry {
    plugin: Arc<LoadedPlugin>,
    request: Option<Box<[Field]>>,
    response: Option<Box<[Field]>>,
    completion: Option<Box<[Field]>>,
}

/// What a hook decided, and the response that it made.
type Applied = Result<(DecisionKind, Option<Response<Bytes>>), HookError>;

/// What became of a request.
pub(crate) enum Flow {
    /// The handler's turn.
    Continue,
    /// A plugin has answered; only the `outer` first plugins see the response.
    Respond { response: Response<Bytes>, outer: usize },
}

impl Chain {
    pub(crate) fn new(service: &str, plugins: Vec<Arc<LoadedPlugin>>) -> Result<Self, LoadError> {
        let mut attributes: Vec<String> = Vec::new();
        let mut entries = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            let name = Arc::clone(&plugin.granted.shared.name);
            let mut slot = |full: String| {
                Some(attributes.iter().position(|known| *known == full).unwrap_or_else(|| {
                    attributes.push(full);
                    attributes.len() - 1
                }))
            };
            let mut fields = |phase: Phase| -> Result<Option<Box<[Field]>>, LoadError> {
                let Some(wanted) = plugin.description.fields(phase) else {
                    return Ok(None);
                };
                let parsed = wanted
                    .iter()
                    .map(|field| {
                        Field::parse(field, phase, &name, &mut slot)
                            .map_err(|error| error.to_string())
                    })
                    .collect::<Result<Box<[Field]>, String>>();
                parsed.map(Some).map_err(|reason: String| LoadError {
                    plugin: name.to_string(),
                    reason: LoadErrorReason::Descriptor(reason),
                })
            };
            let (request, response, completion) =
                (fields(Phase::Request)?, fields(Phase::Response)?, fields(Phase::Completion)?);
            entries.push(Entry { plugin, request, response, completion });
        }
        let later_request_headers =
            headers(&entries, [Phase::Response, Phase::Completion], |field| match field {
                Field::Header(name) | Field::HeaderList(name) => Some(name),
                Field::Authority => Some(&header::HOST),
                _ => None,
            });
        let later_response_headers = headers(&entries, [Phase::Completion], |field| match field {
            Field::ResponseHeader(name) | Field::ResponseHeaderList(name) => Some(name),
            _ => None,
        });
        Ok(Self {
            service: service.into(),
            awaits: entries.iter().any(|entry| entry.plugin.awaits()),
            entries,
            attributes: attributes.into(),
            later_request_headers,
            later_response_headers,
        })
    }

    /// How many plugins there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The headers of the request that later phases see.
    pub(crate) fn keep_request_headers(&self, all: &HeaderMap) -> HeaderMap {
        keep(&self.later_request_headers, all)
    }

    /// The headers of the response that completion sees.
    pub(crate) fn keep_response_headers(&self, all: &HeaderMap) -> HeaderMap {
        keep(&self.later_response_headers, all)
    }

    /// Runs the request hooks from the outermost on.
    pub(crate) fn on_request(&self, mut exchange: Box<Exchange>) -> (Box<Exchange>, Flow) {
        let mut began = exchange.arrived;
        for (place, entry) in self.entries.iter().enumerate() {
            if let Some(response) = entry.throttled(&mut exchange) {
                return (exchange, Flow::Respond { response, outer: place });
            }
            let Some(fields) = &entry.request else {
                continue;
            };
            let plugin = &entry.plugin;
            let admitted = entry.admit(place, &mut exchange);
            let (returned, result) = match &admitted {
                Ok(_) => plugin.run(place, exchange, |instance, exchange| {
                    instance.on_request(exchange, fields)
                }),
                Err(_) => (exchange, Err(HookError::BreakerOpen)),
            };
            exchange = returned;
            let applied = result.and_then(|decision| entry.apply_request(decision, &mut exchange));
            let ran = (admitted.unwrap_or(Admission::Normal), applied);
            let response = entry.settle(Phase::Request, &mut exchange, ran, &mut began);
            if let Some(response) = response {
                return (exchange, Flow::Respond { response, outer: place });
            }
        }
        match self.throttled_caller(&mut exchange) {
            Some((response, outer)) => (exchange, Flow::Respond { response, outer }),
            None => (exchange, Flow::Continue),
        }
    }

    /// As [`Entry::throttled`] for a caller who became known on the way, and whose failures were
    /// in later phases of plugins before.
    fn throttled_caller(&self, exchange: &mut Exchange) -> Option<(Response<Bytes>, usize)> {
        exchange.caller.as_ref()?;
        let mut entries = self.entries.iter().enumerate();
        entries.find_map(|(place, entry)| Some((entry.throttled(exchange)?, place)))
    }

    /// Runs the response hooks of the `outer` first plugins, from the innermost out. A response
    /// made by one of them replaces what there was.
    pub(crate) fn on_response(
        &self,
        mut exchange: Box<Exchange>,
        outer: usize,
    ) -> (Box<Exchange>, Option<Response<Bytes>>) {
        let mut replaced: Option<Response<Bytes>> = None;
        let mut began = Instant::now();
        exchange.clock(began);
        for (place, entry) in self.entries.iter().enumerate().take(outer).rev() {
            let Some(fields) = &entry.response else {
                continue;
            };
            let plugin = &entry.plugin;
            let admitted = entry.admit(place, &mut exchange);
            let (returned, result) = match &admitted {
                Ok(_) => plugin.run(place, exchange, |instance, exchange| {
                    instance.on_response(exchange, fields)
                }),
                Err(_) => (exchange, Err(HookError::BreakerOpen)),
            };
            exchange = returned;
            let applied = result.and_then(|decision| entry.apply_response(decision, &mut exchange));
            let ran = (admitted.unwrap_or(Admission::Normal), applied);
            if let Some(response) = entry.settle(Phase::Response, &mut exchange, ran, &mut began) {
                exchange.replace_response(&response);
                replaced = Some(response);
            }
        }
        (exchange, replaced)
    }

    /// The same where hooks may have to be awaited; the exchange stays in `slot`.
    pub(crate) async fn on_request_awaiting(&self, slot: &mut Option<Box<Exchange>>) -> Flow {
        let mut began = slot.as_ref().map_or_else(Instant::now, |exchange| exchange.arrived);
        for (place, entry) in self.entries.iter().enumerate() {
            if let Some(response) = entry.throttled(there(slot)) {
                return Flow::Respond { response, outer: place };
            }
            let Some(fields) = &entry.request else {
                continue;
            };
            let admitted = entry.admit(place, there(slot));
            let result = match &admitted {
                Ok(_) => entry.plugin.run_awaiting::<RequestHook>(place, slot, fields).await,
                Err(_) => Err(HookError::BreakerOpen),
            };
            let exchange = there(slot);
            let applied = result.and_then(|decision| entry.apply_request(decision, exchange));
            let ran = (admitted.unwrap_or(Admission::Normal), applied);
            let response = entry.settle(Phase::Request, exchange, ran, &mut began);
            if let Some(response) = response {
                return Flow::Respond { response, outer: place };
            }
        }
        match self.throttled_caller(there(slot)) {
            Some((response, outer)) => Flow::Respond { response, outer },
            None => Flow::Continue,
        }
    }

    /// As [`Self::on_response`] where hooks may have to be awaited.
    pub(crate) async fn on_response_awaiting(
        &self,
        slot: &mut Option<Box<Exchange>>,
        outer: usize,
    ) -> Option<Response<Bytes>> {
        let mut replaced: Option<Response<Bytes>> = None;
        let mut began = Instant::now();
        there(slot).clock(began);
        for (place, entry) in self.entries.iter().enumerate().take(outer).rev() {
            let Some(fields) = &entry.response else {
                continue;
            };
            let admitted = entry.admit(place, there(slot));
            let result = match &admitted {
                Ok(_) => entry.plugin.run_awaiting::<ResponseHook>(place, slot, fields).await,
                Err(_) => Err(HookError::BreakerOpen),
            };
            let exchange = there(slot);
            let applied = result.and_then(|decision| entry.apply_response(decision, exchange));
            let ran = (admitted.unwrap_or(Admission::Normal), applied);
            if let Some(response) = entry.settle(Phase::Response, exchange, ran, &mut began) {
                exchange.replace_response(&response);
                replaced = Some(response);
            }
        }
        replaced
    }

    /// Runs the completion hooks, from the innermost out; those that have to be awaited are left
    /// for [`Self::on_complete_awaiting`].
    pub(crate) fn on_complete(&self, mut exchange: Box<Exchange>) -> Box<Exchange> {
        let mut began = Instant::now();
        for (place, entry) in self.entries.iter().enumerate().rev() {
            let Some(fields) = entry.completion.as_ref().filter(|_| !entry.plugin.awaits()) else {
                continue;
            };
            let admitted = entry.admit(place, &mut exchange);
            let (returned, result) = match &admitted {
                Ok(_) => entry.plugin.run(place, exchange, |instance, exchange| {
                    instance.on_complete(exchange, fields)
                }),
                Err(_) => (exchange, Err(HookError::BreakerOpen)),
            };
            exchange = returned;
            let ran = (admitted.unwrap_or(Admission::Normal), result);
            entry.completed(Some(&exchange), &ran, &mut began);
        }
        exchange
    }

    /// Whether there are completion hooks.
    pub(crate) fn completes(&self) -> bool {
        self.entries.iter().any(|entry| entry.completion.is_some())
    }

    /// Whether something is left to [`Self::on_complete_awaiting`].
    pub(crate) fn completes_later(&self) -> bool {
        self.awaits
            && self.entries.iter().any(|entry| entry.completion.is_some() && entry.plugin.awaits())
    }

    /// Runs the completion hooks that have to be awaited.
    pub(crate) async fn on_complete_awaiting(&self, exchange: Box<Exchange>) {
        let mut began = Instant::now();
        let mut slot = Some(exchange);
        for (place, entry) in self.entries.iter().enumerate().rev() {
            let Some(fields) = entry.completion.as_ref().filter(|_| entry.plugin.awaits()) else {
                continue;
            };
            let admitted = entry.admit(place, there(&mut slot));
            let result = match &admitted {
                Ok(_) => {
                    let run = entry.plugin.run_awaiting::<CompletionHook>(place, &mut slot, fields);
                    run.await
                }
                Err(_) => Err(HookError::BreakerOpen),
            };
            let ran = (admitted.unwrap_or(Admission::Normal), result);
            entry.completed(slot.as_deref(), &ran, &mut began);
        }
    }

    /// Counts the completion hooks that have to be awaited, and for which there was no room to wait.
    pub(crate) fn completions_dropped(&self) {
        let mut began = Instant::now();
        for entry in &self.entries {
            if entry.completion.is_some() && entry.plugin.awaits() {
                let ran = (Admission::Normal, Err(HookError::NoRoom));
                entry.completed(None, &ran, &mut began);
            }
        }
    }

    /// Runs all hooks of a self-check; nothing is counted, and the first failure ends it.
    pub(crate) fn rehearse(&self, mut exchange: Box<Exchange>) -> Result<(), (Phase, HookError)> {
        for entry in &self.entries {
            let plugin = &entry.plugin;
            if let Some(fields) = &entry.request {
                let run = plugin.run(0, exchange, |it, exchange| it.on_request(exchange, fields));
                exchange = run.0;
                let applied = run.1.and_then(|said| entry.apply_request(said, &mut exchange));
                applied.map_err(|error| (Phase::Request, error))?;
            }
            if let Some(fields) = &entry.response {
                let run = plugin.run(0, exchange, |it, exchange| it.on_response(exchange, fields));
                exchange = run.0;
                let applied = run.1.and_then(|said| entry.apply_response(said, &mut exchange));
                applied.map_err(|error| (Phase::Response, error))?;
            }
            if let Some(fields) = &entry.completion {
                let run = plugin.run(0, exchange, |it, exchange| it.on_complete(exchange, fields));
                exchange = run.0;
                run.1.map_err(|error| (Phase::Completion, error))?;
            }
        }
        Ok(())
    }

    /// What plugins keep outside this process, as all of them see it.
    pub(crate) fn outside(&self) -> Option<&Outside> {
        self.entries.first().map(|entry| &entry.plugin.granted.outside)
    }
}

impl Entry {
    fn fields(&self, phase: Phase) -> Option<&[Field]> {
        match phase {
            Phase::Request => self.request.as_deref(),
            Phase::Response => self.response.as_deref(),
            Phase::Completion => self.completion.as_deref(),
        }
    }

    /// Whether this plugin's hook may run for a request. One that is let through by a half-open
    /// breaker is let through in all of its phases: its response must not be withheld for nothing.
    fn admit(&self, place: usize, exchange: &mut Exchange) -> Result<Admission, HookError> {
        if exchange.probes.contains(&place) {
            return Ok(Admission::LaterPhaseOfProbe);
        }
        let admission = self.plugin.breaker.admit(exchange.source)?;
        if admission == Admission::Probe {
            exchange.probes.push(place);
        }
        Ok(admission)
    }

    /// Applies what the request hook decided.
    fn apply_request(&self, decision: Decision, exchange: &mut Exchange) -> Applied {
        let granted = &self.plugin.granted;
        let applied = match decision {
            Decision::Continue => return Ok((DecisionKind::Continue, None)),
            Decision::Modify(edits) => {
                edits::request(exchange, &granted.shared.name, granted.identity, edits)
                    .map(|()| (DecisionKind::Modify, None))
            }
            Decision::Respond(made) => {
                self.whole_response(made).map(|made| (DecisionKind::Respond, Some(made)))
            }
        };
        applied.map_err(HookError::Decision)
    }

    /// Applies what the response hook decided.
    fn apply_response(&self, decision: ResponseDecision, exchange: &mut Exchange) -> Applied {
        let applied = match decision {
            ResponseDecision::Continue => return Ok((DecisionKind::Continue, None)),
            ResponseDecision::Modify(edits) => {
                edits::response(exchange, &self.plugin.granted.shared.name, edits)
                    .map(|()| (DecisionKind::Modify, None))
            }
            ResponseDecision::Replace(made) => {
                self.whole_response(made).map(|made| (DecisionKind::Replace, Some(made)))
            }
        };
        applied.map_err(HookError::Decision)
    }

    /// Makes the response that the plugin decided on. Its author is told of a body that cannot be
    /// sent; the client gets the rest.
    fn whole_response(&self, made: HttpResponse) -> Result<Response<Bytes>, String> {
        let (response, dropped) = edits::whole_response(made)?;
        let granted = &self.plugin.granted;
        if dropped > 0
            && granted.shared.log.take(Instant::now(), granted.limits.log_lines_per_second)
        {
            tracing::warn!(
                plugin = &*granted.shared.name,
                status = response.status().as_u16(),
                bytes = dropped,
                "a response with this status has no body (RFC 9110, 6.4.1): the plugin's was dropped"
            );
        }
        Ok(response)
    }

    /// Counts a completion hook.
    fn completed(
        &self,
        exchange: Option<&Exchange>,
        (admission, result): &(Admission, Result<(), HookError>),
        began: &mut Instant,
    ) {
        let (decision, failure) = match result {
            Ok(()) => (DecisionKind::Continue, None),
            Err(error) => (DecisionKind::FailedOpen, Some(error)),
        };
        let took = self.count(Phase::Completion, decision, failure, began);
        self.judge(Phase::Completion, exchange, *admission, failure, took);
    }

    /// Tells the breaker what came of a hook that ran.
    fn judge(
        &self,
        phase: Phase,
        exchange: Option<&Exchange>,
        admission: Admission,
        failure: Option<&HookError>,
        took: Duration,
    ) {
        match failure {
            Some(HookError::BreakerOpen | HookError::Throttled(_)) => {}
            Some(error) => self.plugin.failed(error, exchange, phase, took, admission),
            None if admission == Admission::Probe => self.plugin.probe_succeeded(),
            None => {}
        }
    }

    /// The answer to a client whose requests have made this plugin fail too often lately,
    /// whatever the failure policy is: what is not let through unchecked need not be checked.
    fn throttled(&self, exchange: &mut Exchange) -> Option<Response<Bytes>> {
        let seconds = self.plugin.breaker.throttles(|| exchange.client())?;
        let name = &self.plugin.granted.shared.name;
        let (phase, kind) = (Phase::Request, DecisionKind::FailedClosed);
        exchange.decisions.push((Arc::clone(name), phase, kind));
        self.count(phase, kind, Some(&HookError::Throttled(seconds)), &mut Instant::now());
        Some(too_many_failures(name, seconds, &exchange.request_id))
    }

    /// Turns a hook's result into a response, if there is to be one, and counts it.
    fn settle(
        &self,
        phase: Phase,
        exchange: &mut Exchange,
        (admission, result): (Admission, Applied),
        began: &mut Instant,
    ) -> Option<Response<Bytes>> {
        let name = &self.plugin.granted.shared.name;
        let (kind, response, failure) = match result {
            Ok((kind, response)) => (kind, response, None),
            Err(error) => match self.plugin.spec.failure_policy {
                FailurePolicy::Open => (DecisionKind::FailedOpen, None, Some(error)),
                FailurePolicy::Closed => {
                    let response = unavailable(name, phase, &exchange.request_id);
                    (DecisionKind::FailedClosed, Some(response), Some(error))
                }
            },
        };
        exchange.decisions.push((Arc::clone(name), phase, kind));
        let took = self.count(phase, kind, failure.as_ref(), began);
        self.judge(phase, Some(exchange), admission, failure.as_ref(), took);
        response
    }

    /// One clock reading a hook: where one ends, the next begins.
    fn count(
        &self,
        phase: Phase,
        kind: DecisionKind,
        failure: Option<&HookError>,
        began: &mut Instant,
    ) -> Duration {
        let now = Instant::now();
        let took = now.saturating_duration_since(*began);
        self.plugin.stats.record(phase, kind, failure, took);
        *began = now;
        took
    }
}

/// The headers that hooks of these phases declared.
fn headers<const N: usize>(
    entries: &[Entry],
    phases: [Phase; N],
    pick: fn(&Field) -> Option<&HeaderName>,
) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = Vec::new();
    for entry in entries {
        for fields in phases.into_iter().filter_map(|phase| entry.fields(phase)) {
            for name in fields.iter().filter_map(pick) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
    }
    names
}

/// The exchange, between hooks. Without it nothing may go on.
fn there(slot: &mut Option<Box<Exchange>>) -> &mut Exchange {
    slot.as_mut().expect("host calls never take the exchange")
}

fn keep(names: &[HeaderName], all: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in names {
        for value in all.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}
