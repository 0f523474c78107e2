//! What is at home, and in which pages.

use pillion_chassis::testing::BACKENDS;
use pillion_events::GraphEvent;

use super::harness::{Harness, caller, relation};
use crate::Config;

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;
const DAN: u64 = 14;

#[tokio::test]
async fn a_follow_brings_what_was_posted_before_and_what_is_posted_after() {
    for h in Harness::on_both().await {
        h.post(1, BOB).await;
        h.follow(ANN, BOB).await;
        h.post(2, BOB).await;
        h.post(3, CID).await;
        h.post(4, ANN).await;
        assert_eq!(h.home(ANN).await, [4, 2, 1]);
        assert_eq!(h.home(BOB).await, [2, 1]);
        assert_eq!(h.home(CID).await, [3]);
        assert!(h.home(DAN).await.is_empty());
        // Once more is no second follow.
        h.follow(ANN, BOB).await;
        h.unfollow(ANN, BOB).await;
        assert_eq!(h.home(ANN).await, [4]);
        h.post(5, BOB).await;
        assert_eq!(h.home(ANN).await, [4]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_block_ends_it_in_both_directions() {
    for h in Harness::on_both().await {
        h.follow(ANN, BOB).await;
        h.follow(BOB, ANN).await;
        h.post(1, ANN).await;
        h.post(2, BOB).await;
        h.deliver("graph", &GraphEvent::Blocked(relation(ANN, BOB))).await;
        assert_eq!((h.home(ANN).await, h.home(BOB).await), (vec![1], vec![2]));
        // What the graph says next changes nothing more; a mute nothing at all.
        h.unfollow(ANN, BOB).await;
        h.unfollow(BOB, ANN).await;
        h.follow(ANN, CID).await;
        h.post(3, CID).await;
        h.deliver("graph", &GraphEvent::Muted(relation(ANN, CID))).await;
        assert_eq!(h.home(ANN).await, [3, 1]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_reply_is_for_those_who_follow_both_ends() {
    for h in Harness::on_both().await {
        h.post(1, CID).await;
        h.follow(ANN, BOB).await;
        h.follow(DAN, BOB).await;
        h.follow(DAN, CID).await;
        h.follow(CID, BOB).await;
        h.reply(2, BOB, (1, CID)).await;
        h.reply(3, BOB, (2, BOB)).await;
        assert_eq!(h.home(ANN).await, [3], "follows one end only; a thread with oneself is none");
        assert_eq!(h.home(DAN).await, [3, 2, 1], "follows both");
        assert_eq!(h.home(CID).await, [3, 2, 1], "is the other end");
        assert_eq!(h.home(BOB).await, [3, 2], "wrote it");
        // The second follow brings the reply, its end takes it.
        h.follow(ANN, CID).await;
        assert_eq!(h.home(ANN).await, [3, 2, 1]);
        h.unfollow(ANN, CID).await;
        assert_eq!(h.home(ANN).await, [3]);
        assert_eq!(h.page(DAN, "exclude=replies").await.ids(), [1]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn retweets_come_and_go() {
    for h in Harness::on_both().await {
        h.follow(ANN, BOB).await;
        h.post(1, CID).await;
        h.post(2, CID).await;
        h.retweet(3, BOB, (1, CID)).await;
        h.retweet(4, BOB, (2, CID)).await;
        h.post(5, BOB).await;
        assert_eq!(h.home(ANN).await, [5, 4, 3]);
        assert_eq!(h.page(ANN, "exclude=retweets,replies").await.ids(), [5]);
        h.unretweet(3, BOB, (1, CID)).await;
        assert_eq!(h.home(ANN).await, [5, 4]);
        h.delete(2, CID).await;
        assert_eq!(h.home(ANN).await, [5], "a retweet goes with its tweet");
        assert_eq!(h.home(BOB).await, [5]);
        // The engagements' events may come in late.
        h.retweet(6, BOB, (2, CID)).await;
        assert_eq!(h.home(ANN).await, [5]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn a_home_shows_a_tweet_once() {
    for h in Harness::on_both().await {
        for followee in [BOB, CID, DAN] {
            h.follow(ANN, followee).await;
        }
        h.retweet(10, BOB, (1, 99)).await;
        h.retweet(11, CID, (1, 99)).await;
        h.retweet(12, DAN, (1, 99)).await;
        h.post(2, CID).await;
        h.retweet(13, BOB, (2, CID)).await;
        assert_eq!(h.home(ANN).await, [10, 2], "the first of three, and the tweet itself");
        assert_eq!(h.page(ANN, "since_id=10").await.ids(), [0_u64; 0]);
        // The next one takes the place of the first, and gives it back.
        h.unretweet(10, BOB, (1, 99)).await;
        assert_eq!(h.home(ANN).await, [11, 2]);
        h.unfollow(ANN, CID).await;
        assert_eq!(h.home(ANN).await, [13, 12]);
        h.follow(ANN, CID).await;
        assert_eq!(h.home(ANN).await, [11, 2]);
        // A reply that the reader leaves out is not there in the place of its retweet.
        h.reply(20, CID, (2, CID)).await;
        h.retweet(21, BOB, (20, CID)).await;
        assert_eq!(h.home(ANN).await, [20, 11, 2]);
        assert_eq!(h.page(ANN, "exclude=replies").await.ids(), [21, 11, 2]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn pages_are_full_although_much_of_a_home_is_the_same() {
    for h in Harness::on_both().await {
        for followee in [BOB, CID] {
            h.follow(ANN, followee).await;
        }
        for id in 1..=10 {
            h.post(id, BOB).await;
            h.retweet(100 + id, CID, (id, BOB)).await;
        }
        for id in 21..=23 {
            h.post(id, CID).await;
        }
        // Between 10 and 21 are ten retweets of what is at home.
        let first = h.page(ANN, "max_results=5").await;
        assert_eq!(first.ids(), [23, 22, 21, 10, 9]);
        let next = first.token("next_token").unwrap();
        let second = h.page(ANN, &format!("max_results=5&pagination_token={next}")).await;
        assert_eq!(second.ids(), [8, 7, 6, 5, 4]);
        let back = second.token("previous_token").unwrap();
        let back = h.page(ANN, &format!("max_results=5&pagination_token={back}")).await;
        assert_eq!(back.ids(), first.ids());
        assert_eq!(h.home(ANN).await.len(), 13);
    }
}

#[tokio::test]
async fn what_is_deleted_is_on_no_page_that_was_begun() {
    for h in Harness::on_both().await {
        h.follow(ANN, BOB).await;
        for id in 1..=7 {
            h.post(id, BOB).await;
        }
        let first = h.page(ANN, "max_results=3").await;
        assert_eq!(first.ids(), [7, 6, 5]);
        let next = first.token("next_token").unwrap();
        h.delete(4, BOB).await;
        h.delete(2, BOB).await;
        let second = h.page(ANN, &format!("max_results=3&pagination_token={next}")).await;
        assert_eq!(second.ids(), [3, 1]);
        assert_eq!(second.token("next_token"), None);
        for id in [3, 1] {
            h.delete(id, BOB).await;
        }
        let empty = h.page(ANN, &format!("max_results=3&pagination_token={next}")).await;
        assert!(empty.ids().is_empty());
        assert!(empty.body.get("data").is_none());
        let back = empty.token("previous_token").unwrap();
        let back = h.page(ANN, &format!("max_results=3&pagination_token={back}")).await;
        assert_eq!(back.ids(), [7, 6, 5]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn an_account_that_is_gone_leaves_nothing() {
    for h in Harness::on_both().await {
        for id in [ANN, BOB, CID, DAN] {
            h.register(id).await;
        }
        h.follow(ANN, BOB).await;
        h.follow(ANN, CID).await;
        h.follow(DAN, ANN).await;
        h.post(1, BOB).await;
        h.reply(2, CID, (1, BOB)).await;
        h.retweet(3, CID, (1, BOB)).await;
        h.post(4, ANN).await;
        h.mention(5, BOB, &[ANN]).await;
        assert_eq!(h.home(ANN).await, [5, 4, 2, 1], "what is at home is not shown as shared, too");
        assert_eq!(h.mentions(ANN).await, [5]);
        h.delete_user(BOB).await;
        assert_eq!(h.home(ANN).await, [4]);
        assert_eq!(h.home(CID).await, [2], "a reply stays with its author");
        assert!(h.mentions(ANN).await.is_empty());
        // Events of the account that come in late.
        h.post(6, BOB).await;
        h.follow(ANN, BOB).await;
        h.follow(BOB, ANN).await;
        h.retweet(7, CID, (6, BOB)).await;
        h.mention(8, CID, &[BOB]).await;
        assert_eq!(h.home(ANN).await, [8, 4]);
        let gone = h.page(BOB, "").await;
        assert_eq!(gone.status, 401, "{}", gone.body);
        let gone = h.get(ANN, "/2/users/12/mentions").await;
        assert_eq!(gone.body["errors"][0]["resource_type"], "user");
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn authors_with_many_followers_are_merged_at_read() {
    for h in Harness::on_both().await {
        // Up to three followers a tweet is put into their homes.
        for follower in [ANN, BOB, CID] {
            h.follow(follower, 1).await;
        }
        h.post(100, 1).await;
        h.follow(DAN, 1).await;
        h.follow(DAN, 2).await;
        // Above it is not.
        h.post(101, 1).await;
        h.post(102, 2).await;
        h.reply(103, 1, (102, 2)).await;
        h.retweet(104, 1, (102, 2)).await;
        h.post(105, DAN).await;
        let stored: Vec<(i64,)> =
            pillion_chassis::sql::query("SELECT tweet_id FROM home WHERE author_id = 1")
                .fetch_all(&h.test.database)
                .await
                .unwrap();
        // The author's own home, and three: the fourth is served at read.
        assert!(stored.len() == 4 && stored.iter().all(|(id,)| *id == 100), "{stored:?}");
        assert_eq!(h.home(ANN).await, [104, 101, 100]);
        assert_eq!(h.home(DAN).await, [105, 103, 102, 101, 100], "102 is there already");
        assert_eq!(h.home(1).await, [104, 103, 101, 100]);
        assert_eq!(h.page(DAN, "exclude=replies,retweets").await.ids(), [105, 102, 101, 100]);
        // Pages lead over both kinds, there and back.
        let first = h.page(DAN, "max_results=2").await;
        let second = first.token("next_token").unwrap();
        let second = h.page(DAN, &format!("max_results=2&pagination_token={second}")).await;
        assert_eq!((first.ids(), second.ids()), (vec![105, 103], vec![102, 101]));
        let back = second.token("previous_token").unwrap();
        let back = h.page(DAN, &format!("max_results=2&pagination_token={back}")).await;
        assert_eq!(back.ids(), [105, 103]);

        // Down again: what was merged stays merged, the rest is put into the homes.
        h.unfollow(CID, 1).await;
        assert!(h.home(CID).await.is_empty());
        h.post(106, 1).await;
        assert_eq!(h.home(ANN).await, [106, 104, 101, 100]);
        // Who follows now gets both kinds, each tweet once, at read.
        h.follow(CID, 1).await;
        assert_eq!(h.home(CID).await, [106, 104, 101, 100]);
        h.delete(101, 1).await;
        h.delete(100, 1).await;
        h.unretweet(104, 1, (102, 2)).await;
        assert_eq!(h.home(ANN).await, [106]);
        assert_eq!(h.home(CID).await, [106]);
        h.check_rebuild().await;
    }
}

#[tokio::test]
async fn where_the_bound_is_does_not_show() {
    let mut homes = Vec::new();
    for backend in BACKENDS {
        for fanout_followers_max in [0, 1, 2, 1_000] {
            let h = Harness::start(backend, Config { fanout_followers_max }).await;
            h.follow(ANN, BOB).await;
            h.post(1, BOB).await;
            h.follow(CID, BOB).await;
            h.post(2, BOB).await;
            h.follow(DAN, BOB).await;
            h.reply(3, BOB, (9, CID)).await;
            h.follow(ANN, CID).await;
            h.unfollow(DAN, BOB).await;
            h.post(4, BOB).await;
            h.delete(2, BOB).await;
            homes.push((h.home(ANN).await, h.home(BOB).await, h.home(CID).await));
        }
    }
    let expected = (vec![4, 3, 1], vec![4, 3, 1], vec![4, 3, 1]);
    assert!(homes.iter().all(|found| *found == expected), "{homes:?}");
}

#[tokio::test]
async fn ids_and_times_bound_the_list() {
    // A snowflake of each second from 10:00:02 on.
    const STEP: u64 = 1_000 << 22;
    let first = ((1_782_900_002_000 - 1_288_834_974_657) << 22) + 7;
    for h in Harness::on_both().await {
        let ids: Vec<u64> = (0..6).map(|n| first + n * STEP).rev().collect();
        for id in ids.iter().rev() {
            h.post(*id, ANN).await;
        }
        let get = async |query: String| h.page(ANN, &query).await.ids();
        assert_eq!(get(format!("since_id={}", ids[2])).await, ids[..2]);
        assert_eq!(get(format!("until_id={}", ids[2])).await, ids[3..]);
        assert_eq!(get(format!("since_id={}&until_id={}", ids[5], ids[3])).await, ids[4..5]);
        let window = "start_time=2026-07-01T10:00:03Z&end_time=2026-07-01T10:00:05Z";
        assert_eq!(get(window.to_owned()).await, ids[3..5]);
        let id_first = format!("since_id={}&start_time=2027-01-01T00:00:00Z", ids[1]);
        assert_eq!(get(id_first).await, ids[..1]);
        let meta = &h.page(ANN, "max_results=2").await.body["meta"];
        assert_eq!(meta["result_count"], 2);
        assert_eq!(meta["newest_id"], ids[0].to_string());
        assert_eq!(meta["oldest_id"], ids[1].to_string());
    }
}

#[tokio::test]
async fn a_home_is_its_owners() {
    for h in Harness::on_both().await {
        let path = "/2/users/12/timelines/reverse_chronological";
        let reply = h.get(ANN, path).await;
        assert_eq!(reply.status, 400);
        assert_eq!(
            reply.body["errors"][0]["message"],
            "The `id` query parameter value [12] must be the same as the authenticating user [11]"
        );
        assert_eq!(h.get_as(None, path).await.status, 401);
        let app = h.get_as(Some(caller(None)), path).await;
        assert_eq!(app.status, 403);
        assert_eq!(app.body["title"], "Unsupported Authentication");
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    for h in Harness::on_both().await {
        for author in [ANN, BOB] {
            for id in 0..4 {
                h.mention(author * 100 + id, author, &[ANN, BOB]).await;
            }
        }
        let next = h.page(ANN, "max_results=2").await.token("next_token").unwrap();
        let mut forged = next.clone();
        forged.replace_range(..1, if next.starts_with('B') { "A" } else { "B" });
        for (by, query) in [
            (BOB, format!("pagination_token={next}")),
            (ANN, format!("exclude=replies&pagination_token={next}")),
            (ANN, format!("since_id=1&pagination_token={next}")),
            (ANN, format!("pagination_token={forged}")),
            (ANN, "pagination_token=nonsense".to_owned()),
            (ANN, "pagination_token=".to_owned()),
        ] {
            let reply = h.page(by, &query).await;
            assert_eq!(reply.status, 400, "{query}");
            let parameters = &reply.body["errors"][0]["parameters"];
            assert!(parameters.get("pagination_token").is_some(), "{}", reply.body);
        }
        let elsewhere = h.get(ANN, &format!("/2/users/11/mentions?pagination_token={next}")).await;
        assert_eq!(elsewhere.status, 400);
        let other_size = h.page(ANN, &format!("max_results=50&pagination_token={next}")).await;
        assert_eq!(other_size.ids(), [1101, 1100]);
    }
}

#[tokio::test]
async fn malformed_bounds_are_400_naming_the_parameter() {
    let h = Harness::start(BACKENDS[0], Config::default()).await;
    for (query, parameter) in [
        ("max_results=0", "max_results"),
        ("max_results=101", "max_results"),
        ("since_id=x", "since_id"),
        ("until_id=-1", "until_id"),
        ("start_time=yesterday", "start_time"),
        ("start_time=2026-07-02T00:00:00Z&end_time=2026-07-01T00:00:00Z", "start_time"),
        ("exclude=quotes", "exclude"),
        ("page=2", "page"),
    ] {
        let reply = h.page(ANN, query).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.body["errors"][0]["parameters"].get(parameter).is_some(), "{}", reply.body);
    }
    let reply = h.get(ANN, "/2/users/x/timelines/reverse_chronological").await;
    assert_eq!(reply.status, 400);
}
