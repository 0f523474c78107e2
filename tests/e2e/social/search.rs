//! Search: what queries find, in which order, how often; and where they are wrong.

use http::Method;
use serde_json::{Value, json};

use super::{World, encoded, ids, text};

#[tokio::test]
async fn queries_find_what_they_say() {
    let world = World::start();
    let [ann, bob] = world.people(["ann", "bob"]).await;
    let root = world.tweet(&ann, "Snow day at the quay #NoSchool https://example.org/snow").await;
    let reply = world.reply(&bob, &root, &format!("@{ann} the quay is frozen")).await;
    let quote = world.quote(&bob, &root, "day of snow").await;
    let plain = world.tweet(&bob, "Schnee, überall! 雪 $TWTR").await;
    let retweet = world.retweet(&bob, &root).await;
    world.settle().await;
    for (query, expected) in [
        ("snow", vec![&retweet, &quote, &root]),
        ("SNOW -is:retweet", vec![&quote, &root]),
        ("\"snow day\"", vec![&retweet, &root]),
        ("snow day -\"snow day\"", vec![&quote]),
        ("quay", vec![&retweet, &reply, &root]),
        ("frozen OR schnee", vec![&plain, &reply]),
        (&format!("(frozen OR schnee) from:{bob} -is:reply"), vec![&plain]),
        ("#noschool", vec![&retweet, &root]),
        ("school", vec![]),
        // A retweet names whom it repeats: "RT @ann: …".
        (&format!("@{ann}"), vec![&retweet, &reply]),
        (&format!("@{ann} -is:retweet"), vec![&reply]),
        (&format!("from:{ann}"), vec![&root]),
        (&format!("from:{bob} is:reply"), vec![&reply]),
        (&format!("to:{ann}"), vec![&reply]),
        (&format!("retweets_of:{ann}"), vec![&retweet]),
        ("snow is:retweet", vec![&retweet]),
        ("snow is:quote", vec![&quote]),
        ("snow has:links -is:retweet", vec![&root]),
        ("snow has:hashtags -is:retweet", vec![&root]),
        ("quay has:mentions -is:retweet", vec![&reply]),
        ("schnee has:cashtags", vec![&plain]),
        ("$twtr", vec![&plain]),
        ("url:\"example.org\" -is:retweet", vec![&root]),
        ("ÜBERALL", vec![&plain]),
        ("雪", vec![&plain]),
        ("from:nobody_here", vec![]),
    ] {
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(world.found(&ann, query).await, expected, "{query}");
    }
    let thread = format!("conversation_id:{root} -is:retweet");
    let found = world.found(&ann, &thread).await;
    assert!(found.contains(&reply) && found.contains(&root), "{found:?}");
    assert!(!found.contains(&plain), "{found:?}");
    // Between two tweets.
    let path = format!(
        "/2/tweets/search/recent?query=snow%20OR%20frozen&since_id={root}&until_id={retweet}"
    );
    assert_eq!(world.all(&ann, &path).await, [quote.clone(), reply.clone()]);
    // Whole, with what is asked for.
    let path = "/2/tweets/search/recent?query=frozen&tweet.fields=in_reply_to_user_id&expansions=author_id";
    let found = world.get(&ann, path).await;
    assert_eq!(found["data"][0]["text"], json!(format!("@{ann} the quay is frozen")));
    assert_eq!(found["data"][0]["in_reply_to_user_id"], json!(ann.id));
    assert_eq!(found["includes"]["users"][0]["username"], json!(bob.username));
    let nothing = world.get(&ann, "/2/tweets/search/recent?query=unheard").await;
    assert_eq!(nothing, json!({ "meta": { "result_count": 0 } }));
    // What is deleted is not found.
    world.delete_tweet(&ann, &root).await;
    world.settle().await;
    assert_eq!(world.found(&ann, "snow").await, [quote]);
    world.rebuilds_the_same().await;
}

