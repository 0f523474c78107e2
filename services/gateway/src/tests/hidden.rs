//! What a caller may not see never leaves the gateway.

use axum::body::Body;
use axum::extract::Request;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::fake::{Call, Reply, gateway, get, ids, look_up, ok};
use super::send;
use crate::query::{Items, Query};
use crate::routes::TABLE;

/// Tweet 10 is by user 1, 20 by user 2 and so on; tweet N0 is quoted by N1 and retweeted, by user
/// 9, as N2; N3 answers it, and is hidden in its conversation.
fn tweet(id: &str) -> Option<Value> {
    let (author, kind) = id.split_at(1);
    let quoted = format!("{author}0");
    Some(match kind {
        "0" => json!({ "id": id, "text": "t", "author_id": author, "_authors": [author] }),
        "1" => json!({
            "id": id, "text": "t", "author_id": "9", "_authors": ["9"],
            "referenced_tweets": [{ "type": "quoted", "id": quoted }],
        }),
        "2" => json!({
            "id": id, "text": "t", "author_id": "9", "_authors": ["9", author],
            "referenced_tweets": [{ "type": "retweeted", "id": quoted }],
        }),
        "3" => json!({
            "id": id, "text": "t", "author_id": "9", "_authors": ["9"], "_hidden": true,
            "in_reply_to_user_id": author,
            "entities": { "mentions": [{ "username": format!("U{author}") }] },
        }),
        _ => return None,
    })
}

/// User 2 is protected, 3 blocks the caller, 4 is blocked and 5 muted by them.
fn reason(user: &str) -> Option<&'static str> {
    match user {
        "2" => Some("protected"),
        "3" => Some("blocked_by"),
        "4" => Some("blocking"),
        "5" => Some("muting"),
        _ => None,
    }
}

fn world(call: &Call, page: &Value) -> Reply {
    look_up(call, tweet, reason).unwrap_or_else(|| ok(page))
}

fn page(ids: &[&str]) -> Value {
    let ids: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    let meta = json!({
        "result_count": ids.len(), "newest_id": "99", "oldest_id": "10", "next_token": "n",
    });
    json!({ "data": ids, "meta": meta })
}

async fn list(path: &str, listed: &[&str]) -> Value {
    let page = page(listed);
    let (router, _) = gateway(move |call| world(call, &page));
    let answer = get(&router, path).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text = answer.body.to_string();
    assert!(!text.contains("_authors") && !text.contains("_hidden"), "{text}");
    answer.body
}

#[tokio::test]
async fn lists_leave_out_what_is_hidden_and_feeds_what_is_unwanted_too() {
    let all = ["10", "20", "30", "40", "50", "12", "22", "32", "42", "52", "13"];
    for path in ["/2/users/1/liked_tweets", "/2/users/9/bookmarks", "/2/tweets/10/quote_tweets"] {
        let body = list(path, &all).await;
        assert_eq!(ids(&body["data"]), ["10", "40", "50", "12", "42", "52", "13"], "{path}");
        let meta = json!({
            "result_count": 7, "newest_id": "52", "oldest_id": "10", "next_token": "n",
        });
        assert_eq!(body["meta"], meta);
        assert!(body.get("errors").is_none());
    }
    for path in [
        "/2/users/9/timelines/reverse_chronological",
        "/2/users/9/mentions",
        "/2/tweets/search/recent?query=a",
    ] {
        let body = list(path, &all).await;
        assert_eq!(ids(&body["data"]), ["10", "12"], "{path}");
        assert_eq!(body["meta"]["result_count"], 2);
    }
    // A page on which nothing is left still leads on to the next one.
    let body = list("/2/users/9/liked_tweets", &["20", "30"]).await;
    assert_eq!(body, json!({ "meta": { "result_count": 0, "next_token": "n" } }));
}

#[tokio::test]
async fn whole_tweets_are_sorted_out_alike() {
    let tweets: Vec<Value> = ["90", "22", "91"].iter().filter_map(|id| tweet(id)).collect();
    let page = json!({ "data": tweets, "meta": { "result_count": 3 } });
    let (router, peers) = gateway(move |call| world(call, &page));
    let answer = get(&router, "/2/users/9/tweets").await;
    assert_eq!(ids(&answer.body["data"]), ["90", "91"]);
    assert_eq!(answer.body["meta"], json!({ "result_count": 2 }));
    let counts = peers.counts();
    assert_eq!(counts.len(), 2, "the bodies are there already: {counts:?}");
}

