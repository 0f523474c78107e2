//! The fields that hooks ask for: their names, where their values are, and how they are packed.

use std::io::Write as _;

use http::{HeaderMap, HeaderName, Version};

use crate::exchange::Exchange;

/// Marks an absent field in `ends`.
const ABSENT: u32 = 1 << 31;

/// Most fields that a phase may ask for.
pub(crate) const FIELDS_MAX: usize = 64;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before the handler.
    Request,
    /// After it.
    Response,
    /// When the last byte is out.
    Completion,
}

impl Phase {
    /// All of them, in the order of a request.
    pub const ALL: [Self; 3] = [Self::Request, Self::Response, Self::Completion];

    /// As in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Completion => "completion",
        }
    }
}

/// Where one value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Method,
    Path,
    Query,
    Route,
    Authority,
    Protocol,
    Service,
    Generation,
    Address,
    RequestId,
    TraceId,
    SpanId,
    Time,
    Header(HeaderName),
    /// The slot in [`crate::exchange::Attributes`].
    Attribute(usize),
    CallerUserId,
    CallerClientId,
    CallerScopes,
    Status,
    ResponseHeader(HeaderName),
    DurationUs,
    ResponseBytes,
    EndedBy,
    Decisions,
}

/// The names without a parameter, and the phase from which on they exist.
const PLAIN: [(&str, Phase, Field); 21] = [
    ("method", Phase::Request, Field::Method),
    ("path", Phase::Request, Field::Path),
    ("query", Phase::Request, Field::Query),
    ("route", Phase::Request, Field::Route),
    ("authority", Phase::Request, Field::Authority),
    ("protocol", Phase::Request, Field::Protocol),
    ("service", Phase::Request, Field::Service),
    ("generation", Phase::Request, Field::Generation),
    ("address", Phase::Request, Field::Address),
    ("request-id", Phase::Request, Field::RequestId),
    ("trace-id", Phase::Request, Field::TraceId),
    ("span-id", Phase::Request, Field::SpanId),
    ("time", Phase::Request, Field::Time),
    ("caller.user-id", Phase::Request, Field::CallerUserId),
    ("caller.client-id", Phase::Request, Field::CallerClientId),
    ("caller.scopes", Phase::Request, Field::CallerScopes),
    ("status", Phase::Response, Field::Status),
    ("duration-us", Phase::Response, Field::DurationUs),
    ("response-bytes", Phase::Completion, Field::ResponseBytes),
    ("ended-by", Phase::Completion, Field::EndedBy),
    ("decisions", Phase::Completion, Field::Decisions),
];

