//! JSON bodies in and out, with errors that say where the body is wrong.

use std::error::Error;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::secrets::{REDACTED, is_secret, rule_of};

/// A request's body, unless [`BodyBytesMax`] says otherwise: a tweet's 280 characters or a profile,
/// in JSON's longest escapes, fit many times; larger bodies are only meant to use memory.
pub const JSON_BODY_BYTES_MAX: usize = 64 * 1024;

/// An extension of requests: the size of a body that the process takes, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct BodyBytesMax(pub usize);

/// A JSON body. As an argument of a handler it answers 400 for what is not JSON or not a `T`,
/// saying line, column and key, 413 over the request's [`BodyBytesMax`] (or else
/// [`JSON_BODY_BYTES_MAX`]), and 415 for another type. As a response it is `application/json`.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let limit = parts.extensions.get::<BodyBytesMax>().map_or(JSON_BODY_BYTES_MAX, |max| max.0);
        if !is_json(&parts.headers) {
            return Err(Problem::unsupported_media_type(parts.headers.get(CONTENT_TYPE)));
        }
        let bytes = Limited::new(body, limit)
            .collect()
            .await
            .map_err(|error| unreadable(&*error, limit))?
            .to_bytes();
        parse(&bytes).map(Self)
    }
}

/// Reads a `T` from a JSON object; nothing may follow it. Serde would also take an array for a
/// struct, key by key in the order of the declaration, which no caller can mean.
fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::invalid("body", None, "the body: expected an object, not an array"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // Where the JSON itself is broken, the path is empty or ends in a key that is not known.
        let path = error.path().to_string();
        let key = match path.trim_end_matches('?').trim_end_matches('.') {
            "" => "body",
            key => key,
        };
        // A body that is all wrong may be a secret that was sent alone.
        if is_secret(key) || key == "body" {
            let sent = is_secret(key).then_some(REDACTED);
            return Problem::invalid(key, sent, format!("$.{key}: {}", rule_of(error.inner())));
        }
        let sent = sent_at(bytes, error.path());
        Problem::invalid(key, sent.as_deref(), format!("$.{key}: {}", error.inner()))
    })?;
    json.end().map_err(|error| Problem::invalid("body", None, format!("the body: {error}")))?;
    Ok(value)
}

/// What the body holds where the error is, if it holds a short value there.
fn sent_at(bytes: &[u8], path: &serde_path_to_error::Path) -> Option<String> {
    const SENT_CHARS_MAX: usize = 100;
    let mut value: &serde_json::Value = &serde_json::from_slice(bytes).ok()?;
    for segment in path {
        value = match segment {
            serde_path_to_error::Segment::Map { key } => value.get(key)?,
            serde_path_to_error::Segment::Seq { index } => value.get(index)?,
            _ => return None,
        };
    }
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => return None,
        other => other.to_string(),
    };
    (text.chars().count() <= SENT_CHARS_MAX).then_some(text)
}

