//! Parameters in the path, with X's 400 for those that do not fit.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The parameters of the path. As an argument of a handler it answers 400 for a value that is
/// not a `T`, naming the parameter and what is expected.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let sent = RawPathParams::from_request_parts(parts, state).await;
                let mut sent = sent.iter().flatten();
                // Of a single parameter axum does not say which one it is.
                let only = sent.next().filter(|_| sent.next().is_none());
                Err(bad(error.into_kind(), only))
            }
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

fn bad(kind: ErrorKind, only: Option<(&str, &str)>) -> Problem {
    let (key, value, rule) = match kind {
        ErrorKind::DeserializeError { key, value, message } => (key, value, message),
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            (key, value, format!("expected {expected_type}"))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => {
            (key, String::new(), "it is not UTF-8 once percent-decoded".to_owned())
        }
        other => {
            let (key, value) = only.unwrap_or(("path", ""));
            (key.to_owned(), value.to_owned(), other.to_string())
        }
    };
    let message = format!("The `{key}` path parameter value [{value}] is not valid: {rule}");
    Problem::invalid(&key, Some(&value), message)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::ids::UserId;

    struct Name;

    impl<'de> serde::Deserialize<'de> for Name {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let name = String::deserialize(deserializer)?;
            if name == "x" { Err(serde::de::Error::custom("no name")) } else { Ok(Self) }
        }
    }

    async fn ask(path: &str) -> (u16, String) {
        let router: Router = Router::new()
            .route("/users/{id}", get(async |Path(id): Path<UserId>| id.to_string()))
            .route("/names/{name}", get(async |Path(Name): Path<Name>| "a name"));
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_id_must_be_an_id() {
        assert_eq!(ask("/users/12").await, (200, "12".to_owned()));
        let (status, body) = ask("/users/jack").await;
        assert_eq!(status, 400);
        assert!(body.contains("expected a string of 1 to 19 decimal digits"), "{body}");
        assert!(body.contains(r#""parameters":{"id":["jack"]}"#), "{body}");
        assert_eq!(ask("/users/%ff").await.0, 400);
    }

    #[tokio::test]
    async fn a_type_that_reads_itself_from_a_string_is_named_too() {
        let (status, body) = ask("/names/x").await;
        assert_eq!(status, 400);
        assert!(body.contains(r#""parameters":{"name":["x"]}"#), "{body}");
        assert!(body.contains("is not valid: no name"), "{body}");
    }
}
