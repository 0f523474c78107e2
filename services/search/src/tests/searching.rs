//! Recent search.

use pillion_chassis::testing::BACKENDS;
use serde_json::json;

use super::harness::{ANN, BOB, CID, Draft, Harness, tweets};

#[tokio::test]
async fn each_operator_finds_what_it_names_and_nothing_else() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let plain = service.post(ANN, "Snow day, no school! Café 語学 😀").await;
        let tagged = service.post(BOB, "#NoSchool $TWTR https://dev.example.com/a/b?c=d").await;
        let reply = service.next_id();
        let draft = Draft {
            by: CID,
            text: "@ann @bob snow again",
            mentions: &[ANN, BOB],
            replied_to: Some((plain, ANN)),
            conversation: Some(plain),
            ..Draft::default()
        };
        service.post_as(reply, draft).await;
        let quote = service.next_id();
        let draft = Draft {
            by: ANN,
            text: "look, day snow",
            quoted: Some((tagged, BOB)),
            ..Draft::default()
        };
        service.post_as(quote, draft).await;
        let retweet = service.retweet(CID, tagged, BOB).await;

        for (query, expected) in [
            ("snow", vec![quote, reply, plain]),
            ("SNOW day", vec![quote, plain]),
            ("\"snow day\"", vec![plain]),
            ("\"day snow\" OR school", vec![quote, plain]),
            ("snow-day", vec![plain]),
            ("café", vec![plain]),
            ("cafe", vec![]),
            ("学", vec![plain]),
            ("語学", vec![plain]),
            ("学語", vec![]),
            ("😀", vec![plain]),
            ("snow -day", vec![reply]),
            ("snow -(again OR look)", vec![plain]),
            ("snow -again -look", vec![plain]),
            ("(again OR look) snow", vec![quote, reply]),
            ("#noschool", vec![retweet, tagged]),
            ("noschool", vec![retweet, tagged]),
            ("#school", vec![]),
            ("$twtr -is:retweet", vec![tagged]),
            ("@ann", vec![reply]),
            ("@Bob -is:retweet", vec![reply]),
            ("@bob", vec![retweet, reply]),
            ("@nobody", vec![]),
            ("from:ANN", vec![quote, plain]),
            ("from:11", vec![quote, plain]),
            ("from:ann -snow", vec![]),
            ("from:nobody", vec![]),
            ("to:ann", vec![reply]),
            ("retweets_of:bob", vec![retweet]),
            ("retweets_of:ann", vec![]),
            ("from:cid is:retweet", vec![retweet]),
            ("url:example.com", vec![retweet, tagged]),
            ("url:\"https://dev.example.com/a\"", vec![retweet, tagged]),
            ("url:example.org", vec![]),
            ("url:b/a", vec![]),
            ("dev", vec![]),
            ("snow is:reply", vec![reply]),
            ("snow is:quote", vec![quote]),
            ("snow -is:reply -is:quote", vec![plain]),
            ("(from:bob OR from:cid) has:hashtags", vec![retweet, tagged]),
            ("(from:bob OR from:cid) has:links -is:retweet", vec![tagged]),
            ("(from:bob OR from:cid) has:cashtags", vec![retweet, tagged]),
            ("(from:bob OR from:cid) has:mentions", vec![retweet, reply]),
            ("(from:bob OR from:cid) has:media", vec![]),
        ] {
            assert_eq!(service.found(query).await, expected, "{backend:?} {query}");
        }
        let query = format!("conversation_id:{plain}");
        assert_eq!(service.found(&query).await, [reply, plain], "{backend:?} {query}");
    }
}

