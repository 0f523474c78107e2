//! Asks a participant for a step, or to take one back, and understands the answer.

use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::definition::{Saga, Step};
use super::log::Row;
use super::participant::{FAILED, Order, REFUSED, STEP_HEADER};
use super::{Reason, Sagas};
use crate::crash::crash_point;
use crate::database::DatabaseError;
use crate::peers::{PEER_ANSWER_TIME_MAX, PeerError, body_of};

/// What a refusal may say about itself.
const DOCUMENT_BYTES_MAX: usize = 32 * 1024;

/// What a participant, or what is in front of it, answered.
pub(super) enum Answer {
    /// What it answered, when there is something that later steps need to know.
    Done(Value),
    /// `is_final`: the participant itself said so, and will say nothing else.
    Refused { reason: Reason, is_final: bool },
    /// `is_own`: the participant itself failed; it was there.
    Failed { error: String, is_own: bool },
}

impl Sagas {
    /// Has a step done or taken back. This service is called like the others, through all that
    /// stands in front of it: plugins have the same say in every step.
    pub(super) async fn ask(
        &self,
        method: Method,
        row: &Row,
        saga: &Saga,
        step: &Step,
    ) -> Result<Answer, DatabaseError> {
        let data = row.data()?;
        let query = query_of(step, &data);
        let path = format!("/internal/sagas/{}/steps/{}{query}", row.id(), step.name);
        let order = Order {
            saga: row.name.clone(),
            kind: step.kind.word().to_owned(),
            has_begun: saga.steps.first() == Some(step) && step.service == self.0.service,
            formerly: step.former_name.map(str::to_owned),
            data,
        };
        crash_point!("saga.send.before", &row.name, &row.step, method.as_str());
        let answer = self.call(&method, row, step, &path, &order).await;
        crash_point!("saga.send.after", &row.name, &row.step, method.as_str());
        Ok(answer)
    }

    async fn call(
        &self,
        method: &Method,
        row: &Row,
        step: &Step,
        path: &str,
        order: &Order,
    ) -> Answer {
        let failed = |error: String| Answer::Failed { error, is_own: false };
        let body = match serde_json::to_vec(order) {
            Ok(body) => body,
            Err(error) => return failed(error.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, self.0.tokens.bearer())
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => return failed(error.to_string()),
        };
        let exchange = async {
            let response = self.0.peers.call(step.service, request).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, PeerError>((parts, body_of(step.service, body).await?))
        };
        let (parts, body) = match timeout(PEER_ANSWER_TIME_MAX, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return failed(crate::problem::chain(&error)),
            Err(_) => return failed(PeerError::TimedOut(step.service.to_owned()).to_string()),
        };
        let own = parts.headers.get(&STEP_HEADER).map(http::HeaderValue::as_bytes);
        answer_of(row, parts.status, own, &body)
    }
}

/// What an answer means.
fn answer_of(row: &Row, status: StatusCode, own: Option<&[u8]>, body: &Bytes) -> Answer {
    /// What says that the call did not get to where it belongs, or came at a bad moment.
    const PASSING: [StatusCode; 6] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if status.is_success() {
        let answer: Option<Value> = serde_json::from_slice(body).ok();
        return match answer.as_ref().and_then(|answer| answer.get("data")) {
            Some(data) => Answer::Done(data.clone()),
            None => {
                Answer::Failed { error: format!("answered {status} without `data`"), is_own: false }
            }
        };
    }
    let refused = own == Some(REFUSED.as_bytes());
    let failed = own == Some(FAILED.as_bytes());
    let document = || {
        let plain = json!({ "title": "Refused", "detail": "No reason was given.", "status": status.as_u16() });
        // It is kept, so it has a bound.
        let short = Some(body).filter(|body| body.len() <= DOCUMENT_BYTES_MAX);
        let document = short.and_then(|body| serde_json::from_slice(body).ok());
        document.filter(Value::is_object).unwrap_or(plain)
    };
    if refused || (!failed && status.is_client_error() && !PASSING.contains(&status)) {
        let reason = Reason::new(&row.step, status, document());
        return Answer::Refused { reason, is_final: refused };
    }
    let document = document();
    let detail = document.get("detail").and_then(Value::as_str).unwrap_or_default();
    Answer::Failed { error: format!("answered {status}: {detail}"), is_own: failed }
}

/// Members of the data that plugins in front of the participant may look at.
fn query_of(step: &Step, data: &Value) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for field in step.shows {
        match data.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                query.append_pair(field, text);
            }
            Some(other) => {
                query.append_pair(field, &other.to_string());
            }
        }
    }
    let query = query.finish();
    if query.is_empty() { query } else { format!("?{query}") }
}
