//! Accounts made, found and deleted.

use std::time::Duration;

use pillion_chassis::sql::query;
use pillion_chassis::testing;
use pillion_events::UserEvent;
use serde_json::json;

use super::{Harness, identity, jack, on_each, registration, user};

#[tokio::test]
async fn an_account_is_made_once_however_often_it_is_asked_for() {
    on_each(async |users: Harness| {
        let data = registration(12, &jack());
        for step in ["reserve_handle", "create_profile"] {
            assert_eq!(users.step(1, step, &data).await.status, 200, "{step}");
            assert_eq!(users.step(1, step, &data).await.status, 200, "{step}");
        }
        // Nobody can see it before all services have agreed.
        assert_eq!(users.get("/2/users/12").await.error()["value"], "12");
        assert_eq!((users.told().await.len(), users.set_aside().await), (0, 2));
        for _ in 0..2 {
            assert_eq!(users.step(1, "activate", &data).await.status, 200);
            users.clock.advance(Duration::from_secs(1));
        }
        let made = users.get("/2/users/12").await;
        assert_eq!(made.body, json!({"data": {"id": "12", "name": "jack", "username": "Jack"}}));
        let events = users.events().await;
        assert_eq!((events.len(), users.set_aside().await), (1, 0));
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
async fn a_registration_that_is_taken_back_leaves_nothing() {
    on_each(async |users: Harness| {
        let data = registration(12, &jack());
        users.step(1, "reserve_handle", &data).await;
        users.step(1, "create_profile", &data).await;
        let other = users.register(13, &json!({"username": "jack", "name": "x"})).await;
        assert_eq!(other.status, 409, "what is reserved is taken");
        for step in ["create_profile", "reserve_handle"] {
            for _ in 0..2 {
                assert_eq!(users.undo(1, step, &data).await.status, 200, "{step}");
            }
        }
        assert_eq!((users.told().await.len(), users.set_aside().await), (0, 0));
        // What comes late is refused.
        assert_eq!(users.step(1, "reserve_handle", &data).await.status, 409);
        assert_eq!(users.set_aside().await, 0);
        assert_eq!(users.register(13, &jack()).await.data()["id"], "13");
    })
    .await;
}

#[tokio::test]
async fn a_handle_belongs_to_one_account_whatever_its_case_and_even_after_it() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        let other = json!({"username": "JACK", "name": "not jack"});
        let taken = users.register(13, &other).await;
        assert_eq!(taken.status, 409);
        let detail = "The username [JACK] is taken; choose another one.";
        assert_eq!(taken.body["detail"], detail);
        users.end("deactivate", 12).await;
        assert_eq!(users.register(13, &other).await.status, 409);
        users.end("purge", 12).await;
        assert_eq!(users.register(13, &other).await.status, 409);
        assert_eq!(users.told().await.len(), 3);
        assert_eq!(users.set_aside().await, 0);
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
        let reply = users.register(12, &wrong).await;
        assert_eq!(reply.status, 400);
        let errors = reply.body["errors"].as_array().unwrap();
        let keys: Vec<_> = errors
            .iter()
            .flat_map(|error| error["parameters"].as_object().unwrap().keys().cloned())
            .collect();
        assert_eq!(keys, ["username", "name", "description", "location", "url"]);
        assert_eq!(users.register(12, &json!({"username": "a"})).await.status, 400);
        assert_eq!((users.told().await.len(), users.set_aside().await), (0, 0));
        let name = "ü".repeat(50);
        assert_eq!(users.register(12, &json!({"username": "a", "name": name})).await.status, 200);
        assert_eq!(users.told().await, ["user.registered"]);
    })
    .await;
}

#[tokio::test]
async fn only_services_may_take_steps() {
    on_each(async |users: Harness| {
        let body = json!({
            "saga": "register_account", "kind": "compensated", "data": registration(12, &jack()),
        });
        let path = "/internal/sagas/1/steps/reserve_handle";
        for (caller, status) in [(None, 401), (Some(user(12)), 403)] {
            for method in ["PUT", "DELETE"] {
                let reply = users.send(method, path, caller.clone(), &body.to_string()).await;
                assert_eq!(reply.status, status, "{method}");
            }
        }
        assert_eq!(users.set_aside().await, 0);
        let unknown = users.step(1, "fly", &json!({})).await;
        assert_eq!(unknown.status, 503);
        assert!(unknown.body["detail"].as_str().unwrap().contains("step fly"));
    })
    .await;
}

