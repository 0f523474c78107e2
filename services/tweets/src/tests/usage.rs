//! How much apps read.

use std::time::Duration;

use pillion_chassis::testing::caller;
use serde_json::json;

use super::harness::{ANN, BOB, Harness, on_each};

#[tokio::test]
async fn a13_what_an_app_reads_is_counted_by_day() {
    on_each(async |tweets: Harness| {
        let app = || Some(caller(None, ""));
        let report = async |query: &str| {
            let path = format!("/2/usage/tweets{query}");
            tweets.send_as("GET", &path, app(), "").await
        };
        let client_id = caller(None, "").client_id;
        let none = report("?usage.fields=daily_client_app_usage,project_usage").await;
        assert_eq!(none.body, json!({"data": {"project_usage": 0}}));
        let one = tweets.post_text(ANN, "one").await;
        let two = tweets.post_text(ANN, "two").await;
        let both = format!("/internal/tweets?ids={one},{two},20");
        tweets.send_as("GET", &both, app(), "").await;
        tweets.send_as("GET", "/2/users/11/tweets", app(), "").await;
        tweets.clock.advance(Duration::from_hours(24));
        tweets.send_as("GET", &format!("/internal/tweets?ids={one}"), app(), "").await;
        let fields = "usage.fields=daily_client_app_usage,daily_project_usage,project_usage";
        let usage = json!([
            {"date": "2026-07-01T00:00:00.000Z", "usage": 4},
            {"date": "2026-07-02T00:00:00.000Z", "usage": 1},
        ]);
        let data = report(&format!("?{fields}")).await.body["data"].clone();
        assert_eq!(data["project_usage"], 5);
        assert_eq!(data["daily_project_usage"]["usage"], usage);
        assert_eq!(
            data["daily_client_app_usage"],
            json!([{"client_app_id": client_id, "usage": usage, "usage_result_count": 2}])
        );
        assert_eq!(report("?days=1").await.body["data"]["project_usage"], 1);
        assert!(report("").await.body["data"].get("daily_project_usage").is_none());
        assert_eq!(report("?days=91").await.status, 400);
        assert_eq!(tweets.send("GET", "/2/usage/tweets", BOB, "").await.status, 403);
        // It is written, and gone when nobody can ask for it any more.
        let tweets = tweets.restart().await;
        let path = "/2/usage/tweets?days=90";
        let kept = tweets.send_as("GET", path, app(), "").await;
        assert_eq!(kept.body["data"]["project_usage"], 5);
    })
    .await;
}
