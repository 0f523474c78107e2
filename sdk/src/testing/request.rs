//! A request as a plugin sees it, phase by phase.

use std::collections::BTreeMap;

use super::{host, time};
use crate::{
    Attribute, Decision, Header, HttpResponse, OnComplete, OnRequest, OnResponse, Packed,
    ResponseDecision, View, fields::ABSENT,
};

/// A request to try a plugin on. Its phases are called in turn; what one phase decides is seen
/// by the next.
///
/// ```
/// # use pillion_plugin::testing::Request;
/// let request = Request::new("POST", "/2/tweets?a=b")
///     .route("/2/tweets")
///     .header("authorization", "Bearer x")
///     .address("192.0.2.1");
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    fields: BTreeMap<String, Vec<u8>>,
}

impl Request {
    /// A request now, by HTTP/1.1 and without headers. `target` is a path and perhaps a query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let request = Self { fields: BTreeMap::new() }
            .field("method", method)
            .field("path", path)
            .field("protocol", "HTTP/1.1")
            .field("service", "test")
            .field("request-id", "00000000000000000000000000000001")
            .field("trace-id", "0af7651916cd43dd8448eb211c80319c")
            .field("span-id", "b7ad6b7169203331")
            .field("time", time().to_le_bytes());
        match query {
            Some(query) => request.field("query", query),
            None => request,
        }
    }

    /// A `GET`; see [`Request::new`].
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Sets any field by its contract name; numbers are eight bytes, little-endian.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a request header.
    #[must_use]
    pub fn header(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.with_header("header", name, value.into())
    }

    /// Sets the template that the path matched.
    #[must_use]
    pub fn route(self, template: &str) -> Self {
        self.field("route", template)
    }

    /// Sets the client's address.
    #[must_use]
    pub fn address(self, address: &str) -> Self {
        self.field("address", address)
    }

    /// Sets an attribute: an own one by `NAME`, another plugin's by `PLUGIN.NAME`.
    #[must_use]
    pub fn attribute(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.field(&format!("attribute:{name}"), value)
    }

    /// Sets the caller, as an auth plugin further out would have.
    #[must_use]
    pub fn caller(self, user_id: Option<&str>, client_id: &str, scopes: &str) -> Self {
        let request = self.field("caller.client-id", client_id).field("caller.scopes", scopes);
        match user_id {
            Some(user_id) => request.field("caller.user-id", user_id),
            None => request,
        }
    }

    /// Sets the response's status; 200 otherwise.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        self.field("status", u64::from(status).to_le_bytes())
    }

    /// Sets a response header.
    #[must_use]
    pub fn response_header(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.with_header("response-header", name, value.into())
    }

    /// The bytes of a field, as the decisions so far have left it.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name).map(Vec::as_slice)
    }

    /// Calls the request phase, with just the fields that it declares.
    ///
    /// # Panics
    /// When a host would refuse the decision.
    pub fn on_request<P: OnRequest>(&mut self, plugin: &mut P) -> Decision {
        let decision = self.call(
            self.fields.clone(),
            |packed| plugin.on_request(P::Fields::unpack(packed)),
            <P::Fields<'_> as View<'_>>::NAMES,
        );
        match &decision {
            Decision::Continue => {}
            Decision::Modify(edits) => {
                self.edit("header", &edits.remove_headers, &edits.set_headers);
                self.append("header", &edits.append_headers);
                self.remember(&edits.attributes);
                if let Some(caller) = &edits.caller {
                    let user_id = caller.user_id.as_deref();
                    *self = self.clone().caller(user_id, &caller.client_id, &caller.scopes);
                }
            }
            Decision::Respond(response) => self.answer(response),
        }
        decision
    }

    /// Calls the response phase, with just the fields that it declares.
    ///
    /// # Panics
    /// When a host would refuse the decision.
    pub fn on_response<P: OnResponse>(&mut self, plugin: &mut P) -> ResponseDecision {
        self.default_number("status", 200);
        self.default_number("duration-us", 0);
        let decision = self.call(
            self.without_request_headers(),
            |packed| plugin.on_response(P::Fields::unpack(packed)),
            <P::Fields<'_> as View<'_>>::NAMES,
        );
        match &decision {
            ResponseDecision::Continue => {}
            ResponseDecision::Modify(edits) => {
                self.edit("response-header", &edits.remove_headers, &edits.set_headers);
                self.append("response-header", &edits.append_headers);
                self.remember(&edits.attributes);
            }
            ResponseDecision::Replace(response) => self.answer(response),
        }
        decision
    }

    /// Calls the completion phase, with just the fields that it declares.
    pub fn on_complete<P: OnComplete>(&mut self, plugin: &mut P) {
        self.default_number("status", 200);
        self.default_number("duration-us", 0);
        self.default_number("response-bytes", 0);
        for (name, value) in [("ended-by", "complete"), ("decisions", "")] {
            self.fields.entry(name.to_owned()).or_insert_with(|| value.into());
        }
        self.call(
            self.without_request_headers(),
            |packed| {
                plugin.on_complete(P::Fields::unpack(packed));
            },
            <P::Fields<'_> as View<'_>>::NAMES,
        );
    }

    /// Packs the fields `names` and calls the hook; `lazily` can be read by `current::field`.
    fn call<R>(
        &self,
        lazily: BTreeMap<String, Vec<u8>>,
        hook: impl FnOnce(Packed<'_>) -> R,
        names: &[&str],
    ) -> R {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(names.len());
        for name in names {
            let value = self.fields.get(*name);
            bytes.extend_from_slice(value.map(Vec::as_slice).unwrap_or_default());
            let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            ends.push(if value.is_some() { end } else { end | ABSENT });
        }
        host(|host| host.fields = Some(lazily));
        let result = hook(Packed::new(&bytes, &ends));
        host(|host| host.fields = None);
        result
    }

    /// Request headers can be read lazily in the request phase only.
    fn without_request_headers(&self) -> BTreeMap<String, Vec<u8>> {
        let mut fields = self.fields.clone();
        fields.retain(|name, _| !name.starts_with("header:") && !name.starts_with("header-list:"));
        fields
    }

    fn default_number(&mut self, name: &str, value: u64) {
        self.fields.entry(name.to_owned()).or_insert_with(|| value.to_le_bytes().to_vec());
    }

    fn edit(&mut self, family: &str, remove: &[String], set: &[Header]) {
        let replaced = set.iter().inspect(|header| check_header(header)).map(|header| &header.name);
        for name in remove.iter().chain(replaced) {
            check_name(name);
            self.fields.remove(&format!("{family}:{name}"));
            self.fields.remove(&format!("{family}-list:{name}"));
        }
        self.append(family, set);
    }

    /// Adds values beside those that are there, as the fields show them: joined, and as a list.
    fn append(&mut self, family: &str, headers: &[Header]) {
        for header in headers {
            check_header(header);
            let Header { name, value } = header;
            let list = format!("{family}-list:{name}");
            let is_there = self.fields.contains_key(&list);
            let joined = self.fields.entry(format!("{family}:{name}")).or_default();
            if is_there {
                joined.extend_from_slice(if name == "cookie" { b"; " } else { b", " });
            }
            joined.extend_from_slice(value);
            let list = self.fields.entry(list).or_default();
            // The contract's limit of a value is 16 KiB.
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            list.extend_from_slice(&length.to_le_bytes());
            list.extend_from_slice(value);
        }
    }

    fn with_header(mut self, family: &str, name: &str, value: Vec<u8>) -> Self {
        self.fields.remove(&format!("{family}:{name}"));
        self.fields.remove(&format!("{family}-list:{name}"));
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let list = [&length.to_le_bytes(), value.as_slice()].concat();
        self.fields.insert(format!("{family}:{name}"), value);
        self.fields.insert(format!("{family}-list:{name}"), list);
        self
    }

    fn remember(&mut self, attributes: &[Attribute]) {
        for attribute in attributes {
            let Attribute { name, value } = attribute;
            let legal =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(
                (1..=64).contains(&name.len()) && name.bytes().all(legal),
                "attribute `{name}`: a name is 1–64 of a-z, 0-9 and -"
            );
            assert!(value.len() <= ATTRIBUTE_BYTES_MAX, "attribute `{name}` is over 4 KiB");
            self.fields.insert(format!("attribute:{name}"), value.clone());
        }
    }

    fn answer(&mut self, response: &HttpResponse) {
        let status = response.status;
        assert!((200..=599).contains(&status), "status {status}: a response has 200–599");
        assert!(response.body.len() <= BODY_BYTES_MAX, "a response's body is over 1 MiB");
        assert!(
            response.body.is_empty() || !matches!(status, 204 | 205 | 304),
            "status {status}: such a response has no body, the host drops it"
        );
        self.fields.retain(|name, _| !name.starts_with("response-header"));
        self.append("response-header", &response.headers);
        self.fields.insert("status".to_owned(), u64::from(status).to_le_bytes().to_vec());
    }
}

/// Bounds of the contract.
const ATTRIBUTE_BYTES_MAX: usize = 4 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;
const HEADER_NAME_BYTES_MAX: usize = 256;
const HEADER_VALUE_BYTES_MAX: usize = 16 << 10;

/// Headers that the host owns.
const OWNED: [&str; 7] =
    ["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];

fn check_name(name: &str) {
    assert!(
        (1..=HEADER_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()),
        "header `{name}`: a name is 1–256 visible ASCII characters in lower case"
    );
    assert!(
        !OWNED.contains(&name) && !name.starts_with("pillion-"),
        "header `{name}` belongs to the host"
    );
}

fn check_header(header: &Header) {
    let Header { name, value } = header;
    check_name(name);
    assert!(value.len() <= HEADER_VALUE_BYTES_MAX, "header `{name}` is over 16 KiB");
    assert!(
        !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
        "header `{name}` holds CR, LF or NUL"
    );
}
