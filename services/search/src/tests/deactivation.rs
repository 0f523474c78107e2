//! Accounts that are new, have another handle, are deactivated, back and gone.

use pillion_chassis::Clock as _;
use pillion_chassis::testing::{BACKENDS, assert_rebuilds, do_step, told};
use serde_json::json;

use super::harness::{ANN, BOB, Harness};

async fn total(service: &Harness, query: &str) -> i64 {
    let path = format!("/2/tweets/counts/recent?query={}", super::harness::escape(query));
    service.get(&path).await.body["meta"]["total_tweet_count"].as_i64().unwrap()
}

#[tokio::test]
async fn a_deactivated_account_is_not_found_until_it_is_back() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let tweet = service.post(ANN, "tea").await;
        let other = service.post(BOB, "tea").await;
        let of_ann = service.retweet(BOB, tweet, ANN).await;
        let by_ann = service.retweet(ANN, other, BOB).await;
        let whole = [by_ann, of_ann, other, tweet];
        assert_eq!(service.found("tea").await, whole, "{backend:?}");
        let before = service.journal.digests().await.unwrap();
        service.hear(told::deactivated(ANN, service.clock.now())).await;
        assert_eq!(service.found("tea").await, [other]);
        assert!(service.found("from:ann OR retweets_of:ann").await.is_empty());
        assert_eq!(total(&service, "tea").await, 1);
        let delivered = service.delivered.lock().unwrap().clone();
        assert_rebuilds(&service.journal, &delivered).await;
        service.hear(told::reactivated(ANN, service.clock.now())).await;
        assert_eq!(service.found("tea").await, whole);
        assert_eq!(total(&service, "tea").await, 4);
        assert_eq!(service.journal.digests().await.unwrap(), before);
    }
}

#[tokio::test]
async fn a_new_handle_leads_to_all_tweets_and_the_old_one_to_none() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let tweet = service.post(ANN, "tea").await;
        let data = json!({"user_id": "11", "username": "Anna"});
        assert_eq!(do_step(&service.router, 1, "rename", &data).await.status, 503);
        service.hear(told::renamed(ANN, "Ann", "Anna", service.clock.now())).await;
        do_step(&service.router, 1, "rename", &data).await.data();
        assert_eq!(service.found("from:anna").await, [tweet], "{backend:?}");
        assert!(service.found("from:ann").await.is_empty());
        // The old one may be somebody else's.
        service.hear(told::renamed(BOB, "bob", "ANN", service.clock.now())).await;
        let of_bob = service.post(BOB, "tea").await;
        assert_eq!(service.found("from:ann").await, [of_bob]);
        service.delete_user(ANN).await;
        do_step(&service.router, 2, "rename", &data).await.data();
        let delivered = service.delivered.lock().unwrap().clone();
        assert_rebuilds(&service.journal, &delivered).await;
    }
}

#[tokio::test]
async fn steps_wait_for_the_news() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let data = json!({"user_id": "77"});
        assert_eq!(do_step(&service.router, 1, "index", &data).await.status, 503, "{backend:?}");
        service.register(77, "new").await;
        do_step(&service.router, 1, "index", &data).await.data();
        let early = do_step(&service.router, 1, "purge", &data).await;
        assert!(early.body["detail"].as_str().unwrap().contains("user.deleted"), "{}", early.body);
        service.delete_user(77).await;
        do_step(&service.router, 1, "purge", &data).await.data();
        assert_eq!(do_step(&service.router, 1, "fly", &data).await.status, 503);
    }
}
