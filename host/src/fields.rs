//! The fields that hooks ask for: their names, where their values are, and how they are packed.

use std::fmt;
use std::io::Write as _;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, Version};

use crate::exchange::Exchange;
use crate::text::{ITEM_BYTES_MAX, printable};

/// Marks an absent field in `ends`.
const ABSENT: u32 = 1 << 31;

/// Most fields that a phase may ask for.
pub(crate) const FIELDS_MAX: usize = 64;

/// Longest name of a field.
pub(crate) const NAME_BYTES_MAX: usize = 256;

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
    /// All values of one header, kept apart.
    HeaderList(HeaderName),
    ResponseHeaderList(HeaderName),
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
    /// name (`PLUGIN.NAME`) into its slot. An error is cheap: its text is made when it is shown.
    pub(crate) fn parse<'a>(
        name: &'a str,
        phase: Phase,
        plugin: &str,
        slot: impl FnOnce(String) -> Option<usize>,
    ) -> Result<Self, FieldError<'a>> {
        if name.len() > NAME_BYTES_MAX {
            return Err(FieldError::TooLong(name));
        }
        let header = |family, rest: &str| {
            let header = HeaderName::from_bytes(rest.as_bytes());
            let header = header.map_err(|_| FieldError::BadHeader(name))?;
            // Its values hold commas: joined by commas nobody could tell them apart (RFC 6265, 3).
            if family == "response-header" && header == SET_COOKIE {
                return Err(FieldError::NeverJoined);
            }
            Ok(header)
        };
        let later = |from: Phase| FieldError::Later { name, from };
        match name.split_once(':') {
            Some(("response-header" | "response-header-list", _)) if phase < Phase::Response => {
                Err(later(Phase::Response))
            }
            Some(("header", rest)) => header("header", rest).map(Self::Header),
            Some(("header-list", rest)) => header("header-list", rest).map(Self::HeaderList),
            Some(("response-header", rest)) => {
                header("response-header", rest).map(Self::ResponseHeader)
            }
            Some(("response-header-list", rest)) => {
                header("response-header-list", rest).map(Self::ResponseHeaderList)
            }
            Some(("attribute", rest)) => {
                if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(FieldError::BadAttribute(name));
                }
                let full =
                    if rest.contains('.') { rest.to_owned() } else { format!("{plugin}.{rest}") };
                slot(full).map(Self::Attribute).ok_or(FieldError::Unread(name))
            }
            _ => match PLAIN.iter().find(|(plain, ..)| *plain == name) {
                Some((_, from, _)) if phase < *from => Err(later(*from)),
                Some((_, _, field)) => Ok(field.clone()),
                None => Err(FieldError::Unknown(name)),
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
            Self::HeaderList(name) => write_list(&x.request_headers, name, out),
            Self::ResponseHeaderList(name) => write_list(&x.response_headers, name, out),
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
    let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
    for value in values {
        out.extend_from_slice(separator);
        out.extend_from_slice(value.as_bytes());
    }
    true
}

/// All values of a header, each behind its length: four bytes, little-endian.
fn write_list(headers: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) -> bool {
    let mut is_present = false;
    for value in headers.get_all(name) {
        // The server's limit of a head is far below 4 GiB.
        let Ok(length) = u32::try_from(value.len()) else {
            continue;
        };
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value.as_bytes());
        is_present = true;
    }
    is_present
}

/// Why a name is not that of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldError<'a> {
    TooLong(&'a str),
    BadHeader(&'a str),
    BadAttribute(&'a str),
    /// `response-header:set-cookie`.
    NeverJoined,
    /// It exists from a later phase on.
    Later {
        name: &'a str,
        from: Phase,
    },
    /// No hook of the chain declared the attribute.
    Unread(&'a str),
    Unknown(&'a str),
}

impl fmt::Display for FieldError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name| printable(name, ITEM_BYTES_MAX);
        match self {
            Self::TooLong(name) => {
                write!(f, "a field's name has {} bytes; the most is {NAME_BYTES_MAX}", name.len())
            }
            Self::BadHeader(name) => write!(f, "`{}` does not name a header", shown(name)),
            Self::BadAttribute(name) => write!(f, "`{}` does not name an attribute", shown(name)),
            Self::NeverJoined => f.write_str(
                "several `set-cookie` headers cannot be joined into one value; use \
                 `response-header-list:set-cookie`",
            ),
            Self::Later { name, from } => {
                write!(f, "there is no `{}` before the {} phase", shown(name), from.name())
            }
            Self::Unread(name) => write!(f, "nobody reads `{}`", shown(name)),
            Self::Unknown(name) => unknown(name, f),
        }
    }
}

/// Compares with all names, so it is only done for a message that is shown, and for a name that
/// is not longer than any that there is.
fn unknown(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let nearest = (name.len() <= 64).then(|| {
        PLAIN
            .iter()
            .map(|(plain, ..)| (strsim::jaro_winkler(plain, name), *plain))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
    });
    let shown = printable(name, ITEM_BYTES_MAX);
    match nearest.flatten() {
        Some((_, plain)) => write!(f, "there is no field `{shown}`; did you mean `{plain}`?"),
        None => write!(
            f,
            "there is no field `{shown}`; fields are `header:NAME`, `header-list:NAME`, \
             `response-header:NAME`, `response-header-list:NAME`, `attribute:NAME` and {}",
            PLAIN.map(|(plain, ..)| format!("`{plain}`")).join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn h07_long_names_are_refused_before_anything_is_compared() {
        let long = "x".repeat(900_000);
        let error = Field::parse(&long, Phase::Request, "p", |_| None).unwrap_err();
        assert_eq!(error, FieldError::TooLong(&long));
        assert!(error.to_string().len() < 100, "{error}");
        let near = Field::parse("metod", Phase::Request, "p", |_| None).unwrap_err();
        assert!(near.to_string().contains("did you mean `method`"), "{near}");
    }

    #[test]
    fn h16_cookies_are_joined_as_http_allows_and_lists_keep_values_apart() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("cookie", "a=1"), ("cookie", "b=2"), ("vary", "x"), ("vary", "y")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let joined = |name| {
            let mut out = Vec::new();
            write_header(&headers, &HeaderName::from_static(name), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!((joined("cookie"), joined("vary")), ("a=1; b=2".into(), "x, y".into()));
        let mut out = Vec::new();
        assert!(write_list(&headers, &HeaderName::from_static("vary"), &mut out));
        assert_eq!(out, b"\x01\0\0\0x\x01\0\0\0y");
        assert!(!write_list(&headers, &HeaderName::from_static("age"), &mut out));
        for (phase, ok) in [(Phase::Request, false), (Phase::Response, true)] {
            let list = Field::parse("response-header-list:set-cookie", phase, "p", |_| None);
            assert_eq!(list.is_ok(), ok);
        }
        let joined = Field::parse("response-header:set-cookie", Phase::Response, "p", |_| None);
        assert_eq!(joined, Err(FieldError::NeverJoined));
    }
}