#[tokio::test]
async fn what_is_gone_or_protected_is_not_found_also_not_on_later_pages() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let mut posted = Vec::new();
        for number in 0..24 {
            posted.push(service.post([ANN, BOB, CID][number % 3], &format!("tea {number}")).await);
        }
        let repeated = service.retweet(ANN, posted[1], BOB).await;
        let first = service.search("tea", "").await;
        assert_eq!(tweets(&first)[0], repeated);
        let token = first.body["meta"]["next_token"].as_str().unwrap().to_owned();

        // The tweets of Ann that are not on the first page, without one; none of Bob's.
        service.delete(ANN, posted[3]).await;
        service.protect(BOB, true).await;
        service.delete_user(CID).await;
        let expected: Vec<_> = [12, 9, 6, 0].map(|number| posted[number]).into();
        let rest = service.search("tea", &format!("&next_token={token}")).await;
        assert_eq!(tweets(&rest), expected, "{backend:?}");
        assert!(rest.body["meta"].get("next_token").is_none());
        assert_eq!(service.found("tea from:ann").await.len(), 7, "the retweet of Bob is hidden");
        assert!(service.found("from:cid").await.is_empty());

        service.protect(BOB, false).await;
        assert_eq!(service.found("from:bob").await.len(), 8);
        assert_eq!(service.found("retweets_of:bob").await, [repeated]);
        service.unretweet(repeated, ANN, posted[1], BOB).await;
        assert!(service.found("retweets_of:bob").await.is_empty());
    }
}

#[tokio::test]
async fn the_handle_of_a_deleted_account_finds_its_new_owner() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        service.post(BOB, "first").await;
        service.delete_user(BOB).await;
        service.register(99, "Bob").await;
        let id = service.post(99, "second").await;
        assert_eq!(service.found("from:bob").await, [id]);
    }
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let mut posted = Vec::new();
        for number in 0..25 {
            posted.push(service.post(ANN, &format!("tea {number}")).await);
        }
        posted.reverse();
        let (mut seen, mut token) = (Vec::new(), String::new());
        for (page, name) in ["next_token", "pagination_token", "next_token"].iter().enumerate() {
            // A tweet that comes meanwhile moves no page.
            service.post(ANN, "tea late").await;
            let more = if token.is_empty() { String::new() } else { format!("&{name}={token}") };
            let reply = service.search("tea -late", &more).await;
            let ids = tweets(&reply);
            let meta = &reply.body["meta"];
            assert_eq!(meta["result_count"], ids.len());
            assert_eq!(meta["newest_id"], ids[0].to_string());
            assert_eq!(meta["oldest_id"], ids[ids.len() - 1].to_string());
            assert_eq!(meta.get("next_token").is_some(), page < 2);
            token = meta["next_token"].as_str().unwrap_or_default().to_owned();
            seen.extend(ids);
        }
        assert_eq!(seen, posted, "{backend:?}");
        let all = service.search("tea -late", "&max_results=100").await;
        assert_eq!(tweets(&all), posted);
        let none = service.search("coffee", "").await;
        assert_eq!(none.body, json!({"meta": {"result_count": 0}}));
    }
}