#[tokio::test]
async fn what_was_asked_for_and_is_hidden_is_an_error() {
    let (router, _) = gateway(|call| world(call, &json!({})));
    let answer = get(&router, "/2/tweets?ids=10,20,30,40,22").await;
    assert_eq!(ids(&answer.body["data"]), ["10", "40"]);
    let errors = answer.body["errors"].as_array().unwrap();
    let values: Vec<&str> = errors.iter().map(|error| error["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["20", "30", "22"]);
    assert_eq!(
        errors[0],
        json!({
            "title": "Authorization Error",
            "type": "https://api.twitter.com/2/problems/not-authorized-for-resource",
            "resource_type": "tweet", "resource_id": "20", "parameter": "ids", "value": "20",
            "section": "data",
            "detail": "Sorry, you are not authorized to see the Tweet with ids: [20].",
        })
    );
    let answer = get(&router, "/2/tweets/30?expansions=author_id").await;
    assert_eq!((answer.status.as_u16(), answer.body.get("data")), (200, None));
    assert_eq!(answer.body["errors"][0]["parameter"], "id");
    assert!(answer.body.get("includes").is_none());
    // And in the newer names.
    let request = Request::get("/2/tweets/30").header("user-agent", "xdk-python/0.10.6");
    let answer = send(&router, request.body(Body::empty()).unwrap()).await;
    let kind = "https://api.x.com/2/problems/not-authorized-for-resource";
    assert_eq!(answer.body["errors"][0]["type"], kind);
}

#[tokio::test]
async fn includes_hold_nothing_hidden() {
    let listed = ["11", "21", "31", "41", "13", "33"];
    let path = "/2/users/9/liked_tweets?expansions=referenced_tweets.id.author_id,\
                in_reply_to_user_id,entities.mentions.username";
    let body = list(path, &listed).await;
    assert_eq!(ids(&body["data"]), listed);
    assert_eq!(ids(&body["includes"]["tweets"]), ["10", "40"]);
    assert_eq!(ids(&body["includes"]["users"]), ["1", "4"]);
    let errors: Vec<(&str, &str, &str)> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            let text = |name: &str| error[name].as_str().unwrap();
            assert_eq!(text("title"), "Authorization Error");
            assert_eq!(text("section"), "includes");
            (text("resource_type"), text("parameter"), text("value"))
        })
        .collect();
    assert_eq!(
        errors,
        [
            ("tweet", "referenced_tweets.id", "20"),
            ("tweet", "referenced_tweets.id", "30"),
            ("user", "in_reply_to_user_id", "3"),
            ("user", "entities.mentions.username", "u3"),
        ]
    );
    // In a feed the same holds for those whom the caller blocks or mutes.
    let path = "/2/tweets/search/recent?query=a&expansions=referenced_tweets.id";
    let body = list(path, &["11", "41"]).await;
    assert_eq!(ids(&body["data"]), ["11", "41"]);
    assert_eq!(ids(&body["includes"]["tweets"]), ["10"]);
    assert_eq!(body["errors"][0]["value"], "40");
}

#[tokio::test]
async fn users_who_block_the_caller_are_hidden_and_protected_ones_are_not() {
    let all = ["1", "2", "3", "4", "5"];
    for path in ["/2/users/1/followers", "/2/users/1/following", "/2/tweets/10/liking_users"] {
        let body = list(path, &all).await;
        assert_eq!(ids(&body["data"]), ["1", "2", "4", "5"], "{path}");
        assert_eq!(body["meta"]["result_count"], 4);
    }
    // What the caller made is theirs to see, and to undo.
    for path in ["/2/users/9/blocking", "/2/users/9/muting", "/pillion/v1/follow-requests"] {
        assert_eq!(ids(&list(path, &all).await["data"]), all, "{path}");
    }
    // A look-up by handle says so with the handle.
    let found = json!({ "data": { "id": "3", "name": "N", "username": "Eve" } });
    let (router, _) = gateway(move |call| match call.route() {
        "/2/users/by/username/EVE" => ok(&found),
        _ => world(call, &json!({})),
    });
    let answer = get(&router, "/2/users/by/username/EVE").await;
    assert!(answer.body.get("data").is_none());
    let error = &answer.body["errors"][0];
    assert_eq!((&error["parameter"], &error["value"]), (&json!("username"), &json!("Eve")));
}

#[tokio::test]
async fn a_list_of_somebody_hidden_is_refused_whole() {
    for path in ["/2/users/2/liked_tweets", "/2/users/3/mentions", "/2/users/2/followers"] {
        let body = list(path, &["10", "40"]).await;
        assert!(body.get("data").is_none() && body.get("meta").is_none(), "{path} {body}");
        assert_eq!(body["errors"][0]["title"], "Authorization Error");
        assert_eq!(body["errors"][0]["resource_type"], "user");
    }
    for path in ["/2/tweets/20/liking_users", "/2/tweets/32/retweeted_by"] {
        let body = list(path, &["1", "4"]).await;
        assert!(body.get("data").is_none(), "{path} {body}");
        assert_eq!(body["errors"][0]["resource_type"], "tweet");
    }
    // Blocking or muting somebody is no reason not to look at their lists.
    let body = list("/2/users/4/liked_tweets", &["10"]).await;
    assert_eq!(ids(&body["data"]), ["10"]);
}

