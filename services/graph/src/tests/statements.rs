//! What a request costs does not depend on how much there is.

use pillion_chassis::testing::statements;

use super::harness::{ANN, BOB, CID, Harness, on_each};

const PATHS: [&str; 9] = [
    "/2/users/11/following?max_results=1000",
    "/2/users/11/followers?max_results=1000",
    "/2/users/11/blocking?max_results=1000",
    "/2/users/11/muting?max_results=1000",
    "/pillion/v1/follow-requests?max_results=1000",
    "/internal/visibility?users=11,12,13,100,101,102,103",
    "/internal/follow_counts?users=11,12,13,100,101,102,103",
    "/internal/connections?users=11,12,13,100,101,102,103",
    "/internal/relation?user=12",
];

/// How many statements each of them takes.
async fn costs(graph: &Harness) -> Vec<usize> {
    let mut costs = Vec::new();
    for path in PATHS {
        let (reply, statements) = statements(graph.get(ANN, path)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        costs.push(statements.len());
    }
    costs
}

#[tokio::test]
async fn a_page_takes_as_many_statements_however_much_is_on_it() {
    on_each(async |graph: Harness| {
        graph.register(ANN).await;
        let begin = async |user| {
            graph.follow(ANN, user).await;
            graph.begin(ANN, "muting", user).await.data();
            graph.begin(user, "following", ANN).await.data();
        };
        begin(BOB).await;
        graph.begin(ANN, "blocking", CID).await.data();
        let few = costs(&graph).await;
        assert_eq!(few, [3, 3, 2, 2, 2, 1, 1, 1, 2]);
        for user in 100..120 {
            graph.add_account(user);
            begin(user).await;
            graph.add_account(user + 100);
            graph.begin(ANN, "blocking", user + 100).await.data();
        }
        graph.protect(ANN, true).await;
        for user in 300..320 {
            graph.add_account(user);
            graph.ask(user, ANN).await;
        }
        assert_eq!(costs(&graph).await, few);
    })
    .await;
}