/// Whether the content type is JSON: `application/json` or `application/*+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A body that did not arrive whole: too large for us or for a layer outside, or broken off.
fn unreadable(error: &(dyn Error + 'static), limit: usize) -> Problem {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return Problem::body_too_large(limit);
        }
        next = error.source();
    }
    Problem::invalid("body", None, "the body broke off before its end; send it again")
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
                .into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::ids::TweetId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Post {
        text: String,
        reply: Option<Reply>,
    }

    #[derive(Debug, Deserialize)]
    struct Reply {
        in_reply_to_tweet_id: TweetId,
    }

    async fn read(kind: &str, body: impl Into<Body>) -> Result<Post, (u16, Value)> {
        let request =
            http::Request::builder().header("content-type", kind).body(body.into()).unwrap();
        match Json::<Post>::from_request(request, &()).await {
            Ok(Json(post)) => Ok(post),
            Err(problem) => {
                Err((problem.status().as_u16(), Value::Object(problem.document().clone())))
            }
        }
    }

    #[tokio::test]
    async fn s17_a_body_may_be_as_large_as_the_process_takes() {
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(JSON_BODY_BYTES_MAX));
        let read = async |max: Option<BodyBytesMax>| {
            let request = http::Request::post("/").header(CONTENT_TYPE, "application/json");
            let mut request = request.body(Body::from(long.clone())).unwrap();
            if let Some(max) = max {
                request.extensions_mut().insert(max);
            }
            Json::<serde_json::Value>::from_request(request, &()).await.map(|json| json.0)
        };
        let whole = read(Some(BodyBytesMax(1 << 20))).await.unwrap();
        assert_eq!(whole["text"].as_str().map(str::len), Some(JSON_BODY_BYTES_MAX));
        for (max, shown) in [(None, "65536"), (Some(BodyBytesMax(70)), "70")] {
            let problem = read(max).await.unwrap_err();
            assert_eq!(problem.status(), 413);
            let document = Value::Object(problem.document().clone()).to_string();
            assert!(document.contains(shown), "{document}");
        }
    }

    #[tokio::test]
    async fn a_good_body_is_read() {
        let post = read("application/json; charset=utf-8", r#"{"text":"hi"}"#).await.unwrap();
        assert!(post.text == "hi" && post.reply.is_none());
        let body = r#"{"text":"hi","reply":{"in_reply_to_tweet_id":"20"}}"#;
        let post = read("application/json", body).await.unwrap();
        assert_eq!(post.reply.unwrap().in_reply_to_tweet_id.get(), 20);
    }

    #[tokio::test]
    async fn a_bad_body_is_told_where_it_is_bad() {
        for (body, key, says) in [
            (r#"{"text":"a", "#, "body", "EOF while parsing a value at line 1 column 13"),
            (r#"{"reply":{"#, "reply", "EOF while parsing an object at line 1 column 10"),
            (r#"{"text":"#, "text", "EOF while parsing a value at line 1 column 8"),
            (r#"{"text": 1}"#, "text", "invalid type: integer `1`, expected a string at line 1"),
            (r#"{"text":"a"} x"#, "body", "trailing characters at line 1 column 14"),
            (r"{}", "body", "missing field `text`"),
            (r#" ["a", null]"#, "body", "expected an object, not an array"),
            (r#"{"text":"a","pol":1}"#, "pol", "unknown field `pol`, expected `text` or `reply`"),
            (
                "{\"text\":\"a\",\n\"reply\":{\"in_reply_to_tweet_id\":\"x\"}}",
                "reply.in_reply_to_tweet_id",
                "expected a string of 1 to 19 decimal digits at line 2 column",
            ),
        ] {
            let (status, document) = read("application/json", body).await.unwrap_err();
            assert_eq!(status, 400, "{body}");
            let error = &document["errors"][0];
            assert!(error["message"].as_str().unwrap().contains(says), "{error}");
            assert!(error["parameters"].get(key).is_some(), "{error}");
        }
    }

    #[test]
    fn s19_a_secret_in_the_wrong_form_is_not_repeated() {
        #[derive(Debug, Deserialize)]
        struct Login {
            #[expect(dead_code, reason = "it is never read")]
            password: String,
        }
        let long = "7".repeat(150);
        for (value, shown) in [
            ("12345678", "12345678"),
            ("[\"hunter2\"]", "hunter2"),
            ("{\"a\": \"hunter2\"}", "hunter2"),
            (long.as_str(), "777"),
        ] {
            for body in [format!("{{\"password\": {value}}}"), value.to_owned()] {
                let problem = parse::<Login>(&Bytes::from(body.clone())).unwrap_err();
                let text = Value::Object(problem.document().clone()).to_string();
                assert!(!text.contains(shown), "{body}: {text}");
                assert!(text.contains("expected") || text.contains("missing field"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a10_the_bound_and_the_content_type_hold() {
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(JSON_BODY_BYTES_MAX));
        assert_eq!(read("application/json", long).await.unwrap_err().0, 413);
        let (status, document) = read("text/plain", "{}").await.unwrap_err();
        assert_eq!((status, &document["status"]), (415, &Value::from(415)));
        let [error] = &document["errors"].as_array().unwrap()[..] else { panic!("{document}") };
        assert!(error["message"].as_str().unwrap().contains("Content-Type: application/json"));
        assert_eq!(error["parameters"]["Content-Type"][0], "text/plain");
    }
}
