//! The names of X's API since its version 2.167, which says "post" where 2.166 says "tweet".
//!
//! Everything else here and in the services knows the older names only. A caller with the newer
//! ones, which X's own library xdk has, is understood by translating its query, and the answer.

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use pillion_chassis::Problem;
use pillion_chassis::peers::body_of;
use serde_json::{Map, Value};

use crate::forward::no_answer;

/// Which names a caller uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Those of 2.166.
    Tweets,
    /// Those of 2.167.
    Posts,
}

/// What the query holds, whatever the parameter: older name, newer name.
const ASKED: [(&str, &str); 9] = [
    ("edit_history_tweet_ids", "edit_history_post_ids"),
    ("most_recent_tweet_id", "most_recent_post_id"),
    ("note_tweet", "note_post"),
    ("pinned_tweet_id", "pinned_post_id"),
    ("referenced_tweets.id", "referenced_posts"),
    ("referenced_tweets.id.attachments.media_keys", "referenced_posts.attachments.media_keys"),
    ("referenced_tweets.id.author_id", "referenced_posts.author_id"),
    ("tweet.fields", "post.fields"),
    ("tweet_count", "post_count"),
];

/// What only one parameter calls otherwise, for another one has the same name and keeps it:
/// parameter, older name, newer name.
const ASKED_IN: [(&str, &str, &str); 2] = [
    ("expansions", "affiliation.user_id", "affiliation"),
    // A field of posts since 2.167, which are answered with `referenced_posts`.
    ("post.fields", "referenced_tweets", "referenced_posts"),
];

/// What answers hold: older name, newer name.
const ANSWERED: [(&str, &str); 10] = [
    ("edit_history_tweet_ids", "edit_history_post_ids"),
    ("most_recent_tweet_id", "most_recent_post_id"),
    ("note_tweet", "note_post"),
    ("pinned_tweet_id", "pinned_post_id"),
    ("referenced_tweets", "referenced_posts"),
    ("retweet_count", "repost_count"),
    ("total_tweet_count", "total_post_count"),
    ("tweet.fields", "post.fields"),
    ("tweet_count", "post_count"),
    ("tweets", "posts"),
];

/// Numbers that the newer version has as text.
const TEXTS: [&str; 6] = [
    "cap_per_client_app",
    "cap_per_project",
    "project_cap",
    "project_rules_count",
    "project_usage",
    "usage",
];

/// Where the kinds of problems are named: older, newer.
const PROBLEMS: (&str, &str) =
    ("https://api.twitter.com/2/problems/", "https://api.x.com/2/problems/");

/// What only the newer version has: parameter, value. Nothing here has a value for them.
const NEWER: [(&str, &str); 3] = [
    ("expansions", "username"),
    ("post.fields", "article_title"),
    ("user.fields", "subscribes_to_you"),
];

/// The parameters whose values are names.
const LISTS: [&str; 4] = ["expansions", "post.fields", "search_count.fields", "user.fields"];

/// How xdk introduces itself. It understands no problem of the older version, not even in answers
/// to queries that are the same in both.
const XDK: &[u8] = b"xdk-";

impl Dialect {
    /// What a request is written in.
    pub(crate) fn of(headers: &HeaderMap, query: &str) -> Self {
        let agent = headers.get(USER_AGENT);
        let is_xdk = agent.is_some_and(|agent| agent.as_bytes().starts_with(XDK));
        let is_newer = form_urlencoded::parse(query.as_bytes()).any(|(name, values)| {
            name == "post.fields"
                || (LISTS.contains(&&*name)
                    && values.split(',').any(|value| older_value(&name, value) != Some(value)))
        });
        if is_xdk || is_newer { Self::Posts } else { Self::Tweets }
    }

