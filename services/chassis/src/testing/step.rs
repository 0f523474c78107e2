//! Steps of sagas, as whoever conducts one asks for them and takes them back.

use axum::Router;
use serde_json::{Value, json};

use super::exchange::{Reply, request, send};

/// Asks a service for a step of the saga of that number, before its pivot.
pub async fn do_step(router: &Router, saga: i64, step: &str, data: &Value) -> Reply {
    order(router, "PUT", saga, step, data).await
}

/// Has it taken back.
pub async fn undo_step(router: &Router, saga: i64, step: &str, data: &Value) -> Reply {
    order(router, "DELETE", saga, step, data).await
}

async fn order(router: &Router, method: &str, saga: i64, step: &str, data: &Value) -> Reply {
    let path = format!("/internal/sagas/{saga}/steps/{step}");
    let body = json!({"saga": "test", "kind": "compensated", "data": data}).to_string();
    send(router, request(method, &path, Some(super::by_service("tests")), &body)).await
}
