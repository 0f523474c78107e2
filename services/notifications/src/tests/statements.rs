//! What a request costs does not depend on how much there is.

use pillion_chassis::testing::statements;

use super::harness::Harness;

const ANN: u64 = 11;

/// How many statements a page and the count of what was not read take.
async fn costs(h: &Harness) -> Vec<usize> {
    let mut costs = Vec::new();
    for path in
        ["?max_results=100", "?max_results=100&types=like&unread_only=true", "/unread_count"]
    {
        let (reply, statements) = statements(h.get(ANN, path)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        costs.push(statements.len());
    }
    costs
}

#[tokio::test]
async fn a_page_takes_as_many_statements_however_much_is_on_it() {
    for h in Harness::on_both().await {
        h.like(12, (1, ANN)).await;
        let few = costs(&h).await;
        assert_eq!(few, [2, 2, 2]);
        for user in 100..200 {
            h.like(user, (1, ANN)).await;
            h.follow(user, ANN).await;
        }
        for user in 100..150 {
            h.unlike(user, (1, ANN)).await;
            h.deactivate(user, true).await;
        }
        assert_eq!(costs(&h).await, few);
    }
}
