//! What a page costs does not depend on how much is on it, and hardly on what is left out.

use pillion_chassis::testing::{BACKENDS, statements};

use super::harness::Harness;
use crate::{Config, Limits};

const ANN: u64 = 11;
const BOB: u64 = 12;
const CID: u64 = 13;

/// How many statements a page of each list takes.
async fn costs(h: &Harness) -> Vec<usize> {
    let mut costs = Vec::new();
    for path in [
        "/2/users/11/timelines/reverse_chronological?max_results=100",
        "/2/users/11/timelines/reverse_chronological?max_results=100&exclude=retweets",
        "/2/users/11/mentions?max_results=100",
    ] {
        let (reply, statements) = statements(h.get(ANN, path)).await;
        assert!(!reply.items().is_empty(), "{path}: {}", reply.body);
        costs.push(statements.len());
    }
    costs
}

#[tokio::test]
async fn a_page_takes_as_many_statements_however_much_is_on_it() {
    for h in Harness::on_both().await {
        h.follow(ANN, BOB).await;
        h.retweet(1, BOB, (2_000, CID)).await;
        h.mention(2, BOB, &[ANN]).await;
        // Both kinds of homes, and what shares the same.
        assert_eq!(costs(&h).await, [3, 2, 1]);
        for n in 0..40 {
            h.retweet(100 + n, BOB, (2_001 + n, CID)).await;
            h.mention(200 + n, BOB, &[ANN]).await;
        }
        assert_eq!(costs(&h).await, [3, 2, 1]);
    }
}

#[tokio::test]
async fn a_home_full_of_the_same_is_read_in_a_few_more() {
    for h in Harness::on_both().await {
        h.follow(ANN, BOB).await;
        h.follow(ANN, CID).await;
        h.post(1, BOB).await;
        for n in 0..300 {
            h.retweet(100 + n, [BOB, CID][usize::from(n % 2 == 0)], (1, BOB)).await;
        }
        let (reply, statements) = statements(h.page(ANN, "max_results=100")).await;
        assert_eq!(reply.ids(), [1]);
        assert_eq!(statements.len(), 6, "{statements:?}");
    }
}

#[tokio::test]
async fn d01_a_home_that_is_filled_up_is_read_in_a_few_more() {
    for backend in BACKENDS {
        let config = Config { fanout_followers_max: 1_000 };
        let h = Harness::limited(backend, config, Limits { home_tweets_max: 50 }).await;
        h.follow(ANN, BOB).await;
        h.follow(ANN, CID).await;
        for id in 1..=60 {
            h.post(id, BOB).await;
        }
        let (page, statements_whole) = statements(h.page(ANN, "max_results=20")).await;
        assert_eq!((page.ids().len(), statements_whole.len()), (20, 2));
        for id in 1_001..=1_060 {
            h.post(id, CID).await;
        }
        h.unfollow(ANN, CID).await;
        // The floor, how many the home holds, the authors' lists, what of it is at home elsewhere.
        let (page, statements_filled) = statements(h.page(ANN, "max_results=20")).await;
        assert_eq!((page.ids().len(), page.ids()[0]), (20, 60));
        assert!(statements_filled.len() <= 6, "{statements_filled:?}");
        // As many however many authors there are.
        for author in 100..140 {
            h.post(2_000 + author, author).await;
            h.follow(ANN, author).await;
        }
        let (_, statements_many) = statements(h.page(ANN, "max_results=60")).await;
        assert!(statements_many.len() <= 6, "{statements_many:?}");
    }
}
