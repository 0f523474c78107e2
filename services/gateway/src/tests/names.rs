//! Every name that X's documents have for fields and expansions, in both versions, is taken on every
//! route that has the parameter; and each field is answered, or README says that it is not.

use serde_json::{Value, json};

use super::fake::{gateway, get, look_up, ok};
use super::real::{Form, World};
use crate::fields::{TWEET_FIELDS, USER_FIELDS};
use crate::query::{Items, Query};
use crate::routes::TABLE;

/// What version 2.166 lists: parameter, values. Those of the fields are in [`crate::fields`].
const TWEET_EXPANSIONS_166: &str = "article.cover_media,article.media_entities,attachments.media_keys,\
     attachments.media_source_tweet,attachments.poll_ids,author_id,edit_history_tweet_ids,\
     entities.mentions.username,geo.place_id,in_reply_to_user_id,entities.note.mentions.username,\
     referenced_tweets.id,referenced_tweets.id.attachments.media_keys,referenced_tweets.id.author_id";
const USER_EXPANSIONS_166: &str = "affiliation.user_id,most_recent_tweet_id,pinned_tweet_id";

/// What version 2.167 lists.
const POST_FIELDS_167: &str = "article,article_title,attachments,card_uri,community_id,context_annotations,conversation_id,\
     created_at,display_text_range,edit_controls,entities,geo,id,lang,matched_media_notes,\
     media_metadata,non_public_metrics,note_post,note_request_suggestions,organic_metrics,\
     paid_partnership,possibly_sensitive,promoted_metrics,public_metrics,reply_settings,scopes,\
     source,suggested_source_links,suggested_source_links_with_counts,text,withheld";
const POST_EXPANSIONS_167: &str = "article.cover_media,article.media_entities,attachments.media_keys,\
     attachments.media_source_tweet,attachments.poll_ids,author_id,edit_history_post_ids,\
     entities.mentions.username,geo.place_id,in_reply_to_user_id,referenced_posts,username";
const USER_EXPANSIONS_167: &str = "affiliation,most_recent_post_id,pinned_post_id";
const USER_FIELDS_167: &str = "confirmed_email,connection_status,created_at,description,entities,id,is_identity_verified,\
     location,name,parody,profile_banner_url,profile_image_url,protected,public_metrics,\
     receives_your_dm,subscribes_to_you,subscription,subscription_type,url,username,verified,\
     verified_followers_count,verified_type,withheld";
/// Not listed in 2.167, but members of its posts, so that clients may ask for them.
const POST_MEMBERS_167: &str =
    "author_id,edit_history_post_ids,in_reply_to_user_id,referenced_posts";

#[expect(clippy::unnecessary_wraps, reason = "it is what a look-up takes")]
fn tweet(id: &str) -> Option<Value> {
    Some(json!({ "id": id, "text": "t", "author_id": "1", "_authors": ["1"] }))
}

