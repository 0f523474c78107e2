//! One request on its way through a chain: what hooks can see of it, and what they left.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri, Version};

use crate::breaker::Origin;
use crate::fields::Phase;
use crate::instance::Instance;
use crate::trace::TraceContext;

/// Who makes a request, as the plugin with the grant `identity` says. A request extension for
/// the handler, never a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user on whose behalf the request is made; `None` for an application as itself.
    pub user_id: Option<String>,
    /// The application.
    pub client_id: String,
    /// What the token allows, separated by single spaces.
    pub scopes: String,
}

/// Where the request comes from. The embedding server puts it into the request's extensions;
/// without it the fields' `address` is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The request's id. The embedding server may put one into the request's extensions; else the
/// layer makes one and puts it there for the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// What a hook decided, for the field `decisions` and for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecisionKind {
    Continue,
    Modify,
    Respond,
    Replace,
    FailedOpen,
    FailedClosed,
}

impl DecisionKind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Continue,
        Self::Modify,
        Self::Respond,
        Self::Replace,
        Self::FailedOpen,
        Self::FailedClosed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Respond => "respond",
            Self::Replace => "replace",
            Self::FailedOpen => "failed-open",
            Self::FailedClosed => "failed-closed",
        }
    }
}

/// Request-scoped values by their full name, `PLUGIN.NAME`. Names that some hook of the chain
/// declared have a slot, found when the chain was made; others are kept beside them.
#[derive(Debug)]
pub(crate) struct Attributes {
    names: Arc<[String]>,
    slots: Vec<Option<Vec<u8>>>,
    others: Vec<(String, Vec<u8>)>,
}

/// Attributes without a slot that one request may carry; each is at most 4 KiB. Twice what one
/// decision may set.
const OTHER_ATTRIBUTES_MAX: usize = 128;

impl Attributes {
    pub(crate) fn new(names: Arc<[String]>) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(names.len(), || None);
        Self { names, slots, others: Vec::new() }
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&[u8]> {
        self.slots.get(slot)?.as_deref()
    }

    /// Whether `name` is `plugin.rest`, without building that string.
    fn is(name: &str, plugin: &str, rest: &str) -> bool {
        name.strip_prefix(plugin).and_then(|name| name.strip_prefix('.')) == Some(rest)
    }

    /// Reads `NAME` of `plugin` itself, or `PLUGIN.NAME` of another.
    pub(crate) fn find(&self, plugin: &str, name: &str) -> Option<&[u8]> {
        let (plugin, rest) = name.split_once('.').unwrap_or((plugin, name));
        match self.names.iter().position(|full| Self::is(full, plugin, rest)) {
            Some(slot) => self.get(slot),
            None => self
                .others
                .iter()
                .find(|(full, _)| Self::is(full, plugin, rest))
                .map(|(_, value)| value.as_slice()),
        }
    }

    /// Whether so many more may be set, even if all of their names are new.
    pub(crate) fn has_room_for(&self, count: usize) -> bool {
        self.others.len() + count <= OTHER_ATTRIBUTES_MAX
    }

    /// Sets `name` of `plugin`.
    pub(crate) fn set(&mut self, plugin: &str, name: &str, value: Vec<u8>) {
        let slot = self.names.iter().position(|full| Self::is(full, plugin, name));
        if let Some(place) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some(value);
            return;
        }
        let known = |(full, _): &&mut (String, Vec<u8>)| Self::is(full, plugin, name);
        if let Some((_, place)) = self.others.iter_mut().find(known) {
            *place = value;
        } else {
            self.others.push((format!("{plugin}.{name}"), value));
        }
    }
}

/// `PLUGIN=DECISION` of the request phase, `PLUGIN.response=DECISION` of the response phase.
fn write_decisions(decisions: &[(Arc<str>, Phase, DecisionKind)], out: &mut Vec<u8>) {
    for (place, (plugin, phase, kind)) in decisions.iter().enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(plugin.as_bytes());
        if *phase != Phase::Request {
            out.push(b'.');
            out.extend_from_slice(phase.name().as_bytes());
        }
        out.push(b'=');
        out.extend_from_slice(kind.name().as_bytes());
    }
}

/// What hooks can see. It is moved into the instance for the time of a call and back.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) service: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    /// All of them in the request phase; later the declared ones.
    pub(crate) request_headers: HeaderMap,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) address: Option<IpAddr>,
    /// A keyed hash of the client's address; 0 when it is not known.
    pub(crate) source: u64,
    pub(crate) request_id: Arc<str>,
    pub(crate) trace: TraceContext,
    pub(crate) time_us: u64,
    pub(crate) arrived: Instant,
    pub(crate) caller: Option<Caller>,
    pub(crate) attributes: Attributes,
    pub(crate) status: u16,
    /// All of them in the response phase; in completion the declared ones.
    pub(crate) response_headers: HeaderMap,
    pub(crate) duration_us: u64,
    pub(crate) response_bytes: u64,
    pub(crate) ended_by: &'static str,
    /// The plugin's name, when its hook ran and what it decided, in the order in which they ran.
    pub(crate) decisions: Vec<(Arc<str>, Phase, DecisionKind)>,
    /// Instances of plugins in `fresh` mode, by their place in the chain.
    pub(crate) fresh: Vec<(usize, Box<Instance>)>,
    /// Places of plugins whose half-open breaker let this request through.
    pub(crate) probes: Vec<usize>,
}

/// Keys the hashes of clients, so that no client can aim for the place of another.
static CLIENTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Returns the hash of an address; IPv6 by its /64, because one client usually has all of it.
pub(crate) fn source(address: IpAddr) -> u64 {
    let address = match address.to_canonical() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) | (1 << 64),
    };
    CLIENTS.hash_one(address).max(1)
}

impl Exchange {
    /// To whom a failure is charged: the caller, or else the address.
    pub(crate) fn client(&self) -> u64 {
        match &self.caller {
            Some(caller) => CLIENTS.hash_one((&caller.user_id, &caller.client_id)).max(1),
            None => self.source,
        }
    }

    /// For the breaker.
    pub(crate) fn origin(&self) -> Origin {
        let client = self.client();
        Origin { source: if self.source == 0 { client } else { self.source }, client }
    }

    pub(crate) fn write_decisions(&self, out: &mut Vec<u8>) {
        write_decisions(&self.decisions, out);
    }

    /// Shows further plugins the response that one has made.
    pub(crate) fn replace_response(&mut self, response: &Response<Bytes>) {
        self.status = response.status().as_u16();
        self.response_headers.clone_from(response.headers());
    }

    /// Brings `duration_us` up to date.
    pub(crate) fn clock(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.arrived);
        self.duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_client_whatever_its_form() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn decisions_tell_the_phases_apart() {
        let mut out = Vec::new();
        let decisions = [
            ("auth".into(), Phase::Request, DecisionKind::Modify),
            ("ratelimit".into(), Phase::Request, DecisionKind::Respond),
            ("auth".into(), Phase::Response, DecisionKind::Continue),
        ];
        write_decisions(&decisions, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "auth=modify ratelimit=respond auth.response=continue");
    }
}
