//! What a token request says, and which client it comes from.
//!
//! Parameters may come as a form, as JSON or in the query, and the client may show itself by
//! HTTP Basic or by parameters: the libraries that people use differ in this.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::extract::{FromRequest, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use pillion_chassis::secrets::rule_of;

use crate::error::OAuthError;
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::App;

/// The body of a token request: its longest parts are a redirect address and a code.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The parameters of a token request.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    parameters: BTreeMap<String, Secret>,
    basic: Option<Presented>,
}

/// Who a client says to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Presented {
    client_id: String,
    secret: Option<Secret>,
}

/// A client that has shown who it is, as far as it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Client {
    /// Our own, which keep no secret.
    FirstParty,
    /// One that a user registered.
    App(App),
}

impl TokenRequest {
    /// A parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&Secret, OAuthError> {
        self.optional(name)
            .ok_or_else(|| OAuthError::InvalidRequest(format!("the parameter {name} is missing")))
    }

    /// A parameter that may be there; an empty one is not.
    pub(crate) fn optional(&self, name: &str) -> Option<&Secret> {
        self.parameters.get(name).filter(|value| !value.reveal().is_empty())
    }

    /// Who the client says to be; both ways at once must agree.
    fn presented(&self) -> Result<Option<Presented>, OAuthError> {
        let named = self.optional("client_id").map(|client_id| client_id.reveal().to_owned());
        let secret = self.optional("client_secret").cloned();
        match (&self.basic, named) {
            (None, None) => Ok(None),
            (None, Some(client_id)) => Ok(Some(Presented { client_id, secret })),
            (Some(basic), named) if named.as_ref().is_none_or(|id| *id == basic.client_id) => {
                Ok(Some(basic.clone()))
            }
            (Some(_), _) => Err(OAuthError::InvalidRequest(
                "the header Authorization and the parameter client_id name different clients"
                    .to_owned(),
            )),
        }
    }

    fn add(&mut self, name: String, value: String) -> Result<(), OAuthError> {
        match self.parameters.entry(name) {
            Entry::Vacant(free) => {
                free.insert(Secret::presented(value));
                Ok(())
            }
            Entry::Occupied(same) if same.get().reveal() == value => Ok(()),
            Entry::Occupied(other) => Err(OAuthError::InvalidRequest(format!(
                "the parameter {} is there twice with different values",
                other.key()
            ))),
        }
    }
}

impl<S: Sync> FromRequest<S> for TokenRequest {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        let (parts, body) = request.into_parts();
        let mut parsed = Self { parameters: BTreeMap::new(), basic: basic(&parts.headers)? };
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            parsed.add(name, value)?;
        }
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| {
            OAuthError::InvalidRequest(format!(
                "the body is larger than {BODY_BYTES_MAX} bytes, or broke off"
            ))
        })?;
        for (name, value) in body_parameters(&parts.headers, &body.to_bytes())? {
            parsed.add(name, value)?;
        }
        Ok(parsed)
    }
}

fn body_parameters(headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>, OAuthError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-www-form-urlencoded" => {
            Ok(form_urlencoded::parse(body).into_owned().collect())
        }
        "application/json" => {
            let object: BTreeMap<String, String> =
                serde_json::from_slice(body).map_err(|error| {
                    OAuthError::InvalidRequest(format!(
                        "the body must be a JSON object of strings: {}",
                        rule_of(&error)
                    ))
                })?;
            Ok(object.into_iter().collect())
        }
        other => Err(OAuthError::InvalidRequest(format!(
            "the body's Content-Type is [{other}]; it must be application/x-www-form-urlencoded \
             or application/json"
        ))),
    }
}

/// The client in a Basic header; other kinds of authorization are not for this route.
fn basic(headers: &HeaderMap) -> Result<Option<Presented>, OAuthError> {
    const MALFORMED: OAuthError = OAuthError::InvalidClient(
        "the header Authorization must be Basic with base64 of client_id:client_secret",
    );
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let Ok(value) = value.to_str() else {
        return Ok(None);
    };
    let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
    // Such as the access token that clients send with every call: not for this route.
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let credentials = STANDARD.decode(credentials.trim()).map_err(|_| MALFORMED)?;
    let credentials = String::from_utf8(credentials).map_err(|_| MALFORMED)?;
    let (client_id, secret) = credentials.split_once(':').ok_or(MALFORMED)?;
    // RFC 6749, 2.3.1: both are form-encoded before they are joined.
    let secret = Secret::presented(form_decoded(secret));
    Ok(Some(Presented {
        client_id: form_decoded(client_id),
        secret: Some(secret).filter(|secret| !secret.reveal().is_empty()),
    }))
}

fn form_decoded(text: &str) -> String {
    // As the value of a parameter without a name.
    let parameter = format!("={text}");
    form_urlencoded::parse(parameter.as_bytes())
        .next()
        .map_or_else(|| text.to_owned(), |(_, value)| value.into_owned())
}

impl Identity {
    /// The client that a request comes from; our own if it names none.
    pub(crate) async fn authenticate(&self, request: &TokenRequest) -> Result<Client, OAuthError> {
        const WRONG: OAuthError =
            OAuthError::InvalidClient("the client is unknown or its secret is wrong");
        let Some(presented) = request.presented()? else {
            return Ok(Client::FirstParty);
        };
        if presented.client_id == self.first_party_client_id {
            return if presented.secret.is_none() { Ok(Client::FirstParty) } else { Err(WRONG) };
        }
        let app = self.store.app(&presented.client_id).await?.ok_or(WRONG)?;
        let presented = presented.secret.map(|secret| secret.hash());
        if presented == app.secret_hash { Ok(Client::App(app)) } else { Err(WRONG) }
    }

    /// The id of a client.
    pub(crate) fn client_id<'a>(&'a self, client: &'a Client) -> &'a str {
        match client {
            Client::FirstParty => &self.first_party_client_id,
            Client::App(app) => &app.client_id,
        }
    }
}
