//! Lists in pages.

use serde_json::json;

use super::harness::{ANN, BOB, CID, GONE, Harness, on_each};

/// So many new users follow Ann, one after the other; the last one first.
async fn followers(graph: &Harness, count: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    // Their ids say nothing about the order.
    for n in 0..count {
        let id = 1_000 + (n * 7) % 100;
        graph.add_account(id);
        graph.follow(id, ANN).await;
        ids.insert(0, id);
    }
    ids
}

#[tokio::test]
async fn pages_lead_on_and_back_over_everybody_once() {
    on_each(async |graph: Harness| {
        let ids = followers(&graph, 12).await;
        let path = "/2/users/11/followers?max_results=5";
        let to = |token: Option<String>| format!("{path}&pagination_token={}", token.unwrap());

        let first = graph.get(CID, path).await;
        assert_eq!(first.ids(), ids[..5]);
        assert_eq!(first.body["meta"]["result_count"], 5);
        assert_eq!(first.token("previous_token"), None);
        let second = graph.get(CID, &to(first.token("next_token"))).await;
        assert_eq!(second.ids(), ids[5..10]);
        let third = graph.get(CID, &to(second.token("next_token"))).await;
        assert_eq!(third.ids(), ids[10..]);
        assert_eq!(third.token("next_token"), None);

        let back = graph.get(CID, &to(third.token("previous_token"))).await;
        assert_eq!(back.ids(), ids[5..10]);
        let back = graph.get(CID, &to(back.token("previous_token"))).await;
        assert_eq!(back.ids(), ids[..5]);
        assert_eq!(back.token("previous_token"), None);
        assert_eq!(back.token("next_token"), first.token("next_token"));

        assert_eq!(graph.get(CID, "/2/users/11/followers").await.ids(), ids);
        assert_eq!(
            graph.get(CID, "/2/users/11/followers?max_results=12").await.token("next_token"),
            None
        );
    })
    .await;
}

#[tokio::test]
async fn every_list_has_pages() {
    on_each(async |graph: Harness| {
        graph.protect(ANN, true).await;
        for id in [BOB, CID, 14] {
            graph.add_account(id);
            graph.follow(ANN, id).await;
            graph.begin(ANN, "muting", id).await.data();
        }
        for id in [21, 22, 23] {
            graph.add_account(id);
            graph.begin(ANN, "blocking", id).await.data();
        }
        for id in [31, 32, 33] {
            graph.add_account(id);
            graph.ask(id, ANN).await;
        }
        for (path, ids) in [
            ("/2/users/11/following", [14, CID, BOB]),
            ("/2/users/11/muting", [14, CID, BOB]),
            ("/2/users/11/blocking", [23, 22, 21]),
            ("/pillion/v1/follow-requests", [33, 32, 31]),
        ] {
            let first = graph.get(ANN, &format!("{path}?max_results=2")).await;
            assert_eq!(first.ids(), ids[..2]);
            let next = first.token("next_token").unwrap();
            let second =
                graph.get(ANN, &format!("{path}?max_results=2&pagination_token={next}")).await;
            assert_eq!(second.ids(), ids[2..]);
            let previous = second.token("previous_token").unwrap();
            let back =
                graph.get(ANN, &format!("{path}?max_results=2&pagination_token={previous}")).await;
            assert_eq!(back.ids(), ids[..2]);
        }
    })
    .await;
}

#[tokio::test]
async fn what_begins_or_ends_meanwhile_does_not_shift_the_pages() {
    on_each(async |graph: Harness| {
        let ids = followers(&graph, 8).await;
        let path = "/2/users/11/followers?max_results=4";
        let next = graph.get(CID, path).await.token("next_token").unwrap();
        graph.follow(BOB, ANN).await;
        graph.end(ids[3], "following", ANN).await;
        graph.end(ids[5], "following", ANN).await;
        let second = graph.get(CID, &format!("{path}&pagination_token={next}")).await;
        assert_eq!(second.ids(), [ids[4], ids[6], ids[7]]);
    })
    .await;
}