#[tokio::test]
async fn what_is_gone_by_now_is_left_out() {
    let body = list("/2/users/9/liked_tweets", &["10", "77", "11"]).await;
    assert_eq!(ids(&body["data"]), ["10", "11"]);
    assert_eq!(body["meta"]["result_count"], 2);
    assert!(body.get("errors").is_none());
}

#[tokio::test]
async fn metrics_are_put_together_when_they_are_asked_for() {
    let numbers = json!({
        "retweet_count": 0, "reply_count": 4, "like_count": 0, "quote_count": 5,
        "bookmark_count": 0, "impression_count": 0,
    });
    let with_numbers = move |id: &str| {
        let mut tweet = tweet(id)?;
        tweet["public_metrics"] = numbers.clone();
        Some(tweet)
    };
    let (router, peers) = gateway(move |call| look_up(call, with_numbers.clone(), reason).unwrap());
    let path = "/2/tweets/61?tweet.fields=public_metrics&expansions=referenced_tweets.id,author_id\
                &user.fields=public_metrics";
    let answer = get(&router, path).await;
    let expected = |number: u32| {
        json!({
            "retweet_count": number + 1, "reply_count": 4, "like_count": number, "quote_count": 5,
            "bookmark_count": 0, "impression_count": 0,
        })
    };
    assert_eq!(answer.body["data"]["public_metrics"], expected(7));
    assert_eq!(answer.body["includes"]["tweets"][0]["public_metrics"], expected(6));
    assert_eq!(
        answer.body["includes"]["users"][0]["public_metrics"],
        json!({
            "followers_count": 9, "following_count": 1, "tweet_count": 9, "listed_count": 0,
            "like_count": 9,
        })
    );
    peers.counts();
    get(&router, "/2/tweets/61?expansions=author_id").await;
    let counts = peers.counts();
    assert!(counts.keys().all(|call| !call.contains("count")), "{counts:?}");
}

/// Every way to write an id that stands for the same number: percent-encoded digits, zeros in
/// front, both.
fn spellings(id: &str) -> Vec<String> {
    let encoded = |at: usize| {
        let digits = id.bytes().enumerate().map(|(place, digit)| {
            if place == at { format!("%{digit:02x}") } else { char::from(digit).to_string() }
        });
        digits.collect::<String>()
    };
    let all = id.bytes().fold(String::new(), |all, digit| format!("{all}%{digit:02X}"));
    let mut spellings: Vec<String> = (0..id.len()).map(encoded).collect();
    spellings.extend([all, format!("0{id}"), format!("%30{id}"), format!("000{}", encoded(1))]);
    spellings
}

#[tokio::test]
async fn s07_a_list_is_the_same_however_its_id_is_written() {
    let mut lists = 0;
    for route in &TABLE {
        let (Query::Tweets(items, _) | Query::Users(items, _)) = &route.query else { continue };
        let about = route.template.contains("/{id}/");
        if !about || matches!(items, Items::Asked(_) | Items::Named(_)) {
            continue;
        }
        lists += 1;
        // The user of the path, or the author of its tweet, is one that the caller may not see.
        for hidden in [false, true] {
            let ask = async |id: &str| {
                let (router, peers) = gateway(move |call| {
                    let tweet =
                        |id: &str| Some(json!({ "id": id, "text": "t", "_authors": ["127"] }));
                    let reason = |user: &str| (hidden && user == "127").then_some("protected");
                    look_up(call, tweet, reason).unwrap_or_else(|| ok(&json!({ "data": [] })))
                });
                let answer = get(&router, &route.template.replace("{id}", id)).await;
                (answer.status, answer.body, peers.counts().into_values().sum::<usize>())
            };
            let plain = ask("127").await;
            assert_eq!(plain.0, StatusCode::OK, "{}", route.template);
            let refused = plain.1["errors"][0]["title"] == "Authorization Error";
            assert_eq!(refused, hidden && *items != Items::Mine, "{}: {}", route.template, plain.1);
            for id in spellings("127") {
                assert_eq!(ask(&id).await, plain, "{} with {id}", route.template);
            }
        }
    }
    assert!(lists >= 10, "{lists} lists");
}

#[tokio::test]
async fn s07_what_is_no_id_is_400_everywhere() {
    for id in ["x", "%3x", "%", "1%2F2", "%ff", "-1", "12345678901234567890", "%00"] {
        // An owner that lets everything pass, and look-ups that do not.
        let (router, _) = gateway(|call| match call.route() {
            "/internal/visibility" | "/internal/tweets" => {
                Ok(Response::builder().status(400).body(Body::empty()).unwrap())
            }
            _ => ok(&json!({ "data": [] })),
        });
        for route in &TABLE {
            let (Query::Tweets(items, _) | Query::Users(items, _)) = &route.query else { continue };
            if !route.template.contains("{id}") || matches!(items, Items::Named(_) | Items::Mine) {
                continue;
            }
            let answer = get(&router, &route.template.replace("{id}", id)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{} with {id}", route.template);
        }
    }
}