    /// A query in the older names.
    pub(crate) fn query(self, query: &str) -> String {
        if self == Self::Tweets {
            return query.to_owned();
        }
        let mut translated = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !LISTS.contains(&&*name) {
                translated.append_pair(&name, &value);
                continue;
            }
            let values = value.split(',').filter_map(|value| older_value(&name, value));
            let values: Vec<&str> = values.collect();
            // Nothing but names that are not known here chooses nothing.
            if !values.is_empty() {
                translated.append_pair(older(&name), &values.join(","));
            }
        }
        translated.finish()
    }

    /// Puts a part of an answer into the caller's names.
    pub(crate) fn rename(self, part: &mut Value) {
        if self == Self::Posts {
            translate(part);
        }
    }

    /// An answer in the caller's names; only one in the newer ones is read for that.
    pub(crate) async fn answer(self, owner: &str, response: Response) -> Result<Response, Problem> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.contains("json"));
        if self == Self::Tweets || !is_json {
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        let bytes = body_of(owner, body).await.map_err(no_answer)?;
        // What is no JSON is not ours to mend.
        let Ok(mut answer) = serde_json::from_slice(&bytes) else {
            return Ok(Response::from_parts(parts, Body::from(bytes)));
        };
        translate(&mut answer);
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Body::from(answer.to_string())))
    }
}

/// The older name for one of the query's.
fn older(name: &str) -> &str {
    let known = ASKED.iter().find(|(_, newer)| *newer == name);
    known.map_or(name, |(older, _)| older)
}

/// The older name for a value of a list; `None` for what the older version does not have.
fn older_value<'a>(list: &str, value: &'a str) -> Option<&'a str> {
    let of_list = ASKED_IN.iter().find(|(name, _, newer)| *name == list && *newer == value);
    if let Some((_, older, _)) = of_list {
        return Some(older);
    }
    (!NEWER.contains(&(list, value))).then(|| older(value))
}

/// Puts the newer names into an answer. No member of an answer is named by a user, so a name
/// means the same wherever it stands.
fn translate(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(translate),
        Value::Object(members) => {
            *members = std::mem::take(members)
                .into_iter()
                .map(|(name, mut value)| {
                    if TEXTS.contains(&&*name) && value.is_number() {
                        value = value.to_string().into();
                    }
                    match (&*name, &mut value) {
                        ("type", Value::String(kind)) => rename_problem(kind),
                        ("message" | "parameter", Value::String(text)) => rename_asked(text),
                        (_, value) => translate(value),
                    }
                    let known = ANSWERED.iter().find(|(older, _)| *older == name);
                    (known.map_or(name, |(_, newer)| (*newer).to_owned()), value)
                })
                .collect::<Map<_, _>>();
            // The newer version gives what was made by a retweet another name.
            if members.contains_key("retweeted")
                && let Some(id) = members.get("id").cloned()
            {
                members.insert("rest_id".to_owned(), id);
            }
        }
        _ => {}
    }
}

fn rename_problem(kind: &mut String) {
    if let Some(name) = kind.strip_prefix(PROBLEMS.0) {
        *kind = format!("{}{name}", PROBLEMS.1);
    }
}