#[tokio::test]
async fn a02_every_name_of_both_versions_is_taken_on_every_route() {
    let (tweets, users) = (TWEET_FIELDS.join(","), USER_FIELDS.join(","));
    let of_tweets = [
        ("tweet.fields", &*tweets),
        ("user.fields", &users),
        ("expansions", TWEET_EXPANSIONS_166),
        ("post.fields", POST_FIELDS_167),
        ("post.fields", POST_MEMBERS_167),
        ("user.fields", USER_FIELDS_167),
        ("expansions", POST_EXPANSIONS_167),
    ];
    let of_users = [
        ("tweet.fields", &*tweets),
        ("user.fields", &users),
        ("expansions", USER_EXPANSIONS_166),
        ("post.fields", POST_FIELDS_167),
        ("user.fields", USER_FIELDS_167),
        ("expansions", USER_EXPANSIONS_167),
    ];
    let (router, _) = gateway(|call| {
        look_up(call, tweet, |_| None)
            .unwrap_or_else(|| ok(&json!({ "meta": { "result_count": 0 } })))
    });
    let (mut of_users_count, mut of_tweets_count) = (0, 0);
    for route in &TABLE {
        let (names, count) = match route.query {
            Query::Tweets(..) | Query::Stream(_) => (of_tweets.as_slice(), &mut of_tweets_count),
            Query::Users(..) => (of_users.as_slice(), &mut of_users_count),
            _ => continue,
        };
        *count += 1;
        let path = route.template.replace("{id}", "1001").replace("{username}", "u1");
        let ids = match route.query {
            Query::Tweets(Items::Asked("ids"), _) | Query::Users(Items::Named("ids"), _) => {
                "ids=1&"
            }
            Query::Users(Items::Named("usernames"), _) => "usernames=u1&",
            _ => "",
        };
        for (parameter, values) in names {
            // All at once, and each by itself: a client asks for one.
            for value in values.split(',').chain([*values]) {
                let path = format!("{path}?{ids}{parameter}={value}");
                let answer = get(&router, &path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            }
        }
    }
    assert_eq!((of_users_count, of_tweets_count), (13, 13), "a new route? it is tried now");
}

/// The names that README says are never answered.
fn missing_by_readme(parameter: &str) -> Vec<String> {
    let readme = include_str!("../../../../README.md");
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let begins = format!("`{parameter}` that are never answered:");
    let (_, rest) = readme.split_once(&begins).expect(&begins);
    let (names, _) = rest.split_once('.').unwrap();
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Asks for each field of something that has all that there is here.
#[tokio::test]
async fn a04_every_field_is_answered_or_readme_says_that_it_is_not() {
    let world = World::new(Form::InProcess).await;
    let (_, bob) = world.join("bob").await;
    let (ann_id, ann) = world.join("ann").await;
    let about = json!({
        "description": "see #rust and @bob", "location": "Bern", "url": "https://example.com",
    });
    let changed = world.call(http::Method::POST, "/pillion/v1/account/profile", &ann, &about).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let root = world.tweet(&bob, json!({ "text": "root" })).await;
    let reply = json!({
        "text": "@bob see #rust", "quote_tweet_id": root,
        "reply": { "in_reply_to_tweet_id": root },
    });
    let id = world.tweet(&ann, reply).await;
    for (parameter, fields, path) in [
        ("tweet.fields", TWEET_FIELDS.as_slice(), format!("/2/tweets/{id}")),
        ("user.fields", &USER_FIELDS, format!("/2/users/{ann_id}")),
    ] {
        let missing = missing_by_readme(parameter);
        for field in fields {
            let answer = world.get(&format!("{path}?{parameter}={field}"), &bob).await;
            let is_answered = answer.body["data"].get(*field).is_some();
            let is_missing = missing.iter().any(|name| name == field);
            assert_ne!(is_answered, is_missing, "{field}: {} {missing:?}", answer.body);
        }
        assert!(missing.iter().all(|name| fields.contains(&&**name)), "{missing:?}");
    }
}

#[tokio::test]
async fn a04_a_user_shows_how_the_caller_stands_to_them() {
    let world = World::new(Form::InProcess).await;
    let (ann_id, ann) = world.join("ann").await;
    let (bob_id, bob) = world.join("bob").await;
    let follow = json!({ "target_user_id": bob_id });
    let path = format!("/2/users/{ann_id}/following");
    world.call(http::Method::POST, &path, &ann, &follow).await;
    let asked = "user.fields=connection_status";
    for (token, of, expected) in
        [(&ann, &bob_id, json!(["following"])), (&bob, &ann_id, json!(["followed_by"]))]
    {
        let user = world.get(&format!("/2/users/{of}?{asked}"), token).await;
        assert_eq!(user.body["data"]["connection_status"], expected, "{}", user.body);
    }
    // On lists, among what is included, and for who is nothing to the caller.
    let list = world.get(&format!("/2/users/{bob_id}/followers?{asked}"), &bob).await;
    assert_eq!(list.body["data"][0]["connection_status"], json!(["followed_by"]));
    let id = world.tweet(&bob, json!({ "text": "hi" })).await;
    let path = format!("/2/tweets/{id}?expansions=author_id&{asked}");
    for (token, expected) in [(&ann, json!(["following"])), (&bob, json!([]))] {
        let tweet = world.get(&path, token).await;
        assert_eq!(tweet.body["includes"]["users"][0]["connection_status"], expected);
    }
    let me = world.get("/2/users/me", &ann).await;
    assert!(me.body["data"].get("connection_status").is_none(), "only who asks gets it");
}
