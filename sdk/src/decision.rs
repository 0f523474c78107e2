//! Building decisions: edits of headers, attributes and the caller, whole responses.

use serde::Serialize;

use crate::{
    Attribute, Caller, Decision, Edits, Header, HttpResponse, ResponseDecision, ResponseEdits,
};

impl Edits {
    /// No change yet.
    pub const fn new() -> Self {
        Self {
            remove_headers: Vec::new(),
            set_headers: Vec::new(),
            append_headers: Vec::new(),
            attributes: Vec::new(),
            caller: None,
        }
    }

    /// Replaces every value of a header; twice with one name gives two values.
    #[must_use]
    pub fn set_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.set_headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Adds one more value of a header, beside those that are there: for `set-cookie`, `vary`.
    #[must_use]
    pub fn append_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.append_headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Removes every value of a header.
    #[must_use]
    pub fn remove_header(mut self, name: impl Into<String>) -> Self {
        self.remove_headers.push(name.into());
        self
    }

    /// Keeps something for later phases and plugins; see [`Attribute`].
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.attributes.push(Attribute { name: name.into(), value: value.into() });
        self
    }

    /// Says who makes the request. Needs the grant `identity`.
    #[must_use]
    pub fn caller(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }
}

impl Default for Edits {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseEdits {
    /// No change yet.
    pub const fn new() -> Self {
        Self {
            remove_headers: Vec::new(),
            set_headers: Vec::new(),
            append_headers: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Replaces every value of a header; twice with one name gives two values.
    #[must_use]
    pub fn set_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.set_headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Adds one more value of a header, beside those that are there: for `set-cookie`, `vary`.
    #[must_use]
    pub fn append_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.append_headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Removes every value of a header.
    #[must_use]
    pub fn remove_header(mut self, name: impl Into<String>) -> Self {
        self.remove_headers.push(name.into());
        self
    }

    /// Keeps something for the completion phase and for plugins further out.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.attributes.push(Attribute { name: name.into(), value: value.into() });
        self
    }
}

impl Default for ResponseEdits {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpResponse {
    /// An empty response; `status` is 200–599.
    pub const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status)
            .header("content-type", "text/plain; charset=utf-8")
            .body(text.into().into_bytes())
    }

    /// A problem document (RFC 9457) of the type `about:blank`; see [`Problem`] for others.
    pub fn problem(status: u16, title: &str, detail: &str) -> Self {
        Problem { title, detail, kind: Problem::BLANK, status }.into()
    }

    /// Adds a header. The host adds `content-length`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_slice())
    }
}

/// A problem document (RFC 9457).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Problem<'a> {
    /// The kind of problem in a few words, the same for all of its kind.
    pub title: &'a str,
    /// What went wrong this time and what to do.
    pub detail: &'a str,
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The response's status.
    pub status: u16,
}

impl Problem<'_> {
    /// The type of a problem that the status alone describes.
    pub const BLANK: &'static str = "about:blank";
}

impl From<Problem<'_>> for HttpResponse {
    fn from(problem: Problem<'_>) -> Self {
        // Strings and a number always serialise.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        Self::new(problem.status).header("content-type", "application/problem+json").body(body)
    }
}

impl From<Edits> for Decision {
    fn from(edits: Edits) -> Self {
        Self::Modify(edits)
    }
}

impl From<HttpResponse> for Decision {
    fn from(response: HttpResponse) -> Self {
        Self::Respond(response)
    }
}

impl From<ResponseEdits> for ResponseDecision {
    fn from(edits: ResponseEdits) -> Self {
        Self::Modify(edits)
    }
}

impl From<HttpResponse> for ResponseDecision {
    fn from(response: HttpResponse) -> Self {
        Self::Replace(response)
    }
}
