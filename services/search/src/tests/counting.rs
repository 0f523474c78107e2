//! Counts.

use pillion_chassis::testing::BACKENDS;
use serde_json::json;

use super::harness::{ANN, BOB, Harness};

#[tokio::test]
async fn tweets_are_counted_by_when_they_came() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        for (time, by) in [
            ("05T08:59:59.999", ANN),
            ("05T09:00:00.000", ANN),
            ("05T09:59:59.000", ANN),
            ("07T00:00:00.000", BOB),
        ] {
            service.clock.set(format!("2026-07-{time}Z").parse().unwrap());
            service.post(by, "tea").await;
        }
        service.clock.set("2026-07-08T10:30:00.000Z".parse().unwrap());
        service.post(ANN, "tea").await;

        let path = "/2/tweets/counts/recent?query=tea";
        let hours = service.get(path).await;
        assert_eq!(hours.status, 200, "{}", hours.body);
        assert_eq!(hours.body["meta"], json!({"total_tweet_count": 5}));
        let all = hours.body["data"].as_array().unwrap();
        assert_eq!(all.len(), 7 * 24 + 1);
        assert_eq!(all[0]["start"], "2026-07-01T10:30:00.000Z");
        assert_eq!(all[0]["end"], "2026-07-01T11:00:00.000Z");
        let counted: Vec<_> = all.iter().filter(|count| count["tweet_count"] != 0).collect();
        assert_eq!(
            serde_json::to_value(counted).unwrap(),
            json!([
                {"start": "2026-07-05T08:00:00.000Z", "end": "2026-07-05T09:00:00.000Z", "tweet_count": 1},
                {"start": "2026-07-05T09:00:00.000Z", "end": "2026-07-05T10:00:00.000Z", "tweet_count": 2},
                {"start": "2026-07-07T00:00:00.000Z", "end": "2026-07-07T01:00:00.000Z", "tweet_count": 1},
                {"start": "2026-07-08T10:00:00.000Z", "end": "2026-07-08T10:30:00.000Z", "tweet_count": 1},
            ]),
            "{backend:?}"
        );

        let minutes = service.get(&format!("{path}&granularity=minute")).await;
        assert_eq!(minutes.body["data"].as_array().unwrap().len(), 7 * 1_440 + 1);
        assert_eq!(minutes.body["meta"]["total_tweet_count"], 5);
        let some = "&granularity=day&start_time=2026-07-05T09:00:00Z&end_time=2026-07-07T00:00:00Z";
        let days = service.get(&format!("{path}{some}")).await;
        assert_eq!(
            days.body["data"],
            json!([
                {"start": "2026-07-05T09:00:00.000Z", "end": "2026-07-06T00:00:00.000Z", "tweet_count": 2},
                {"start": "2026-07-06T00:00:00.000Z", "end": "2026-07-07T00:00:00.000Z", "tweet_count": 0},
            ])
        );

        service.protect(BOB, true).await;
        assert_eq!(service.get(path).await.body["meta"]["total_tweet_count"], 4);
    }
}

#[tokio::test]
async fn counts_are_for_apps_and_say_what_is_wrong() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let path = "/2/tweets/counts/recent?query=tea";
        let reply = service.ask(Harness::request("GET", path, Some(ANN), "")).await;
        assert_eq!(reply.status, 403);
        assert_eq!(
            reply.body["type"],
            "https://api.twitter.com/2/problems/unsupported-authentication"
        );
        let reply = service.get(&format!("{path}&granularity=week")).await;
        assert!(reply.message().contains("is not one of [minute,hour,day]"), "{}", reply.body);
        let reply = service.get("/2/tweets/counts/recent?query=has:links").await;
        assert!(reply.message().contains("cannot stand alone"), "{}", reply.body);
    }
}