#[tokio::test]
async fn a_page_of_which_all_are_gone_still_leads_back() {
    on_each(async |graph: Harness| {
        let ids = followers(&graph, 6).await;
        let path = "/2/users/11/followers?max_results=4";
        let next = graph.get(CID, path).await.token("next_token").unwrap();
        for id in &ids[4..] {
            graph.end(*id, "following", ANN).await;
        }
        let empty = graph.get(CID, &format!("{path}&pagination_token={next}")).await;
        assert!(empty.ids().is_empty() && empty.body.get("errors").is_none());
        let previous = empty.token("previous_token").unwrap();
        let back = graph.get(CID, &format!("{path}&pagination_token={previous}")).await;
        assert_eq!(back.ids(), ids[..4]);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    on_each(async |graph: Harness| {
        for id in [CID, 14, 15] {
            graph.add_account(id);
            graph.follow(ANN, id).await;
            graph.begin(ANN, "blocking", id).await.data();
            graph.begin(BOB, "blocking", id).await.data();
            graph.begin(ANN, "muting", id).await.data();
        }
        let get = async |by: u64, path: &str, token: &str| {
            graph.get(by, &format!("{path}?max_results=1&pagination_token={token}")).await
        };
        let path = "/2/users/11/blocking";
        let next =
            graph.get(ANN, &format!("{path}?max_results=1")).await.token("next_token").unwrap();
        assert_eq!(get(ANN, path, &next).await.ids(), [14]);
        let mut forged = next.clone();
        forged.replace_range(..1, if next.starts_with('B') { "A" } else { "B" });
        for (by, path, token) in [
            // Another user's token.
            (BOB, "/2/users/12/blocking", next.as_str()),
            // Another list's.
            (ANN, "/2/users/11/muting", &next),
            (ANN, "/2/users/11/following", &next),
            (ANN, "/2/users/11/followers", &next),
            (ANN, "/pillion/v1/follow-requests", &next),
            // A tampered one, and none at all.
            (ANN, path, &forged),
            (ANN, path, &next[..next.len() - 1]),
            (ANN, path, "nonsense"),
            (ANN, path, ""),
        ] {
            get(by, path, token).await.invalid("pagination_token");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_an_error_and_nobody_on_the_list_an_empty_page() {
    on_each(async |graph: Harness| {
        let empty = graph.get(ANN, "/2/users/12/followers").await;
        assert_eq!(empty.status, 200);
        assert_eq!(empty.body, json!({"meta": {"result_count": 0}}));
        let asked = graph.asked();
        graph.register(BOB).await;
        graph.get(ANN, "/2/users/12/followers").await.ids();
        assert_eq!(graph.asked(), asked, "whom the events told of is not asked for");
        graph.delete_account(BOB).await;
        for user in [BOB, GONE] {
            for what in ["followers", "following"] {
                let missing = graph.get(ANN, &format!("/2/users/{user}/{what}")).await;
                assert_eq!(missing.status, 200);
                assert_eq!(missing.body["errors"][0]["title"], "Not Found Error");
                assert_eq!(missing.body["errors"][0]["resource_id"], user.to_string());
                assert!(missing.body.get("meta").is_none());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_bounds_are_400_naming_the_parameter() {
    on_each(async |graph: Harness| {
        for (query, parameter) in [
            ("max_results=0", "max_results"),
            ("max_results=1001", "max_results"),
            ("max_results=ten", "max_results"),
            ("page=2", "page"),
            ("pagination_token=a&pagination_token=b", "pagination_token"),
        ] {
            for path in ["/2/users/11/followers", "/2/users/11/blocking"] {
                graph.get(ANN, &format!("{path}?{query}")).await.invalid(parameter);
            }
        }
        assert_eq!(graph.get(ANN, "/2/users/11/followers?max_results=1000").await.status, 200);
        graph.get(ANN, "/2/users/ann/followers").await.invalid("id");
    })
    .await;
}
