//! Owners change what their profiles say.

use std::time::Duration;

use pillion_chassis::{Caller, Scopes};
use pillion_events::UserEvent;
use serde_json::json;

use super::{Harness, identity, jack, on_each, user};

#[tokio::test]
async fn an_owner_changes_what_the_profile_says() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        users.clock.advance(Duration::from_secs(1));
        let changed = users
            .change(12, &json!({"name": " Jack D ", "description": "", "location": "Bern"}))
            .await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_eq!(
            changed.body,
            json!({"data": {
                "id": "12", "name": "Jack D", "username": "Jack", "location": "Bern",
                "description": "",
                "url": "https://example.com", "created_at": "2026-07-01T10:00:01.000Z",
                "protected": false, "verified": false, "verified_type": "none",
            }})
        );
        let protected = users.change(12, &json!({"protected": true})).await;
        assert_eq!(protected.body["data"]["protected"], true);
        assert_eq!(protected.body["data"]["name"], "Jack D");
        // The same again is nothing new.
        users.change(12, &json!({"protected": true, "name": "Jack D"})).await;
        let read = users.get("/2/users/12?user.fields=protected").await;
        assert_eq!(read.body["data"]["protected"], true);

        let events = users.events().await;
        assert_eq!(
            events.iter().map(|e| (e.name.as_str(), e.version)).collect::<Vec<_>>(),
            [("user.registered", 1), ("user.profile_changed", 2), ("user.profile_changed", 3)]
        );
        let UserEvent::ProfileChanged(event) = events[1].decode().unwrap() else {
            panic!("{events:?}")
        };
        assert_eq!(
            (event.name.as_str(), event.description, event.protected),
            ("Jack D", None, false)
        );
        assert_eq!(event.changed_at.to_string(), "2026-07-01T10:00:02.000Z");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_change_of_a_profile_changes_nothing() {
    on_each(async |users: Harness| {
        users.register(12, &jack()).await;
        for (body, key) in [
            (json!({}), "body"),
            (json!({"name": ""}), "name"),
            (json!({"description": "x".repeat(161), "name": "x"}), "description"),
            (json!({"location": "a\nb"}), "location"),
            (json!({"url": "example.com"}), "url"),
            (json!({"protected": "yes"}), "protected"),
            (json!({"username": "ann"}), "username"),
        ] {
            let reply = users.change(12, &body).await;
            assert_eq!(reply.status, 400, "{body}");
            assert!(reply.body["errors"][0]["parameters"].get(key).is_some(), "{}", reply.body);
        }
        let path = "/pillion/v1/account/profile";
        let body = r#"{"name": "x"}"#;
        assert_eq!(users.send("POST", path, None, body).await.status, 401);
        assert_eq!(users.send("POST", path, Some(identity()), body).await.status, 403);
        let scopes = Scopes::parse("users.read");
        let narrow = Caller { scopes, ..user(12) };
        let refused = users.send("POST", path, Some(narrow), body).await;
        assert_eq!(refused.status, 403);
        assert!(refused.body["detail"].as_str().unwrap().contains("account.write"));
        assert_eq!(users.change(99, &json!({"name": "x"})).await.status, 401);
        users.end("purge", 12).await;
        assert_eq!(users.change(12, &json!({"name": "x"})).await.status, 401);
        assert_eq!(users.events().await.len(), 2);
    })
    .await;
}
