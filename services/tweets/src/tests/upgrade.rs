//! Data that an earlier version wrote.

use pillion_chassis::sql::query;
use pillion_chassis::{Database, Migrations, TweetId, UserId};
use sqlx::migrate::Migrator;

use crate::store::{MIGRATIONS, Store};

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("tweets.sqlite")).await.unwrap();
    let first =
        |migrator: &Migrator| Migrator::with_migrations(migrator.iter().take(1).cloned().collect());
    let first =
        Migrations { sqlite: first(&MIGRATIONS.sqlite), postgres: first(&MIGRATIONS.postgres) };
    database.migrate(&first).await.unwrap();
    let mut transaction = database.write().await.unwrap();
    for (id, author) in [(20_i64, 11_i64), (21, 11), (22, 12)] {
        query(
            "INSERT INTO tweet (tweet_id, author_id, text, conversation_id, reply_settings,
                                client_id, created_at, version)
             VALUES ($1, $2, 'hi @bob', $1, 'everyone', 'web', 1000000, 1)",
        )
        .bind(id)
        .bind(author)
        .execute(&mut transaction)
        .await
        .unwrap();
    }
    transaction.commit().await.unwrap();

    database.migrate(&MIGRATIONS).await.unwrap();
    let store = Store::new(database);
    let (ann, bob) = (UserId::new(11).unwrap(), UserId::new(12).unwrap());
    assert_eq!(store.tweet_counts(&[ann, bob]).await.unwrap(), [(ann, 2), (bob, 1)]);
    let tweet = store.by_ids(&[TweetId::new(20).unwrap()]).await.unwrap().remove(0);
    assert!(tweet.posted.mentions.is_empty() && tweet.retweeted.is_none() && !tweet.hidden);
}
