//! Following, unfollowing, and who may.

use pillion_chassis::testing::caller;
use serde_json::json;

use super::harness::{ANN, BOB, CID, GONE, Harness, on_each};

#[tokio::test]
async fn following_once_more_changes_nothing() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.follow(ANN, BOB).await;
        assert_eq!(graph.list(CID, ANN, "following").await, [BOB]);
        assert_eq!(graph.list(CID, BOB, "followers").await, [ANN]);
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((0, 1), (1, 0)));
        for _ in 0..2 {
            let reply = graph.end(ANN, "following", BOB).await;
            assert_eq!(*reply.data(), json!({"following": false}));
        }
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((0, 0), (0, 0)));
        assert!(graph.list(CID, BOB, "followers").await.is_empty());
        assert_eq!(graph.events().await, ["followed 11>12", "unfollowed 11>12"]);
    })
    .await;
}

#[tokio::test]
async fn two_may_follow_each_other() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.follow(BOB, ANN).await;
        graph.end(ANN, "following", BOB).await;
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((1, 0), (0, 1)));
        assert_eq!(graph.list(ANN, ANN, "followers").await, [BOB]);
    })
    .await;
}

#[tokio::test]
async fn nobody_follows_blocks_or_mutes_themself() {
    on_each(async |graph: Harness| {
        for (what, says) in [
            ("following", "You cannot follow yourself."),
            ("blocking", "You cannot block yourself."),
            ("muting", "You cannot mute yourself."),
        ] {
            assert_eq!(graph.begin(ANN, what, ANN).await.invalid("target_user_id"), says);
        }
        assert!(graph.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn who_is_not_there_cannot_be_followed_blocked_or_muted() {
    on_each(async |graph: Harness| {
        for (what, verb) in [("following", "follow"), ("blocking", "block"), ("muting", "mute")] {
            let says = format!("You cannot {verb} an account that is not active.");
            assert_eq!(graph.begin(ANN, what, GONE).await.invalid("target_user_id"), says);
            let says = format!("You cannot un{verb} an account that is not active.");
            assert_eq!(graph.end(ANN, what, GONE).await.invalid("target_user_id"), says);
        }
        assert_eq!(graph.begin(GONE, "following", ANN).await.status, 401);
        assert!(graph.events().await.is_empty());
    })
    .await;
}

/// The users service may answer from before a deletion that its events have told of.
#[tokio::test]
async fn a_deletion_that_was_told_of_counts_at_once() {
    on_each(async |graph: Harness| {
        graph.tell_of_deletion(BOB).await;
        for what in ["following", "blocking", "muting"] {
            graph.begin(ANN, what, BOB).await.invalid("target_user_id");
            assert_eq!(graph.begin(BOB, what, ANN).await.status, 401);
        }
        assert!(graph.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_path_must_be_the_callers_own() {
    on_each(async |graph: Harness| {
        let says = |name| {
            format!(
                "The `{name}` query parameter value [11] must be the same as the authenticating \
                 user [12]"
            )
        };
        let body = json!({"target_user_id": "13"}).to_string();
        for what in ["following", "blocking", "muting"] {
            let path = format!("/2/users/11/{what}");
            assert_eq!(graph.send("POST", &path, BOB, &body).await.invalid("id"), says("id"));
            let path = format!("/2/users/11/{what}/13");
            let reply = graph.send("DELETE", &path, BOB, "").await;
            assert_eq!(reply.invalid("source_user_id"), says("source_user_id"));
        }
        for what in ["blocking", "muting"] {
            let reply = graph.get(BOB, &format!("/2/users/11/{what}")).await;
            assert_eq!(reply.invalid("id"), says("id"));
        }
        assert_eq!(graph.asked(), 0);
    })
    .await;
}

#[tokio::test]
async fn no_token_is_401_and_an_apps_is_403_where_a_user_acts() {
    on_each(async |graph: Harness| {
        let body = json!({"target_user_id": "12"}).to_string();
        for (method, path) in [
            ("POST", "/2/users/11/following"),
            ("DELETE", "/2/users/11/following/12"),
            ("POST", "/2/users/11/blocking"),
            ("DELETE", "/2/users/11/blocking/12"),
            ("GET", "/2/users/11/blocking"),
            ("POST", "/2/users/11/muting"),
            ("DELETE", "/2/users/11/muting/12"),
            ("GET", "/2/users/11/muting"),
            ("GET", "/pillion/v1/follow-requests"),
            ("POST", "/pillion/v1/follow-requests/12/accept"),
            ("POST", "/pillion/v1/follow-requests/12/deny"),
            ("GET", "/internal/relation?user=12"),
        ] {
            assert_eq!(graph.send_as(method, path, None, &body).await.status, 401, "{path}");
            let reply = graph.send_as(method, path, Some(caller(None, "")), &body).await;
            assert_eq!(
                (reply.status.as_u16(), &reply.body["title"]),
                (403, &"Unsupported Authentication".into())
            );
        }
        for path in [
            "/2/users/11/following",
            "/2/users/11/followers",
            "/internal/visibility?users=11",
            "/internal/follow_counts?users=11",
        ] {
            assert_eq!(graph.send_as("GET", path, None, "").await.status, 401, "{path}");
            assert_eq!(graph.send_as("GET", path, Some(caller(None, "")), "").await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn bad_bodies_and_paths_are_400_naming_what_is_wrong() {
    on_each(async |graph: Harness| {
        for (body, name) in [
            ("{}", "body"),
            (r#"{"target_user_id": 12}"#, "target_user_id"),
            (r#"{"target_user_id": "bob"}"#, "target_user_id"),
            ("", "body"),
        ] {
            graph.send("POST", "/2/users/11/following", ANN, body).await.invalid(name);
        }
        let reply = graph.send("DELETE", "/2/users/11/following/bob", ANN, "").await;
        reply.invalid("target_user_id");
        graph.send("DELETE", "/2/users/ann/following/12", ANN, "").await.invalid("id");
    })
    .await;
}

#[tokio::test]
async fn when_the_users_service_is_away_nothing_begins_and_what_is_there_can_end() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        graph.peers.register(
            "users",
            axum::Router::new().fallback(async || http::StatusCode::SERVICE_UNAVAILABLE),
        );
        assert_eq!(graph.begin(ANN, "following", CID).await.status, 503);
        assert_eq!(graph.begin(ANN, "blocking", CID).await.status, 503);
        assert_eq!(graph.end(ANN, "following", BOB).await.status, 200);
        assert_eq!(graph.events().await, ["followed 11>12", "unfollowed 11>12"]);
    })
    .await;
}

#[tokio::test]
async fn a_follow_takes_one_call() {
    on_each(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        assert_eq!(graph.asked(), 1);
        graph.end(ANN, "following", BOB).await;
        assert_eq!(graph.asked(), 1);
    })
    .await;
}