#[tokio::test]
async fn users_are_found_by_id_and_by_handle() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.register(13, &json!({"username": "biz", "name": "Biz"})).await;

        let one =
            users.get("/2/users/12?user.fields=created_at,url,location,verified,entities").await;
        assert_eq!(one.status, 200);
        assert_eq!(
            one.body,
            json!({"data": {
                "id": "12", "name": "jack", "username": "Jack",
                "created_at": "2026-07-01T10:00:01.000Z", "url": "https://example.com",
                "verified": false,
                "entities": {"url": {"urls": [{
                    "start": 0, "end": 19, "url": "https://example.com",
                    "expanded_url": "https://example.com", "display_url": "example.com",
                }]}},
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
        users.register(12, &jack()).await;
        let path = "/2/users/me?user.fields=description";
        let me = async || users.send("GET", path, Some(user(12)), "").await;
        assert_eq!(me().await.body["data"]["description"], "hi");
        assert_eq!(users.get("/2/users/me").await.status, 401);
        assert_eq!(users.send("GET", "/2/users/me", Some(identity()), "").await.status, 403);
        for step in ["deactivate", "purge"] {
            users.end(step, 12).await;
            let gone = me().await;
            assert_eq!(gone.status, 401);
            let detail = gone.body["detail"].as_str().unwrap();
            let expected = "account 12 of this token does not exist any more";
            assert!(detail.contains(expected), "{detail}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_deactivated_account_is_as_if_not_there_until_it_is_back_as_it_was() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.change(12, &json!({"name": "Jack D", "protected": true})).await;
        let fields = "user.fields=protected,description,created_at,url";
        let paths = [
            format!("/2/users/12?{fields}"),
            format!("/2/users?ids=12&{fields}"),
            format!("/2/users/by/username/jack?{fields}"),
            format!("/2/users/by?usernames=jack&{fields}"),
            format!("/2/users/search?query=jack&{fields}"),
        ];
        let all = async || {
            let mut found = Vec::new();
            for path in &paths {
                let reply = users.send("GET", path, Some(user(13)), "").await;
                assert_eq!(reply.status, 200, "{path}");
                found.push(reply.body["data"].clone());
            }
            found
        };
        let before = all().await;
        assert!(before.iter().all(|found| !found.is_null()), "{before:?}");

        let data = json!({"user_id": "12"});
        let saga_id = users.end("deactivate", 12).await;
        users.end("deactivate", 12).await;
        assert!(all().await.iter().all(serde_json::Value::is_null));
        assert_eq!(users.change(12, &json!({"name": "x"})).await.status, 401);
        assert_eq!(users.rename(12, "jim").await.status, 401);

        for _ in 0..2 {
            assert_eq!(users.undo(saga_id, "deactivate", &data).await.status, 200);
        }
        assert_eq!(all().await, before);
        assert_eq!(
            users.told().await,
            ["user.registered", "user.profile_changed", "user.deactivated", "user.reactivated"]
        );
        testing::assert_rebuilds(&users.journal, &[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_deleting_again_is_nothing_new() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        let deactivated = users.end("deactivate", 12).await;
        users.end("purge", 12).await;
        users.end("purge", 12).await;
        users.end("purge", 99).await;
        assert_eq!(users.get("/2/users/12").await.error()["value"], "12");
        // Nothing brings it back.
        let data = json!({"user_id": "12"});
        assert_eq!(users.undo(deactivated, "deactivate", &data).await.status, 200);
        let events = users.events().await;
        assert_eq!(
            events.iter().map(|e| (e.name.as_str(), e.version)).collect::<Vec<_>>(),
            [("user.registered", 1), ("user.deactivated", 2), ("user.deleted", 3)]
        );
        let left: (String, Option<String>, Option<String>) =
            query("SELECT name, description, url FROM profile WHERE user_id = 12")
                .fetch_one(&users.test.database)
                .await
                .unwrap();
        assert_eq!(left, (String::new(), None, None));
        // Nor does an event tell any more what the person said.
        let UserEvent::Registered(event) = events[0].decode().unwrap() else {
            panic!("{events:?}")
        };
        assert_eq!((event.username.as_str(), event.name.as_str()), ("Jack", ""));
        assert_eq!((event.description, event.url), (None, None));
        testing::assert_rebuilds(&users.journal, &[]).await;
    })
    .await;
}

#[tokio::test]
async fn a03_a_description_and_a_url_are_there_when_they_are_asked_for_and_empty_without() {
    on_each(async |users: Harness| {
        users.register(13, &json!({"username": "biz", "name": "Biz"})).await;
        let fields = "user.fields=description,url,location,entities,subscription_type";
        for path in ["/2/users/13?", "/2/users/by/username/biz?"] {
            assert_eq!(
                users.get(&format!("{path}{fields}")).await.body,
                json!({"data": {
                    "id": "13", "name": "Biz", "username": "biz", "description": "", "url": "",
                    "subscription_type": "None",
                }})
            );
        }
        let bare = users.get("/2/users/13").await.body;
        assert_eq!(bare, json!({"data": {"id": "13", "name": "Biz", "username": "biz"}}));
        let about = json!({"description": "I like #tea, @jack: example.com"});
        users.change(13, &about).await;
        let user = users.get(&format!("/2/users/13?{fields}")).await;
        let entities = &user.body["data"]["entities"];
        assert_eq!(entities["description"]["hashtags"][0]["tag"], "tea");
        assert_eq!(entities["description"]["mentions"][0]["username"], "jack");
        assert_eq!(entities["description"]["urls"][0]["start"], 20);
        assert!(entities.get("url").is_none());
    })
    .await;
}

#[tokio::test]
async fn d09_a_name_that_shows_nothing_is_refused() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        for name in ["\u{200b}", " \u{3164} ", "\u{200f}\u{200e}"] {
            let refused = users.change(12, &json!({"name": name})).await;
            assert_eq!(refused.status, 400, "{name:?}");
        }
    })
    .await;
}
