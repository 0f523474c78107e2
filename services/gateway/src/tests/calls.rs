//! No list takes a call per item: the table in [`crate::compose`] holds for every list route.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fake::{Call, Reply, gateway, get, ids, look_up, ok};
use crate::query::{Items, Query};
use crate::routes::TABLE;

/// A tweet that answers one and quotes one, by others, and names five people.
fn tweet(id: &str) -> Value {
    let number: u32 = id.parse().unwrap();
    let mentions: Vec<Value> = (0..5)
        .map(|m| json!({ "start": 0, "end": 1, "username": format!("U9{}", number * 5 + m) }))
        .collect();
    let author = (100_000 + number).to_string();
    json!({
        "id": id, "text": "t", "edit_history_tweet_ids": [id], "author_id": author,
        "_authors": [author],
        "in_reply_to_user_id": (200_000 + number).to_string(),
        "referenced_tweets": [
            { "type": "replied_to", "id": (2000 + number).to_string() },
            { "type": "quoted", "id": (3000 + number).to_string() },
        ],
        "entities": { "mentions": mentions },
    })
}

/// The largest page that a route has: whole tweets, or ids.
fn page(items: Items, count: u32) -> Value {
    let data: Vec<Value> = (1000..1000 + count)
        .map(|id| id.to_string())
        .map(|id| match items {
            Items::Whole if count == 100 => tweet(&id),
            Items::Whole => json!({ "id": id, "name": "N", "username": "n" }),
            _ => json!({ "id": id }),
        })
        .collect();
    json!({ "data": data, "meta": { "result_count": count } })
}

fn world(call: &Call, page: &Value) -> Reply {
    look_up(call, |id| Some(tweet(id)), |_| None).unwrap_or_else(|| ok(page))
}

/// The lists: template, how the owner answers, whether of tweets.
fn lists() -> impl Iterator<Item = (&'static str, Items, bool)> {
    TABLE.iter().filter_map(|route| match route.query {
        Query::Tweets(items @ (Items::Whole | Items::Ids | Items::Feed | Items::Mine), _) => {
            Some((route.template, items, true))
        }
        Query::Users(items @ (Items::Whole | Items::Ids | Items::Feed | Items::Mine), _) => {
            Some((route.template, items, false))
        }
        _ => None,
    })
}

async fn calls_for(template: &str, query: &str, page: Value) -> (BTreeMap<String, usize>, Value) {
    let (router, peers) = gateway(move |call| world(call, &page));
    let path = template.replace("{id}", "1001");
    let answer = get(&router, &format!("{path}?{query}")).await;
    assert_eq!(answer.status, 200, "{template} {}", answer.body);
    (peers.counts(), answer.body)
}

#[tokio::test]
async fn lists_of_tweets() {
    let everything = "expansions=author_id,referenced_tweets.id,referenced_tweets.id.author_id,\
                      in_reply_to_user_id,entities.mentions.username,edit_history_tweet_ids\
                      &tweet.fields=public_metrics&user.fields=public_metrics";
    let mut number = 0;
    for (template, items, _) in lists().filter(|(_, _, of_tweets)| *of_tweets) {
        number += 1;
        let (calls, body) = calls_for(template, "", page(items, 100)).await;
        assert_eq!(body["meta"]["result_count"], 100);
        let about_tweet = usize::from(template.starts_with("/2/tweets/{id}"));
        let ids_only = usize::from(items != Items::Whole);
        let expected = 1 + ids_only + about_tweet + 1;
        assert_eq!(calls.values().sum::<usize>(), expected, "{template} {calls:?}");
        let (calls, _) = calls_for(template, "expansions=author_id", page(items, 100)).await;
        assert_eq!(calls.values().sum::<usize>(), expected + 1, "{template} {calls:?}");

        let (calls, body) = calls_for(template, everything, page(items, 100)).await;
        let to = |call: &str| calls.get(call).copied().unwrap_or_default();
        // What edits point at is on the page itself.
        assert_eq!(to("tweets /internal/tweets"), ids_only + about_tweet + 2, "{calls:?}");
        // 300 authors at once, and another one whose list it is; then 400 who are named.
        assert!((3..=4).contains(&to("graph /internal/visibility")), "{template} {calls:?}");
        assert_eq!((to("users /2/users"), to("users /2/users/by")), (4, 3));
        assert_eq!(to("engagements /internal/counts"), 3);
        for counts in [
            "graph /internal/follow_counts",
            "tweets /internal/tweet_counts",
            "engagements /internal/like_counts",
        ] {
            assert_eq!(to(counts), 7, "{template} {calls:?}");
        }
        assert!(calls.values().sum::<usize>() <= 40, "{template} {calls:?}");
        assert_eq!(body["includes"]["tweets"].as_array().unwrap().len(), 300);
        let users = ids(&body["includes"]["users"]).len();
        // 100 authors, 100 answered, 200 authors of what is referenced, 300 of those mentioned.
        assert_eq!(users, 700);
        assert!(body.get("errors").is_none());
    }
    assert_eq!(number, 9, "a new list of tweets? it is measured now; count it");
}

#[tokio::test]
async fn lists_of_users() {
    let mut number = 0;
    for (template, items, _) in lists().filter(|(_, _, of_tweets)| !of_tweets) {
        number += 1;
        let about_tweet = usize::from(template.starts_with("/2/tweets/{id}"));
        let count = if about_tweet == 1 { 99 } else { 1000 };
        let query = if template == "/2/users/search" { "query=n&" } else { "" };
        let (calls, body) = calls_for(template, query, page(items, count)).await;
        assert_eq!(body["meta"]["result_count"], count);
        let batches = usize::try_from(count).unwrap().div_ceil(100);
        let bodies = if items == Items::Whole { 0 } else { batches };
        let visibility = match (items, count) {
            (Items::Mine, _) => 0,
            (_, 1000) => 4,
            _ => 1,
        };
        let expected = 1 + bodies + about_tweet + visibility;
        assert_eq!(calls.values().sum::<usize>(), expected, "{template} {calls:?}");
        let query = format!("{query}user.fields=public_metrics");
        let (calls, body) = calls_for(template, &query, page(items, count)).await;
        let expected = expected + 3 * batches;
        assert_eq!(calls.values().sum::<usize>(), expected, "{template} {calls:?}");
        assert_eq!(body["data"][1]["public_metrics"]["followers_count"], 2);
    }
    assert_eq!(number, 8, "a new list of users? it is measured now; count it");
}