/// Errors name what was asked for, in the words in which it was asked.
fn rename_asked(text: &mut String) {
    for (older, newer) in ASKED {
        if text.contains(older) {
            *text = text.replace(older, newer);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn newer_names_or_xdk_make_the_dialect() {
        let dialect = |agent, query| {
            let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(agent))]);
            Dialect::of(&headers, query)
        };
        for (agent, query, expected) in [
            ("curl/8", "", Dialect::Tweets),
            ("curl/8", "tweet.fields=note_tweet&expansions=author_id", Dialect::Tweets),
            ("curl/8", "ids=1&post.fields=id", Dialect::Posts),
            ("curl/8", "expansions=author_id%2Creferenced_posts", Dialect::Posts),
            ("curl/8", "user.fields=subscribes_to_you", Dialect::Posts),
            // Only where names stand.
            ("curl/8", "usernames=note_post", Dialect::Tweets),
            ("xdk-python/0.10.6", "", Dialect::Posts),
            ("not-xdk-", "", Dialect::Tweets),
        ] {
            assert_eq!(dialect(agent, query), expected, "{agent} {query}");
        }
        assert_eq!(Dialect::of(&HeaderMap::new(), "max_results=5"), Dialect::Tweets);
    }

    #[test]
    fn a_query_is_put_into_the_older_names() {
        for (sent, expected) in [
            (
                "ids=1%2C2&post.fields=created_at,note_post",
                "ids=1%2C2&tweet.fields=created_at%2Cnote_tweet",
            ),
            (
                "expansions=referenced_posts,author_id",
                "expansions=referenced_tweets.id%2Cauthor_id",
            ),
            ("post.fields=article_title&user.fields=url,subscribes_to_you", "user.fields=url"),
            ("post.fields=colour", "tweet.fields=colour"),
            ("expansions=username,author_id", "expansions=author_id"),
            (
                "query=post_count&search_count.fields=start,post_count",
                "query=post_count&search_count.fields=start%2Ctweet_count",
            ),
            // Values of other parameters are not names.
            ("usernames=note_post", "usernames=note_post"),
        ] {
            assert_eq!(Dialect::Posts.query(sent), expected);
            assert_eq!(Dialect::Tweets.query(sent), sent);
        }
    }

    #[test]
    fn an_answer_is_put_into_the_newer_names() {
        let mut answer = json!({
            "data": [{
                "id": "1",
                "text": "tweets about note_tweet",
                "edit_history_tweet_ids": ["1"],
                "public_metrics": { "retweet_count": 0, "like_count": 0 },
                "referenced_tweets": [{ "type": "quoted", "id": "2" }],
            }],
            "includes": { "tweets": [{ "id": "2", "edit_history_tweet_ids": ["2"] }] },
            "errors": [{
                "type": "https://api.twitter.com/2/problems/resource-not-found",
                "parameter": "referenced_tweets.id",
                "value": "tweets",
            }, {
                "message": "The `tweet.fields` value [x] is not one of [id,note_tweet]",
                "parameters": { "tweet.fields": ["x"] },
            }],
        });
        translate(&mut answer);
        let expected = json!({
            "data": [{
                "id": "1",
                "text": "tweets about note_tweet",
                "edit_history_post_ids": ["1"],
                "public_metrics": { "repost_count": 0, "like_count": 0 },
                "referenced_posts": [{ "type": "quoted", "id": "2" }],
            }],
            "includes": { "posts": [{ "id": "2", "edit_history_post_ids": ["2"] }] },
            "errors": [{
                "type": "https://api.x.com/2/problems/resource-not-found",
                "parameter": "referenced_posts",
                "value": "tweets",
            }, {
                "message": "The `post.fields` value [x] is not one of [id,note_post]",
                "parameters": { "post.fields": ["x"] },
            }],
        });
        assert_eq!(answer, expected);
    }

    #[test]
    fn what_only_new_routes_answer_is_renamed_too() {
        for (mut answer, expected) in [
            (
                json!({ "data": [{ "tweet_count": 3 }], "meta": { "total_tweet_count": 3 } }),
                json!({ "data": [{ "post_count": 3 }], "meta": { "total_post_count": 3 } }),
            ),
            (
                json!({ "data": { "id": "5", "retweeted": true } }),
                json!({ "data": { "id": "5", "rest_id": "5", "retweeted": true } }),
            ),
            (json!({ "data": { "retweeted": false } }), json!({ "data": { "retweeted": false } })),
            (
                json!({ "data": { "project_usage": 3, "usage": [{ "usage": 3 }], "like_count": 1 } }),
                json!({ "data": { "project_usage": "3", "usage": [{ "usage": "3" }], "like_count": 1 } }),
            ),
        ] {
            Dialect::Tweets.rename(&mut answer.clone());
            Dialect::Posts.rename(&mut answer);
            assert_eq!(answer, expected);
        }
    }
}
