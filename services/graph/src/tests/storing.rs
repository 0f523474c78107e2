//! Many at once, deletions, and that the tables are a fold of the events.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::harness::{ANN, BOB, CID, Harness, on_each};

const AT_ONCE: u64 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_follows_of_the_same_two_one_counts() {
    on_each(async |graph: Harness| {
        let graph = Arc::new(graph);
        let mut following = JoinSet::new();
        for _ in 0..AT_ONCE {
            let graph = graph.clone();
            following.spawn(async move { graph.follow(ANN, BOB).await });
        }
        following.join_all().await;
        assert_eq!(graph.counts(BOB).await, (1, 0));
        assert_eq!(graph.events().await, ["followed 11>12"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_of_many_at_once_all_count() {
    on_each(async |graph: Harness| {
        let graph = Arc::new(graph);
        let mut following = JoinSet::new();
        for id in 100..100 + AT_ONCE {
            graph.add_account(id);
            let graph = graph.clone();
            following.spawn(async move { graph.follow(id, ANN).await });
        }
        following.join_all().await;
        let count = i64::try_from(AT_ONCE).unwrap();
        assert_eq!(graph.counts(ANN).await, (count, 0));
        let mut ids = graph.list(ANN, ANN, "followers").await;
        ids.sort_unstable();
        assert!(ids.into_iter().eq(100..100 + AT_ONCE));
    })
    .await;
}

/// Whoever comes first: nobody follows across a block in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_and_follows_at_once_leave_the_block_alone() {
    on_each(async |graph: Harness| {
        let graph = Arc::new(graph);
        let mut all = JoinSet::new();
        for n in 0..AT_ONCE {
            let graph = graph.clone();
            all.spawn(async move {
                match n {
                    16 => graph.begin(ANN, "blocking", BOB).await.status,
                    n if n % 2 == 0 => graph.begin(ANN, "following", BOB).await.status,
                    _ => graph.begin(BOB, "following", ANN).await.status,
                }
            });
        }
        let statuses = all.join_all().await;
        assert!(statuses.iter().all(|status| matches!(status.as_u16(), 200 | 403)), "{statuses:?}");
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((0, 0), (0, 0)));
        let relation = graph.get(ANN, "/internal/relation?user=12").await;
        assert_eq!(
            (&relation.data()["following"], &relation.data()["followed_by"]),
            (&false.into(), &false.into())
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_half_way_is_done_or_not_done() {
    on_each(async |graph: Harness| {
        graph.register(ANN).await;
        let graph = Arc::new(graph);
        for n in 0..60 {
            let graph = graph.clone();
            let following = tokio::spawn(async move {
                graph.begin(ANN, "following", BOB).await;
                graph.begin(ANN, "blocking", BOB).await;
                graph.end(ANN, "blocking", BOB).await;
            });
            tokio::time::sleep(std::time::Duration::from_micros(n * 100)).await;
            following.abort();
            let _ = following.await;
        }
        let events = graph.events().await;
        let follows = i64::from(graph.list(ANN, ANN, "following").await.contains(&BOB));
        assert_eq!(
            (graph.counts(ANN).await, graph.counts(BOB).await),
            ((0, follows), (follows, 0))
        );
        // A block never stands in the log without the end of the follow that it ends.
        let mut followed = false;
        for (n, event) in events.iter().enumerate() {
            match event.as_str() {
                "followed 11>12" => followed = true,
                "unfollowed 11>12" => followed = false,
                "blocked 11>12" if followed => assert_eq!(events[n + 1], "unfollowed 11>12"),
                _ => {}
            }
        }
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn an_account_that_is_deleted_leaves_nothing_behind() {
    on_each(async |graph: Harness| {
        for id in [ANN, BOB, CID] {
            graph.register(id).await;
        }
        graph.follow(ANN, BOB).await;
        graph.follow(BOB, ANN).await;
        graph.follow(CID, BOB).await;
        graph.follow(CID, ANN).await;
        graph.begin(ANN, "muting", BOB).await.data();
        graph.protect(CID, true).await;
        graph.ask(BOB, CID).await;
        graph.delete_account(BOB).await;
        assert_eq!(graph.counts(ANN).await, (1, 0));
        assert_eq!(graph.counts(BOB).await, (0, 0));
        assert_eq!(graph.counts(CID).await, (0, 1));
        assert_eq!(graph.list(CID, CID, "following").await, [ANN]);
        assert!(graph.list(ANN, ANN, "muting").await.is_empty());
        assert!(graph.get(CID, "/pillion/v1/follow-requests").await.ids().is_empty());
        assert!(graph.reasons(ANN, &[BOB]).await.is_empty());
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn the_tables_are_a_fold_of_the_events() {
    on_each(async |graph: Harness| {
        graph.register(ANN).await;
        graph.follow(ANN, BOB).await;
        graph.protect(BOB, true).await;
        graph.ask(CID, BOB).await;
        graph.begin(BOB, "muting", CID).await.data();
        graph.begin(CID, "blocking", ANN).await.data();
        graph.register(14).await;
        graph.ask(14, BOB).await;
        graph.answer(BOB, "accept", CID).await.data();
        graph.end(ANN, "following", BOB).await.data();
        graph.delete_account(14).await;
        graph.protect(BOB, false).await;
        graph.follow(ANN, BOB).await;
        graph.assert_rebuilds().await;
    })
    .await;
}
