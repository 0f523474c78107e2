//! Applies what plugins decide, after checking all of it: nothing is half applied.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use bytes::Bytes;

use crate::exchange::{Caller, Exchange};
use crate::wit::v0_1::pillion::plugin::types::{
    Attribute, Edits, Header, HttpResponse, ResponseEdits,
};

/// Entries of one list.
const ENTRIES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 16 << 10;
/// Names and values of one list of headers, summed: clients refuse a larger head as a whole.
const HEADERS_BYTES_MAX: usize = 64 << 10;
const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
const ATTRIBUTE_BYTES_MAX: usize = 4 << 10;
/// A body made by a plugin; larger ones belong to a service.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A caller's scopes and ids, in bytes each.
const CALLER_BYTES_MAX: usize = 4 << 10;

/// These say how bytes are framed and where they go: a plugin that could set them could smuggle
/// a second request or response.
const OWNED_BY_HOST: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers in this namespace never come from outside or from a plugin.
pub(crate) const RESERVED_PREFIX: &str = "pillion-";

/// Headers, checked and ready to be set.
struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    append: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    fn check(remove: &[String], set: Vec<Header>, append: Vec<Header>) -> Result<Self, String> {
        bound("remove-headers", remove.len())?;
        bound("set-headers", set.len())?;
        bound("append-headers", append.len())?;
        bound_bytes("set-headers", &set)?;
        bound_bytes("append-headers", &append)?;
        Ok(Self {
            remove: remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
            set: set.into_iter().map(header).collect::<Result<_, _>>()?,
            append: append.into_iter().map(header).collect::<Result<_, _>>()?,
        })
    }

    fn apply(self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        // All old values go before any new one comes, so that two entries of one name stay two.
        for (name, _) in &self.set {
            headers.remove(name);
        }
        for (name, value) in self.set.into_iter().chain(self.append) {
            headers.append(name, value);
        }
    }
}

/// Applies a request hook's `modify`.
pub(crate) fn request(
    exchange: &mut Exchange,
    plugin: &str,
    identity: bool,
    edits: Edits,
) -> Result<(), String> {
    let headers =
        HeaderEdits::check(&edits.remove_headers, edits.set_headers, edits.append_headers)?;
    check_attributes(exchange, &edits.attributes)?;
    if let Some(caller) = edits.caller {
        if !identity {
            return Err("it sets the caller without the grant `identity`".to_owned());
        }
        let longest = caller
            .user_id
            .as_ref()
            .map_or(0, String::len)
            .max(caller.client_id.len())
            .max(caller.scopes.len());
        if longest > CALLER_BYTES_MAX {
            return Err(format!("a part of the caller has over {CALLER_BYTES_MAX} bytes"));
        }
        exchange.caller = Some(Caller {
            user_id: caller.user_id,
            client_id: caller.client_id,
            scopes: caller.scopes,
        });
    }
    headers.apply(&mut exchange.request_headers);
    set_attributes(exchange, plugin, edits.attributes);
    Ok(())
}

/// Applies a response hook's `modify`.
pub(crate) fn response(
    exchange: &mut Exchange,
    plugin: &str,
    edits: ResponseEdits,
) -> Result<(), String> {
    let headers =
        HeaderEdits::check(&edits.remove_headers, edits.set_headers, edits.append_headers)?;
    check_attributes(exchange, &edits.attributes)?;
    headers.apply(&mut exchange.response_headers);
    set_attributes(exchange, plugin, edits.attributes);
    Ok(())
}

/// Makes the response that a plugin answers with, and says how many bytes of a body were dropped
/// because a response with that status has none.
pub(crate) fn whole_response(made: HttpResponse) -> Result<(Response<Bytes>, usize), String> {
    if !(200..=599).contains(&made.status) {
        return Err(format!("status {} is not one of 200–599", made.status));
    }
    let status = StatusCode::from_u16(made.status).map_err(|error| error.to_string())?;
    if made.body.len() > BODY_BYTES_MAX {
        return Err(format!(
            "its body has {} bytes, over the bound of {BODY_BYTES_MAX}",
            made.body.len()
        ));
    }
    bound("headers", made.headers.len())?;
    let dropped = if may_have_body(status) { 0 } else { made.body.len() };
    let body = if dropped > 0 { Vec::new() } else { made.body };
    bound_bytes("headers", &made.headers)?;
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    for made in made.headers {
        let (name, value) = header(made)?;
        response.headers_mut().append(name, value);
    }
    Ok((response, dropped))
}

/// Whether a response with this status has a body (RFC 9110, 6.4.1 and 15.3.6). A client takes
/// the bytes of one that must not be there for the next response, or ends the connection.
pub(crate) fn may_have_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

fn bound(list: &str, entries: usize) -> Result<(), String> {
    if entries > ENTRIES_MAX {
        return Err(format!("{list} has {entries} entries, over the bound of {ENTRIES_MAX}"));
    }
    Ok(())
}

