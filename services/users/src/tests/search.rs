//! Users found by words.

use serde_json::json;

use super::{Harness, identity, on_each, user};

#[tokio::test]
async fn users_are_found_by_the_beginnings_of_words() {
    on_each(async |users: Harness| {
        for (id, username, name) in [
            (1, "ann_lee", "Ann-Marie"),
            (2, "Bob", "Ann's friend Ödön"),
            (3, "annabel", "Belle"),
            (4, "cid", "CID"),
        ] {
            users.register(id, &json!({"username": username, "name": name})).await;
        }
        let ids = async |query: &str| {
            let path = format!("/2/users/search?query={query}");
            let reply = users.send("GET", &path, Some(user(12)), "").await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            let data = reply.body["data"].as_array().cloned().unwrap_or_default();
            data.iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("ann").await, ["3", "2", "1"]);
        assert_eq!(ids("ANN+mar").await, ["1"]);
        assert_eq!(ids("ann+fri").await, ["2"]);
        assert_eq!(ids("lee").await, ["1"]);
        assert_eq!(ids("%C3%B6d").await, ["2"]);
        assert_eq!(ids("@cid").await, ["4"]);
        assert_eq!(ids("nn").await, [""; 0]);
        assert_eq!(ids("ann%25").await, ["3", "2", "1"]);

        users.change(2, &json!({"name": "Robert"})).await;
        users.end("purge", 3).await;
        assert_eq!(ids("ann").await, ["1"]);
        assert_eq!(ids("robert").await, ["2"]);
        assert_eq!(ids("fri").await, [""; 0]);
        for (path, parameter) in [
            ("/2/users/search", "query"),
            ("/2/users/search?query=", "query"),
            ("/2/users/search?query=%25%25", "query"),
            (&format!("/2/users/search?query={}", "a".repeat(51)), "query"),
            ("/2/users/search?query=a&max_results=1001", "max_results"),
            ("/2/users/search?query=a&next_token=x", "next_token"),
        ] {
            let reply = users.send("GET", path, Some(user(12)), "").await;
            assert_eq!(reply.status, 400, "{path}");
            assert!(
                reply.body["errors"][0]["parameters"].get(parameter).is_some(),
                "{}",
                reply.body
            );
        }
        assert_eq!(users.get("/2/users/search?query=a").await.status, 401);
        let app = users.send("GET", "/2/users/search?query=a", Some(identity()), "").await;
        assert_eq!(app.status, 403);
    })
    .await;
}

#[tokio::test]
async fn a_search_comes_in_pages() {
    on_each(async |users: Harness| {
        for id in 1..=5 {
            let body = json!({"username": format!("ann{id}"), "name": "Ann"});
            users.register(id, &body).await;
        }
        let page = async |token: Option<String>| {
            let token = token.map(|token| format!("&next_token={token}")).unwrap_or_default();
            let path = format!("/2/users/search?query=ann&max_results=2{token}");
            let body = users.send("GET", &path, Some(user(12)), "").await.body;
            let data = body["data"].as_array().unwrap();
            let ids = data.iter().map(|user| user["id"].as_str().unwrap().to_owned());
            let token = |name: &str| body["meta"][name].as_str().map(str::to_owned);
            (ids.collect::<Vec<_>>(), token("next_token"), token("previous_token"))
        };
        let (ids, next, previous) = page(None).await;
        assert_eq!((ids, previous), (vec!["5".to_owned(), "4".to_owned()], None));
        let (ids, next, _) = page(next).await;
        assert_eq!(ids, ["3", "2"]);
        let (ids, next, previous) = page(next).await;
        assert_eq!((ids, next), (vec!["1".to_owned()], None));
        let (ids, next, previous) = page(previous).await;
        assert_eq!(ids, ["3", "2"]);
        assert!(next.is_some());
        let (ids, next, previous) = page(previous).await;
        assert_eq!((ids, previous), (vec!["5".to_owned(), "4".to_owned()], None));
        assert_eq!(page(next).await.0, ["3", "2"]);
    })
    .await;
}
