//! Accounts made, found and deleted.

use std::time::Duration;

use http::StatusCode;
use pillion_chassis::sql::query;
use pillion_events::UserEvent;
use serde_json::json;

use super::{Harness, identity, jack, on_each, user};

#[tokio::test]
async fn an_account_is_made_once_however_often_it_is_asked_for() {
    on_each(async |users: Harness| {
        let made = users.put(12, &jack()).await;
        assert_eq!(made.status, 201);
        assert_eq!(made.body, json!({"data": {"id": "12", "name": "jack", "username": "Jack"}}));
        users.clock.advance(Duration::from_secs(1));
        let again = users.put(12, &jack()).await;
        assert_eq!((again.status, again.body), (StatusCode::OK, made.body));
        let events = users.events().await;
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].stream_id.as_str(), events[0].version), ("user/12", 1));
        let UserEvent::Registered(event) = events[0].decode().unwrap() else {
            panic!("{events:?}")
        };
        assert_eq!((event.username.as_str(), event.description.as_deref()), ("Jack", Some("hi")));
        assert_eq!(event.created_at.to_string(), "2026-07-01T10:00:01.000Z");
    })
    .await;
}

#[tokio::test]
async fn a_handle_belongs_to_one_account_whatever_its_case_and_even_after_it() {
    on_each(async |users: Harness| {
        users.put(12, &jack()).await;
        let other = json!({"username": "JACK", "name": "not jack"});
        let taken = users.put(13, &other).await;
        assert_eq!(taken.status, 409);
        assert_eq!(
            taken.body["detail"],
            "Nothing was changed: the username JACK is taken; choose another one."
        );
        assert_eq!(users.put(12, &other).await.status, 409);
        assert_eq!(users.delete(12).await.status, 204);
        assert_eq!(users.put(13, &other).await.status, 409);
        let gone = users.put(12, &jack()).await;
        assert_eq!(gone.status, 409);
        assert_eq!(gone.body["detail"], "Nothing was changed: the account 12 was deleted.");
        assert_eq!(users.events().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_profile_is_refused_with_all_that_is_wrong() {
    on_each(async |users: Harness| {
        let wrong = json!({
            "username": "no spaces", "name": " ", "description": "x".repeat(161),
            "location": "a\nb", "url": "example.com",
        });
        let reply = users.put(12, &wrong).await;
        assert_eq!(reply.status, 400);
        let errors = reply.body["errors"].as_array().unwrap();
        let keys: Vec<_> = errors
            .iter()
            .flat_map(|error| error["parameters"].as_object().unwrap().keys().cloned())
            .collect();
        assert_eq!(keys, ["username", "name", "description", "location", "url"]);
        assert_eq!(users.put(12, &json!({"username": "a"})).await.status, 400);
        let extra = users.put(12, &json!({"username": "a", "name": "a", "verified": true})).await;
        assert_eq!(extra.status, 400);
        let name = "ü".repeat(50);
        assert_eq!(users.put(12, &json!({"username": "a", "name": name})).await.status, 201);
        assert_eq!(users.events().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn only_services_may_write() {
    on_each(async |users: Harness| {
        let body = jack().to_string();
        for (caller, status) in [(None, 401), (Some(user(12)), 403)] {
            for method in ["PUT", "DELETE"] {
                let reply = users.send(method, "/internal/users/12", caller.clone(), &body).await;
                assert_eq!(reply.status, status, "{method}");
            }
        }
        assert!(users.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn users_are_found_by_id_and_by_handle() {
    on_each(async |users: Harness| {
        users.put(12, &jack()).await;
        users.put(13, &json!({"username": "biz", "name": "Biz"})).await;

        let one =
            users.get("/2/users/12?user.fields=created_at,url,location,verified,entities").await;
        assert_eq!(one.status, 200);
        assert_eq!(
            one.body,
            json!({"data": {
                "id": "12", "name": "jack", "username": "Jack",
                "created_at": "2026-07-01T10:00:01.000Z", "url": "https://example.com",
                "verified": false,
            }})
        );
        let by_name = users.get("/2/users/by/username/jACK").await;
        assert_eq!(by_name.body["data"]["id"], "12");

        let many = users.get("/2/users?ids=13,99,12").await;
        let ids: Vec<_> = many.body["data"].as_array().unwrap().iter().map(|u| &u["id"]).collect();
        assert_eq!(ids, ["13", "12"]);
        assert_eq!(
            many.body["errors"],
            json!([{
                "title": "Not Found Error",
                "type": "https://api.twitter.com/2/problems/resource-not-found",
                "resource_type": "user", "resource_id": "99", "parameter": "ids", "value": "99",
                "detail": "Could not find user with ids: [99].",
            }])
        );
        let many = users.get("/2/users/by?usernames=BIZ,nobody,biz").await;
        assert_eq!(many.body["data"].as_array().unwrap().len(), 1);
        assert_eq!(many.body["errors"][0]["value"], "nobody");
    })
    .await;
}

#[tokio::test]
async fn who_is_not_there_is_a_200_with_errors_alone() {
    on_each(async |users: Harness| {
        for (path, parameter) in [
            ("/2/users/99", "id"),
            ("/2/users/by/username/nobody", "username"),
            ("/2/users?ids=99", "ids"),
            ("/2/users/by?usernames=nobody", "usernames"),
        ] {
            let reply = users.get(path).await;
            assert_eq!(reply.status, 200, "{path}");
            assert!(reply.body.get("data").is_none(), "{path}");
            assert_eq!(reply.body["errors"][0]["parameter"], parameter);
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_look_ups_are_400_and_name_the_parameter() {
    on_each(async |users: Harness| {
        let hundred_and_one: Vec<_> = (1..=101).map(|id: u32| id.to_string()).collect();
        for (path, parameter) in [
            ("/2/users/jack".to_owned(), "id"),
            ("/2/users/12?user.fields=nope".to_owned(), "user.fields"),
            ("/2/users/12?tweet.fields=text".to_owned(), "tweet.fields"),
            ("/2/users".to_owned(), "ids"),
            ("/2/users?ids=".to_owned(), "ids"),
            ("/2/users?ids=1,x".to_owned(), "ids"),
            (format!("/2/users?ids={}", hundred_and_one.join(",")), "ids"),
            ("/2/users/by?usernames=a,b%20c".to_owned(), "usernames"),
            ("/2/users/by/username/not-a-handle".to_owned(), "username"),
        ] {
            let reply = users.get(&path).await;
            assert_eq!(reply.status, 400, "{path}");
            assert!(
                reply.body["errors"][0]["parameters"].get(parameter).is_some(),
                "{}",
                reply.body
            );
        }
    })
    .await;
}

#[tokio::test]
async fn me_is_whose_token_it_is() {
    on_each(async |users: Harness| {
        users.put(12, &jack()).await;
        let me = users.send("GET", "/2/users/me?user.fields=description", Some(user(12)), "").await;
        assert_eq!(me.body["data"]["description"], "hi");
        assert_eq!(users.get("/2/users/me").await.status, 401);
        assert_eq!(users.send("GET", "/2/users/me", Some(identity()), "").await.status, 403);
        users.delete(12).await;
        let gone = users.send("GET", "/2/users/me", Some(user(12)), "").await;
        assert_eq!(gone.status, 401);
        let detail = gone.body["detail"].as_str().unwrap();
        assert!(detail.contains("account 12 of this token does not exist any more"), "{detail}");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_deleting_again_is_nothing_new() {
    on_each(async |users: Harness| {
        users.put(12, &jack()).await;
        for _ in 0..2 {
            assert_eq!(users.delete(12).await.status, 204);
        }
        assert_eq!(users.delete(99).await.status, 204);
        assert_eq!(users.get("/2/users/12").await.body["errors"][0]["value"], "12");
        let events = users.events().await;
        assert_eq!(
            events.iter().map(|e| (e.name.as_str(), e.version)).collect::<Vec<_>>(),
            [("user.registered", 1), ("user.deleted", 2)]
        );
        let left: (String, Option<String>, Option<String>) =
            query("SELECT name, description, url FROM profile WHERE user_id = 12")
                .fetch_one(&users.test.database)
                .await
                .unwrap();
        assert_eq!(left, (String::new(), None, None));
    })
    .await;
}