fn bound_bytes(list: &str, headers: &[Header]) -> Result<(), String> {
    let bytes: usize = headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(format!("{list} has {bytes} bytes, over the bound of {HEADERS_BYTES_MAX}"));
    }
    Ok(())
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("a header's name has over {NAME_BYTES_MAX} bytes"));
    }
    // Refuses upper case, as the contract says, with everything that is no token.
    let parsed = HeaderName::from_lowercase(name.as_bytes())
        .map_err(|_| format!("{name:?} is no lower-case name for a header"))?;
    if OWNED_BY_HOST.contains(&parsed) || name.starts_with(RESERVED_PREFIX) {
        return Err(format!("the header `{name}` belongs to the host"));
    }
    Ok(parsed)
}

fn header(made: Header) -> Result<(HeaderName, HeaderValue), String> {
    let name = header_name(&made.name)?;
    if made.value.len() > VALUE_BYTES_MAX {
        return Err(format!("the value of `{name}` has over {VALUE_BYTES_MAX} bytes"));
    }
    let value = HeaderValue::from_maybe_shared(Bytes::from(made.value)).map_err(|_| {
        format!("the value of `{name}` holds a control character such as CR, LF or NUL")
    })?;
    Ok((name, value))
}

fn check_attributes(exchange: &Exchange, attributes: &[Attribute]) -> Result<(), String> {
    bound("attributes", attributes.len())?;
    if !exchange.attributes.has_room_for(attributes.len()) {
        return Err("the request carries too many attributes".to_owned());
    }
    for attribute in attributes {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if attribute.name.is_empty()
            || attribute.name.len() > ATTRIBUTE_NAME_BYTES_MAX
            || !attribute.name.bytes().all(legal)
        {
            return Err(format!(
                "{:?} is no name for an attribute: at most {ATTRIBUTE_NAME_BYTES_MAX} of a-z, 0-9, -",
                attribute.name
            ));
        }
        if attribute.value.len() > ATTRIBUTE_BYTES_MAX {
            return Err(format!(
                "the attribute `{}` has over {ATTRIBUTE_BYTES_MAX} bytes",
                attribute.name
            ));
        }
    }
    Ok(())
}

fn set_attributes(exchange: &mut Exchange, plugin: &str, attributes: Vec<Attribute>) {
    for attribute in attributes {
        exchange.attributes.set(plugin, &attribute.name, attribute.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &[u8]) -> Result<HeaderMap, String> {
        let made = Header { name: name.to_owned(), value: value.to_vec() };
        let mut headers = HeaderMap::new();
        HeaderEdits::check(&[], vec![made], Vec::new())?.apply(&mut headers);
        Ok(headers)
    }

    #[test]
    fn headers_that_would_break_the_message_are_refused() {
        assert!(set("x-ok", b"fine").is_ok());
        for (name, value) in [
            ("x-bad", &b"a\r\nset-cookie: b"[..]),
            ("x-bad", b"a\nb"),
            ("x-bad", b"a\0b"),
            ("X-Upper", b"v"),
            ("x bad", b"v"),
            ("", b"v"),
            ("content-length", b"0"),
            ("transfer-encoding", b"chunked"),
            ("host", b"elsewhere"),
            ("connection", b"close"),
            ("pillion-caller", b"forged"),
            (&*"x".repeat(257), b"v"),
            ("x-long", &vec![b'v'; VALUE_BYTES_MAX + 1]),
        ] {
            assert!(set(name, value).is_err(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn two_entries_of_one_name_are_two_values_and_replace_the_old_ones() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("old"));
        let made =
            |value: &str| Header { name: "x-a".to_owned(), value: value.as_bytes().to_vec() };
        let set = vec![made("1"), made("2")];
        HeaderEdits::check(&[], set, Vec::new()).unwrap().apply(&mut headers);
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn h16_an_appended_header_joins_what_is_there() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("theirs=1"));
        headers.append("set-cookie", HeaderValue::from_static("theirs=2"));
        let made = |value: &str| Header {
            name: "set-cookie".to_owned(),
            value: value.as_bytes().to_vec(),
        };
        HeaderEdits::check(&[], Vec::new(), vec![made("own=1")]).unwrap().apply(&mut headers);
        let values: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(values, ["theirs=1", "theirs=2", "own=1"]);
        // Removals and replacements come first.
        let edits = HeaderEdits::check(&[], vec![made("set=1")], vec![made("own=2")]).unwrap();
        edits.apply(&mut headers);
        assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["set=1", "own=2"]);
        assert!(
            HeaderEdits::check(
                &[],
                Vec::new(),
                vec![Header { name: "content-length".to_owned(), value: b"1".to_vec() }]
            )
            .is_err()
        );
    }

    #[test]
    fn h04_a_status_without_a_body_drops_the_body_and_says_so() {
        let made = |status| HttpResponse { status, headers: Vec::new(), body: b"body".to_vec() };
        for (status, dropped) in [(200, 0), (204, 4), (205, 4), (304, 4), (503, 0)] {
            let (response, said) = whole_response(made(status)).unwrap();
            assert_eq!((response.body().len(), said), (4 - dropped, dropped), "{status}");
        }
    }

    #[test]
    fn responses_are_bounded() {
        let made = |status, body| HttpResponse { status, headers: Vec::new(), body };
        assert!(whole_response(made(200, Vec::new())).is_ok());
        for status in [0, 101, 199, 600, 1_000] {
            assert!(whole_response(made(status, Vec::new())).is_err(), "{status}");
        }
        assert!(whole_response(made(200, vec![0; BODY_BYTES_MAX + 1])).is_err());
    }
}
