//! Owners change their handles, and other services take part.

use std::time::Duration;

use pillion_chassis::Caller;
use pillion_chassis::Scopes;
use pillion_chassis::sql::query;
use pillion_events::UserEvent;
use serde_json::json;

use super::{Harness, identity, jack, on_each, user};

#[tokio::test]
async fn an_account_gets_another_handle_and_the_old_one_is_free() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.clock.advance(Duration::from_secs(1));
        let renamed = users.rename(12, "Jim_B").await;
        assert_eq!(renamed.data()["username"], "Jim_B");
        assert_eq!(renamed.data()["created_at"], "2026-07-01T10:00:01.000Z");
        assert_eq!(users.get("/2/users/by/username/jim_b").await.data()["id"], "12");
        assert_eq!(users.get("/2/users/by/username/jack").await.error()["value"], "jack");
        let found = |word: &str| format!("/2/users/search?query={word}");
        for (word, ids) in [("jim", vec![12]), ("b", vec![12]), ("jack", vec![12])] {
            // The name has not changed: it is jack still.
            let reply = users.send("GET", &found(word), Some(user(12)), "").await;
            assert_eq!(reply.ids(), ids, "{word}");
        }
        let UserEvent::Renamed(event) = users.events().await[1].decode().unwrap() else {
            panic!("{:?}", users.told().await)
        };
        assert_eq!((event.username.as_str(), event.previous_username.as_str()), ("Jim_B", "Jack"));
        assert_eq!(event.at.to_string(), "2026-07-01T10:00:02.000Z");
        assert_eq!(users.register(13, &jack()).await.data()["id"], "13");
        assert_eq!(users.set_aside().await, 0);
        // The same again is nothing new, and another case of it is a new one.
        users.rename(12, "Jim_B").await.data();
        assert_eq!(users.rename(12, "JIM_B").await.data()["username"], "JIM_B");
        assert_eq!(users.told().await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_handle_that_is_not_to_be_had_changes_nothing() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.register(13, &json!({"username": "biz", "name": "Biz"})).await;
        users.register(14, &json!({"username": "was", "name": "x"})).await;
        users.end("purge", 14).await;
        for taken in ["biz", "BIZ", "was"] {
            let reply = users.rename(12, taken).await;
            assert_eq!(reply.status, 409);
            let detail = format!("The username [{taken}] is taken; choose another one.");
            assert_eq!(reply.body["detail"], detail);
        }
        for wrong in ["", "with space", "sixteen_letters_"] {
            users.rename(12, wrong).await.invalid("username");
        }
        let path = "/pillion/v1/account/username";
        let body = r#"{"username": "jim"}"#;
        assert_eq!(users.send("POST", path, None, body).await.status, 401);
        assert_eq!(users.send("POST", path, Some(identity()), body).await.status, 403);
        let narrow = Caller { scopes: Scopes::parse("users.read"), ..user(12) };
        let refused = users.send("POST", path, Some(narrow), body).await;
        assert!(refused.forbidden().contains("account.write"));
        assert_eq!(users.rename(99, "jim").await.status, 401);
        assert!(users.peers.asked().is_empty());
        assert_eq!((users.told().await.len(), users.set_aside().await), (4, 0));
    })
    .await;
}

#[tokio::test]
async fn what_another_service_refuses_is_taken_back() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.peers.answer("PUT rename", 422);
        let refused = users.rename(12, "jim").await;
        assert_eq!((refused.status.as_u16(), &refused.body["detail"]), (422, &"no rename".into()));
        assert_eq!(users.get("/2/users/12").await.data()["username"], "Jack");
        assert_eq!((users.told().await.len(), users.set_aside().await), (1, 0));
        assert_eq!(users.peers.asked(), ["PUT rename jim", "DELETE rename jim"]);
    })
    .await;
}

#[tokio::test]
async fn a_change_that_takes_too_long_is_taken_back_and_another_one_waits_for_its_end() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.register(13, &json!({"username": "biz", "name": "Biz"})).await;
        users.peers.answer("PUT rename", 503);
        let unfinished = users.rename(12, "jim").await;
        assert_eq!(unfinished.status, 503);
        assert!(unfinished.headers.contains_key("retry-after"));
        // It holds the handle, and there is only one at a time.
        assert_eq!(users.rename(13, "jim").await.status, 409);
        let second = users.rename(12, "joe").await;
        assert!(second.body["detail"].as_str().unwrap().contains("being changed"), "{second:?}");
        users.clock.advance(Duration::from_secs(31));
        users.peers.answer("PUT rename", 200);
        users.settled().await;
        assert_eq!(users.get("/2/users/12").await.data()["username"], "Jack");
        assert_eq!((users.told().await.len(), users.set_aside().await), (2, 0));
        assert_eq!(users.rename(13, "jim").await.data()["username"], "jim");
    })
    .await;
}

#[tokio::test]
async fn what_was_begun_goes_on_after_a_restart() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.peers.answer("PUT rename", 503);
        assert_eq!(users.rename(12, "jim").await.status, 503);
        let users = users.restart().await;
        users.clock.advance(Duration::from_secs(6));
        users.settled().await;
        assert_eq!(users.get("/2/users/12").await.data()["username"], "jim");
        assert_eq!((users.told().await.len(), users.set_aside().await), (2, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_want_one_handle_one_gets_it() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.register(13, &json!({"username": "biz", "name": "Biz"})).await;
        let wanted = json!({"username": "it", "name": "x"});
        let (a, b, c) = tokio::join!(
            users.rename(12, "it"),
            users.rename(13, "IT"),
            users.register(14, &wanted)
        );
        let mut statuses = [a.status, b.status, c.status].map(|status| status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409]);
        users.settled().await;
        let holders = query("SELECT count(*) FROM profile WHERE username_key = 'it'");
        let holders = holders.fetch_one::<(i64,)>(&users.test.database).await.unwrap();
        assert_eq!((holders, users.set_aside().await), ((1,), 0));
    })
    .await;
}