#[tokio::test]
async fn the_window_is_a_week_and_can_be_made_smaller() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let mut posted = Vec::new();
        for day in ["30T10:00:00", "01T10:00:01", "02T10:00:00", "03T10:00:00"] {
            let month = if day.starts_with('3') { "06" } else { "07" };
            service.clock.set(format!("2026-{month}-{day}.000Z").parse().unwrap());
            // Ids only grow, so each day needs a later one.
            posted.push(service.post(ANN, "tea").await);
        }
        service.clock.set("2026-07-08T10:00:01.000Z".parse().unwrap());
        let [_, a, b, c] = posted[..] else { panic!() };
        for (more, expected) in [
            (String::new(), vec![c, b, a]),
            (format!("&since_id={a}"), vec![c, b]),
            (format!("&until_id={c}"), vec![b, a]),
            ("&start_time=2026-07-02T10:00:00Z".to_owned(), vec![c, b]),
            ("&start_time=2026-07-02T10:00:01Z".to_owned(), vec![c]),
            ("&end_time=2026-07-02T10:00:00Z".to_owned(), vec![a]),
            (format!("&since_id={a}&end_time=2026-07-03T10:00:00Z"), vec![b]),
        ] {
            assert_eq!(tweets(&service.search("tea", &more).await), expected, "{backend:?} {more}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let reply = service.search("cat (dog", "").await;
        assert_eq!(reply.status, 400);
        assert_eq!(
            reply.body,
            json!({
                "title": "Invalid Request",
                "detail": "One or more parameters to your request was invalid.",
                "type": "https://api.twitter.com/2/problems/invalid-request",
                "status": 400,
                "errors": [{
                    "message": "There were errors processing your request: this `(` is never \
                                closed; add a `)` (at position 5)",
                    "parameters": {"query": ["cat (dog"]},
                }],
            })
        );
        for (query, more, says) in [
            ("-cat -dog", "", "only what is excluded is given"),
            ("", "", "the query is empty"),
            ("cat", "&sort_order=relevancy", "is not one of [recency]: tweets are not ranked here"),
            ("cat", "&max_results=9", "is not a whole number between 10 and 100"),
            ("cat", "&next_token=x", "is not valid: send a token"),
            ("cat", "&next_token=x&pagination_token=x", "mean the same"),
            ("cat", "&until_id=20", "must be the id of a tweet created after"),
            ("cat", "&limit=5", "The query parameter [limit] is not one of"),
        ] {
            let reply = service.search(query, more).await;
            assert_eq!(reply.status, 400, "{query} {more}");
            assert!(reply.message().contains(says), "{}", reply.message());
        }
        let long = service.search(&"a".repeat(1_000), "").await;
        assert!(long.message().contains("has 1000 characters and may have 512"), "{}", long.body);
        let missing = service.get("/2/tweets/search/recent").await;
        assert!(missing.message().contains("`query` query parameter can not be empty"));
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_query_only() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        for number in 0..11 {
            service.post(ANN, &format!("tea cup {number}")).await;
        }
        let reply = service.search("tea", "").await;
        let token = reply.body["meta"]["next_token"].as_str().unwrap().to_owned();
        for (query, more, status) in [
            ("tea", "", 200),
            ("tea", "&max_results=20", 200),
            ("cup", "", 400),
            ("tea", "&start_time=2026-07-08T00:00:00Z", 400),
        ] {
            let reply = service.search(query, &format!("&next_token={token}{more}")).await;
            assert_eq!(reply.status, status, "{query}{more}");
        }
        let (head, tail) = token.split_at(5);
        let changed =
            format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
        assert_eq!(service.search("tea", &format!("&next_token={changed}")).await.status, 400);
    }
}

/// The same on both back ends: the words of scripts that do not put spaces between words, or not
/// before endings, are found wherever they stand, and letters are one in any case.
#[tokio::test]
async fn d07_words_are_found_in_scripts_without_spaces_and_in_any_case() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let korean = service.post(ANN, "한글은 아름답다").await;
        let thai = service.post(ANN, "ฉันรักประเทศไทยมาก").await;
        let lao = service.post(ANN, "ຂ້ອຍຮັກປະເທດລາວ").await;
        let khmer = service.post(ANN, "ខ្ញុំស្រឡាញ់ប្រទេសកម្ពុជា").await;
        let burmese = service.post(ANN, "ကျွန်တော်မြန်မာနိုင်ငံကိုချစ်တယ်").await;
        let turkish = service.post(ANN, "İSTANBUL ılık").await;
        let german = service.post(ANN, "Hauptstraße").await;
        for (query, expected) in [
            ("한글", vec![korean]),
            ("한글은", vec![korean]),
            ("아름", vec![korean]),
            ("글한", vec![]),
            ("ประเทศไทย", vec![thai]),
            ("รัก", vec![thai]),
            ("ไทยรัก", vec![]),
            ("ລາວ", vec![lao]),
            ("ប្រទេស", vec![khmer]),
            ("កម្ពុជា", vec![khmer]),
            ("မြန်မာ", vec![burmese]),
            ("\"မြန်မာနိုင်ငံ\"", vec![burmese]),
            ("istanbul", vec![turkish]),
            ("İstanbul", vec![turkish]),
            ("i\u{307}stanbul", vec![turkish]),
            ("ILIK", vec![turkish]),
            ("hauptstrasse", vec![german]),
            ("HAUPTSTRASSE", vec![german]),
            ("한글 OR ลาว OR ລາວ", vec![lao, korean]),
            ("from:ann -한글 -ไทย ລາວ", vec![lao]),
        ] {
            assert_eq!(service.found(query).await, expected, "{backend:?} {query}");
        }
    }
}
