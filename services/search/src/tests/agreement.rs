//! The three ways to look for a pattern agree: in a document at hand, in the index of `SQLite`
//! and in that of `PostgreSQL`.

use pillion_chassis::sql::query;
use pillion_chassis::testing::{BACKENDS, migrated};
use pillion_chassis::{TweetId, UserId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::harness::{Draft, Harness};
use crate::document::{Document, terms_of_retweet, terms_of_tweet};
use crate::query::{Accounts, Handle, tests::queries};
use crate::store::{MIGRATIONS, Store};
use crate::window::Window;

/// Texts of few words, so that queries match some; and of signs that an index may take for its
/// own.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "B", "É", "e\u{301}", "😀", "a_b", "語"]),
        1 => prop::sample::select(vec!["#a", "#É", "#a_b", "$TWTR", "$BRK.A", "#語"]),
        1 => prop::sample::select(vec!["http://a.com/b/c", "b.com/a?c", "https://é.com"]),
        1 => prop::sample::select(vec!["'", "\\", "\"", ":*", "NOT", "'a':1A", "&", "|", "!", "<->", "\0"]),
        1 => prop::sample::select(vec!["ﷺ", "İ", "Σσς", "\u{200d}", "ß", "１", "👩🏽\u{200d}🚀", "\u{3000}"]),
        1 => prop::sample::select(vec!["한글은", "한글", "สวัสดี", "ดี", "မြန်မာ", "ខ្ញុំ", "ıI"]),
    ];
    (prop::collection::vec(piece, 0..12), prop::bool::ANY)
        .prop_map(|(pieces, spaced)| pieces.join(if spaced { " " } else { "" }))
}

fn tweets() -> impl Strategy<Value = String> {
    (
        texts(),
        0..3_u64,
        prop::option::of(0..3_u64),
        prop::bool::ANY,
        prop::option::of(0..3_u64),
        0..4_u64,
        prop::bool::ANY,
    )
        .prop_map(|(text, by, to, quotes, mentions, conversation, is_retweet)| {
            let of = |n: u64| 41 + n;
            let id = |n| TweetId::new(n).unwrap();
            let mentions: Vec<u64> = mentions.map(of).into_iter().collect();
            let posted = Harness::posted(
                id(5),
                &Draft {
                    by: of(by),
                    text: &text,
                    mentions: &mentions,
                    replied_to: to.map(|to| (id(1), of(to))),
                    quoted: quotes.then(|| (id(1), of(0))),
                    conversation: Some(id(conversation)),
                },
            );
            let terms = terms_of_tweet(&posted);
            if !is_retweet {
                return terms;
            }
            let retweet = pillion_events::Retweet {
                retweet_id: id(3),
                user_id: UserId::new(42).unwrap(),
                tweet_id: posted.tweet_id,
                author_id: posted.author_id,
                at: posted.created_at,
            };
            terms_of_retweet(&terms, &retweet)
        })
}

#[tokio::test]
async fn a_document_and_both_indexes_agree_on_every_query() {
    const DOCUMENTS: usize = 400;
    const QUERIES: usize = 1_500;
    let mut runner = TestRunner::deterministic();
    let documents: Vec<Document> = {
        let strategy = tweets();
        let terms = std::iter::repeat_with(|| strategy.new_tree(&mut runner).unwrap().current());
        let terms: Vec<String> = terms.take(DOCUMENTS).collect();
        let ids = (100..).filter_map(TweetId::new);
        ids.zip(terms).map(|(id, terms)| Document::new(id, &terms)).collect()
    };
    let mut stores = Vec::new();
    let mut guards = Vec::new();
    for backend in BACKENDS {
        let test = migrated(backend, &MIGRATIONS).await;
        let mut transaction = test.database.write().await.unwrap();
        for document in &documents {
            query("INSERT INTO document (id, author_id, terms) VALUES ($1, 1, $2)")
                .bind(document.id)
                .bind(document.text())
                .execute(&mut transaction)
                .await
                .unwrap();
        }
        // A retweet whose tweet has not come is found by nothing.
        query("INSERT INTO document (id, author_id, terms) VALUES (1, 1, '')")
            .execute(&mut transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        stores.push((backend, Store::new(test.database.clone())));
        guards.push(test);
    }
    let accounts: Accounts = [("ann", 41), ("bob", 43), ("42", 42)]
        .into_iter()
        .map(|(handle, id)| (Handle(handle.to_owned()), UserId::new(id).unwrap()))
        .collect();
    let whole = Window {
        above_id: -1,
        below_id: i64::MAX,
        start: pillion_chassis::Timestamp::from_micros(0),
        end: pillion_chassis::Timestamp::from_micros(0),
    };
    let strategy = queries();
    let (mut some, mut all) = (0, 0);
    for _ in 0..QUERIES {
        let query = strategy.new_tree(&mut runner).unwrap().current();
        let pattern = query.pattern(&accounts);
        let mut expected: Vec<TweetId> =
            documents.iter().filter(|document| pattern.matches(document)).map(|d| d.id).collect();
        expected.reverse();
        some += usize::from(!expected.is_empty());
        all += usize::from(expected.len() == DOCUMENTS);
        for (backend, store) in &stores {
            let found = store.find(&pattern, whole, 10_000).await.unwrap();
            assert_eq!(found, expected, "{backend:?} {query}");
        }
    }
    // Queries that match everything or nothing would prove nothing.
    assert!(some - all > QUERIES / 3, "{some} {all}");
}
