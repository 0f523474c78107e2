//! Who is mentioned.

use super::harness::{Harness, caller};

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;

#[tokio::test]
async fn names_and_replies_are_mentions() {
    for h in Harness::on_both().await {
        h.register(ANN).await;
        h.post(1, ANN).await;
        h.mention(2, BOB, &[ANN, CID]).await;
        h.reply(3, BOB, (1, ANN)).await;
        h.reply(4, ANN, (1, ANN)).await;
        h.mention(5, ANN, &[ANN]).await;
        h.retweet(6, CID, (2, BOB)).await;
        assert_eq!(h.mentions(ANN).await, [5, 3, 2]);
        assert_eq!(h.get(ANN, "/2/users/13/mentions").await.ids(), [2]);
        h.delete(3, BOB).await;
        h.delete(2, BOB).await;
        assert_eq!(h.mentions(ANN).await, [5]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn anyone_may_ask_in_pages() {
    for h in Harness::on_both().await {
        h.register(ANN).await;
        for id in 1..=12 {
            h.mention(id, BOB, &[ANN]).await;
        }
        let path = "/2/users/11/mentions?max_results=5";
        let first = h.get_as(Some(caller(None)), path).await;
        assert_eq!(first.ids(), [12, 11, 10, 9, 8]);
        let next = first.token("next_token").unwrap();
        // A token is its caller's own.
        let stolen = h.get(CID, &format!("{path}&pagination_token={next}")).await;
        assert_eq!(stolen.status, 400);
        let next = h.get(CID, path).await.token("next_token").unwrap();
        let second = h.get(CID, &format!("{path}&pagination_token={next}")).await;
        assert_eq!(second.ids(), [7, 6, 5, 4, 3]);
        let back = second.token("previous_token").unwrap();
        assert_eq!(h.get(CID, &format!("{path}&pagination_token={back}")).await.ids(), first.ids());
        assert_eq!(h.get(CID, "/2/users/11/mentions").await.ids().len(), 10);
        assert_eq!(h.get(CID, "/2/users/11/mentions?since_id=9&until_id=12").await.ids(), [11, 10]);
        assert_eq!(h.get_as(None, path).await.status, 401);
        for query in ["max_results=4", "max_results=101", "exclude=replies"] {
            let reply = h.get(CID, &format!("/2/users/11/mentions?{query}")).await;
            assert_eq!(reply.status, 400, "{query}");
        }
    }
}

#[tokio::test]
async fn nobody_and_no_mentions_are_told_apart() {
    for h in Harness::on_both().await {
        h.register(ANN).await;
        let empty = h.get(CID, "/2/users/11/mentions").await;
        assert_eq!(empty.body, serde_json::json!({"meta": {"result_count": 0}}));
        let nobody = h.get(CID, "/2/users/99/mentions").await;
        assert_eq!(nobody.status, 200);
        assert_eq!(nobody.body["errors"][0]["resource_id"], "99");
        assert!(nobody.body.get("meta").is_none());
    }
}
