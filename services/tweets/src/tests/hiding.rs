//! Hiding replies.

use pillion_chassis::{Caller, Scopes};
use pillion_events::TweetEvent;
use serde_json::json;

use super::harness::{ANN, BOB, CID, Harness, on_each};

#[tokio::test]
async fn who_began_a_conversation_hides_replies_in_it() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();
        let deeper = tweets.reply_to(CID, &reply, "deeper").await.id();

        let hidden = tweets.set_hidden(ANN, &deeper, true).await;
        assert_eq!((hidden.status.as_u16(), hidden.body), (200, json!({"data": {"hidden": true}})));
        // The same again is nothing new.
        assert_eq!(tweets.set_hidden(ANN, &deeper, true).await.status, 200);
        assert_eq!(tweets.read(&deeper, "").await["_hidden"], true);
        assert!(tweets.read(&reply, "").await.get("_hidden").is_none());
        let late = tweets.reply_to(BOB, &deeper, "late").await;
        assert_eq!(late.status, 403);
        let detail = late.body["detail"].as_str().unwrap();
        assert!(detail.contains("deleted or not visible"), "{detail}");

        assert_eq!(tweets.set_hidden(ANN, &deeper, false).await.body["data"]["hidden"], false);
        assert!(tweets.read(&deeper, "").await.get("_hidden").is_none());
        assert_eq!(tweets.reply_to(BOB, &deeper, "late").await.status, 201);

        let events = tweets.events().await;
        let told: Vec<_> = events[3..5].iter().map(|e| (e.name.as_str(), e.version)).collect();
        assert_eq!(told, [("tweet.hidden", 2), ("tweet.unhidden", 3)]);
        assert_eq!(events.len(), 6);
        let TweetEvent::Hidden(event) = events[3].decode().unwrap() else { panic!("{events:?}") };
        assert_eq!((event.author_id.get(), event.hidden_by.get()), (CID, ANN));
        assert_eq!(event.conversation_id.to_string(), root);
        assert_eq!(tweets.delete(CID, &deeper).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn nothing_else_can_be_hidden() {
    on_each(async |tweets: Harness| {
        let root = tweets.post_text(ANN, "root").await;
        let reply = tweets.reply_to(BOB, &root, "reply").await.id();
        let own = tweets.reply_to(ANN, &root, "own").await.id();
        let quote = tweets.quote(BOB, &root, "quote").await.id();
        for (by, id) in [(BOB, &reply), (CID, &reply), (ANN, &root), (ANN, &own), (ANN, &quote)] {
            let refused = tweets.set_hidden(by, id, true).await;
            assert_eq!(refused.status, 403, "{by} {id}");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.contains("only such replies can be hidden"), "{detail}");
        }
        let missing = tweets.set_hidden(ANN, "20", true).await;
        assert_eq!((missing.status.as_u16(), &missing.body["value"]), (404, &json!("20")));
        let path = format!("/2/tweets/{reply}/hidden");
        for body in ["{}", r#"{"hidden": 1}"#, r#"{"hidden": true, "x": 1}"#] {
            assert_eq!(tweets.send("PUT", &path, ANN, body).await.status, 400, "{body}");
        }
        let body = r#"{"hidden": true}"#;
        assert_eq!(tweets.send_as("PUT", &path, None, body).await.status, 401);
        let app = Caller { user_id: None, client_id: "app".into(), scopes: Scopes::default() };
        assert_eq!(tweets.send_as("PUT", &path, Some(app), body).await.status, 403);
        // Nobody is left who could hide anything.
        tweets.delete(ANN, &root).await;
        assert_eq!(tweets.set_hidden(ANN, &reply, true).await.status, 403);
        assert_eq!(tweets.events().await.len(), 5);
    })
    .await;
}