impl Field {
    /// Finds the field called `name` for `plugin` in `phase`. `slot` turns an attribute's full
    /// name (`PLUGIN.NAME`) into its slot.
    pub(crate) fn parse(
        name: &str,
        phase: Phase,
        plugin: &str,
        slot: impl FnOnce(String) -> Option<usize>,
    ) -> Result<Self, String> {
        let header = |name: &str| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no name for a header"))
        };
        let later = |from: Phase| format!("there is no `{name}` before the {} phase", from.name());
        match name.split_once(':') {
            Some(("header", rest)) => header(rest).map(Self::Header),
            Some(("response-header", _)) if phase < Phase::Response => Err(later(Phase::Response)),
            Some(("response-header", rest)) => header(rest).map(Self::ResponseHeader),
            Some(("attribute", rest)) => {
                let full =
                    if rest.contains('.') { rest.to_owned() } else { format!("{plugin}.{rest}") };
                slot(full).map(Self::Attribute).ok_or_else(|| format!("nobody reads `{name}`"))
            }
            _ => match PLAIN.iter().find(|(plain, ..)| *plain == name) {
                Some((_, from, _)) if phase < *from => Err(later(*from)),
                Some((_, _, field)) => Ok(field.clone()),
                None => Err(unknown(name)),
            },
        }
    }

    /// Appends the value; `false` when it is absent.
    fn write(&self, x: &Exchange, out: &mut Vec<u8>) -> bool {
        let mut text = |value: Option<&str>| {
            out.extend_from_slice(value.unwrap_or_default().as_bytes());
            value.is_some()
        };
        match self {
            Self::Method => text(Some(x.method.as_str())),
            Self::Path => text(Some(x.uri.path())),
            Self::Query => text(x.uri.query()),
            Self::Route => text(x.route.as_deref()),
            // The target's own wins over `Host` (RFC 9112, 3.2.2), whose bytes need not be text.
            Self::Authority => {
                let host = || {
                    let host = x.request_headers.get(http::header::HOST)?;
                    std::str::from_utf8(host.as_bytes()).ok()
                };
                text(x.uri.authority().map(http::uri::Authority::as_str).or_else(host))
            }
            Self::Protocol => text(Some(match x.version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            })),
            Self::Service => text(Some(&x.service)),
            Self::RequestId => text(Some(&x.request_id)),
            Self::TraceId => text(Some(x.trace.trace_id())),
            Self::SpanId => text(Some(x.trace.span_id())),
            Self::CallerUserId => text(x.caller.as_ref().and_then(|c| c.user_id.as_deref())),
            Self::CallerClientId => text(x.caller.as_ref().map(|c| c.client_id.as_str())),
            Self::CallerScopes => text(x.caller.as_ref().map(|c| c.scopes.as_str())),
            Self::EndedBy => text(Some(x.ended_by)),
            Self::Address => match x.address {
                // Writing to a Vec cannot fail.
                Some(address) => write!(out, "{address}").is_ok(),
                None => false,
            },
            Self::Header(name) => write_header(&x.request_headers, name, out),
            Self::ResponseHeader(name) => write_header(&x.response_headers, name, out),
            Self::Attribute(slot) => match x.attributes.get(*slot) {
                Some(value) => {
                    out.extend_from_slice(value);
                    true
                }
                None => false,
            },
            Self::Time => number(x.time_us, out),
            Self::Generation => number(x.generation, out),
            Self::Status => number(u64::from(x.status), out),
            Self::DurationUs => number(x.duration_us, out),
            Self::ResponseBytes => number(x.response_bytes, out),
            Self::Decisions => {
                x.write_decisions(out);
                true
            }
        }
    }

    /// The value as bytes of its own, for a lazy read.
    pub(crate) fn read(&self, x: &Exchange) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.write(x, &mut out).then_some(out)
    }
}

/// Packs the fields' values as `types.wit` says.
pub(crate) fn pack(fields: &[Field], x: &Exchange, bytes: &mut Vec<u8>, ends: &mut Vec<u32>) {
    bytes.clear();
    ends.clear();
    for field in fields {
        let present = field.write(x, bytes);
        // A request's headers are bounded far below 2 GiB by the server; were they not, the
        // guest would be told that the field is absent, never given a wrong range.
        let end = u32::try_from(bytes.len()).unwrap_or(ABSENT) & !ABSENT;
        ends.push(if present { end } else { end | ABSENT });
    }
}

fn number(value: u64, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&value.to_le_bytes());
    true
}

fn write_header(headers: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return false;
    };
    out.extend_from_slice(first.as_bytes());
    // Cookies have a separator of their own (RFC 9113, 8.2.3).
    let separator: &[u8] = if name == http::header::COOKIE { b"; " } else { b", " };
    for value in values {
        out.extend_from_slice(separator);
        out.extend_from_slice(value.as_bytes());
    }
    true
}

fn unknown(name: &str) -> String {
    let nearest = PLAIN
        .iter()
        .map(|(plain, ..)| (strsim::jaro_winkler(plain, name), *plain))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, plain)) => format!("there is no field `{name}`; did you mean `{plain}`?"),
        None => format!(
            "there is no field `{name}`; fields are `header:NAME`, `response-header:NAME`, \
             `attribute:NAME` and {}",
            PLAIN.map(|(plain, ..)| format!("`{plain}`")).join(", ")
        ),
    }
}