#[tokio::test]
async fn results_come_in_pages_and_are_counted() {
    let world = World::start();
    let [ann] = world.people(["ann"]).await;
    let mut posted = Vec::new();
    for n in 0..25 {
        posted.push(world.tweet(&ann, &format!("melon {n}")).await);
    }
    posted.reverse();
    world.settle().await;
    let path = "/2/tweets/search/recent?query=melon&max_results=10";
    let first = world.get(&ann, path).await;
    assert_eq!(ids(&first), posted[..10]);
    assert_eq!(first["meta"]["newest_id"], json!(posted[0]));
    assert_eq!(first["meta"]["oldest_id"], json!(posted[9]));
    let next = text(&first["meta"]["next_token"]);
    // Both names of the parameter mean the same.
    for name in ["next_token", "pagination_token"] {
        let second = world.get(&ann, &format!("{path}&{name}={next}")).await;
        assert_eq!(ids(&second), posted[10..20]);
    }
    assert_eq!(world.all(&ann, path).await, posted);

    let app = world.app(&ann).await;
    let count = |query: &str| {
        let path = format!("/2/tweets/counts/recent?{query}");
        let (app, world) = (app.clone(), &world);
        async move { world.ask(&app, Method::GET, &path, Value::Null).await.expect(200).json() }
    };
    for (granularity, buckets) in [("day", 8), ("hour", 169)] {
        let counted = count(&format!("query=melon&granularity={granularity}")).await;
        assert_eq!(counted["meta"]["total_tweet_count"], json!(25), "{counted}");
        let data = counted["data"].as_array().expect("buckets");
        assert!((buckets - 1..=buckets).contains(&data.len()), "{granularity}: {}", data.len());
        let sum: u64 = data.iter().filter_map(|bucket| bucket["tweet_count"].as_u64()).sum();
        assert_eq!(sum, 25);
        for pair in data.windows(2) {
            assert_eq!(pair[0]["end"], pair[1]["start"], "no gap and no overlap");
        }
    }
    assert_eq!(count("query=durian").await["meta"]["total_tweet_count"], json!(0));
    world.try_get(&ann, "/2/tweets/counts/recent?query=melon").await.expect(403);
}

#[tokio::test]
async fn errors_point_at_the_place() {
    let world = World::start();
    let [ann] = world.people(["ann"]).await;
    let app = world.app(&ann).await;
    for (query, says) in [
        ("cat )".to_owned(), "closes no bracket; remove it or open one with `(` (at position 5)"),
        ("cat (dog (bird)".to_owned(), "never closed; add a `)` (at position 5)"),
        ("cat \"dog".to_owned(), "quote is never closed"),
        ("-cat -dog".to_owned(), "only what is excluded is given"),
        ("-cat".to_owned(), "(at position 1)"),
        ("cat OR -dog".to_owned(), "(at position 8)"),
        ("has:links".to_owned(), "cannot stand alone"),
        ("cat OR".to_owned(), "(at position 7)"),
        ("cat foo:bar".to_owned(), "there is no operator `foo:`"),
        ("cat lang:en".to_owned(), "`lang:` is not available"),
        // Places are counted in characters, not in bytes.
        ("雪雪 )".to_owned(), "(at position 4)"),
        (String::new(), "the query is empty"),
        ("a".repeat(513), "has 513 characters and may have 512 (at position 513)"),
        ("é".repeat(1_000), "has 1000 characters and may have 512 (at position 513)"),
        ("word ".repeat(900), "has 4500 characters and may have 512 (at position 513)"),
        (format!("{}a{}", "(".repeat(40), ")".repeat(40)), "brackets in each other"),
    ] {
        let shown: String = query.chars().take(40).collect();
        let path = format!("/2/tweets/search/recent?query={}", encoded(&query));
        let answer = world.try_get(&ann, &path).await;
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["title"], json!("Invalid Request"), "{shown}");
        let error = &answer["errors"][0];
        let message = text(&error["message"]);
        assert!(message.contains(says), "{shown}: {message}");
        assert!(error["parameters"].get("query").is_some(), "{shown}: {error}");
        // The same of counts.
        let path = format!("/2/tweets/counts/recent?query={}", encoded(&query));
        let answer = world.ask(&app, Method::GET, &path, Value::Null).await.expect(400);
        assert!(answer.text().contains("(at position "), "{shown}: {}", answer.text());
    }
    for (parameters, named) in [
        ("", "query"),
        ("query=a&max_results=9", "max_results"),
        ("query=a&max_results=101", "max_results"),
        ("query=a&sort_order=relevancy", "sort_order"),
        ("query=a&since_id=x", "since_id"),
        ("query=a&next_token=made-up", "next_token"),
        ("query=a&surprise=1", "surprise"),
        ("query=a&start_time=2026-07-02T00:00:00Z&end_time=2026-07-01T00:00:00Z", "start_time"),
    ] {
        let path = format!("/2/tweets/search/recent?{parameters}");
        let answer = world.try_get(&ann, &path).await.expect(400);
        let wrong = answer.json()["errors"].as_array().expect("errors").clone();
        let names_it = |error: &Value| error["parameters"].get(named).is_some();
        assert!(wrong.iter().any(names_it), "{parameters}: {}", answer.text());
    }
    // 512 characters are fine, however many bytes they are.
    let path = format!("/2/tweets/search/recent?query={}", encoded(&"é".repeat(512)));
    assert_eq!(ids(&world.get(&ann, &path).await), Vec::<String>::new());
}
