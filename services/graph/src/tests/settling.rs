//! Accounts with very many relations go, come back and are deleted at once; the counts of others,
//! and what is left of deleted accounts, follow some at a time.

use std::collections::{BTreeMap, BTreeSet};

use pillion_chassis::sql::query;
use pillion_chassis::testing::{self, statements};
use pillion_chassis::{Backend, Migrations};
use sqlx::migrate::Migrator;

use super::harness::{ANN, BOB, CID, Harness, on_each_unsettled};
use crate::store::MIGRATIONS;

/// What a statement without parameters counts.
async fn number(graph: &Harness, sql: &'static str) -> i64 {
    let (count,) = query(sql).fetch_one::<(i64,)>(graph.database()).await.unwrap();
    count
}

async fn run(graph: &Harness, sql: &'static str) {
    let mut transaction = graph.database().write().await.unwrap();
    query(sql).execute(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn hide(graph: &Harness, saga: i64, user: u64) {
    let hidden = graph.step("PUT", saga, "hide", user).await;
    assert_eq!(hidden.status, 200, "{}", hidden.body);
}

async fn unhide(graph: &Harness, saga: i64, user: u64) {
    let shown = graph.step("DELETE", saga, "hide", user).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
}

#[tokio::test]
async fn an_account_with_ten_thousand_followers_goes_and_comes_back_at_once() {
    on_each_unsettled(async |graph: Harness| {
        graph.follow(ANN, BOB).await;
        let ((), few) = statements(hide(&graph, 1, BOB)).await;
        unhide(&graph, 1, BOB).await;
        graph.end(ANN, "following", BOB).await.data();
        for sql in [
            "INSERT INTO relation (source_id, target_id, kind, position)
             WITH RECURSIVE follower (n) AS
                 (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM follower WHERE n < 10000)
             SELECT 1000 + n, 12, 'follow', n FROM follower",
            "DELETE FROM follow_count",
            "INSERT INTO follow_count (user_id, followers_count, following_count)
             SELECT source_id, 0, 1 FROM relation",
            "INSERT INTO follow_count (user_id, followers_count, following_count)
             VALUES (12, 10000, 0)",
        ] {
            run(&graph, sql).await;
        }
        let counted = "SELECT count(*) FROM follow_count WHERE following_count = 1";
        let first = "SELECT count(*) FROM follow_count WHERE following_count = 0
                       AND user_id BETWEEN 1001 AND 1008";

        // However many they are, the step takes as many statements and touches as many rows.
        let ((), many) = statements(hide(&graph, 2, BOB)).await;
        assert!(many.len() <= few.len(), "{} {}: {many:?}", many.len(), few.len());
        assert_eq!((number(&graph, counted).await, number(&graph, first).await), (9_992, 8));
        assert!(graph.list(ANN, 9_000, "following").await.is_empty());
        assert_eq!(graph.counts(BOB).await, (0, 0));
        let missing = graph.get(ANN, "/2/users/12/followers").await;
        assert_eq!(missing.error()["title"], "Not Found Error");
        assert!(graph.settle_some().await && graph.settle_some().await);
        assert_eq!(number(&graph, counted).await, 9_976);

        // Back before all is settled, it takes back what was done, and no more.
        let ((), back) = statements(unhide(&graph, 2, BOB)).await;
        assert!(back.len() <= few.len(), "{} {}: {back:?}", back.len(), few.len());
        assert_eq!(graph.counts(BOB).await, (10_000, 0));
        assert_eq!(graph.list(ANN, 9_000, "following").await, [BOB]);
        assert_eq!(number(&graph, counted).await, 9_984);
        // And away again, half-way.
        hide(&graph, 3, BOB).await;
        assert_eq!(number(&graph, counted).await, 9_976);
        unhide(&graph, 3, BOB).await;
        while graph.settle_some().await {}
        assert_eq!(number(&graph, counted).await, 10_000);

        // And away for good.
        let ((), gone) = statements(graph.tell_of_deletion(BOB)).await;
        assert!(gone.len() < few.len() + 10, "{} {}: {gone:?}", gone.len(), few.len());
        assert_eq!(number(&graph, "SELECT count(*) FROM relation").await, 9_992);
        assert_eq!(number(&graph, counted).await, 9_992);
        assert!(graph.list(ANN, 9_000, "following").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_purge_waits_until_nothing_is_left() {
    on_each_unsettled(async |graph: Harness| {
        for id in [ANN, BOB, CID] {
            graph.register(id).await;
        }
        graph.follow(BOB, ANN).await;
        graph.begin(ANN, "muting", BOB).await.data();
        graph.begin(BOB, "blocking", CID).await.data();
        for id in 100..120 {
            graph.add_account(id);
            graph.follow(id, BOB).await;
            graph.begin(id, "muting", BOB).await.data();
            graph.add_account(id + 100);
            graph.begin(id + 100, "blocking", BOB).await.data();
        }
        graph.protect(BOB, true).await;
        for id in 300..303 {
            graph.add_account(id);
            graph.ask(id, BOB).await;
        }
        hide(&graph, 1, BOB).await;
        let purge = async || graph.step("PUT", 2, "purge", BOB).await;
        assert_eq!(purge().await.status, 503);
        graph.delete_account(BOB).await;

        // From the first moment on.
        let gone = graph.get(BOB, "/pillion/v1/follow-requests").await;
        assert_eq!(gone.status, 401, "{}", gone.body);
        for (by, what) in [(110, "following"), (ANN, "muting"), (210, "blocking")] {
            assert!(graph.list(by, by, what).await.is_empty(), "{what}");
            graph.begin(by, what, BOB).await.invalid("target_user_id");
        }
        for id in [ANN, CID, 110, 210, 300] {
            assert!(graph.reasons(id, &[BOB]).await.is_empty(), "{id}");
        }
        let mut settled = 0;
        loop {
            let early = purge().await;
            if early.status == 200 {
                break;
            }
            let detail = early.body["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("the end of the account's relations"), "{}", early.body);
            assert!(graph.settle_some().await, "a purge waits for what nobody does");
            settled += 1;
            if settled % 3 == 0 {
                graph.assert_rebuilds().await;
            }
        }
        assert!(settled > 5, "{settled}");
        let left = "SELECT count(*) FROM relation WHERE 12 IN (source_id, target_id)";
        assert_eq!(number(&graph, left).await, 0);
        assert_eq!(number(&graph, "SELECT count(*) FROM settling").await, 0);
        assert_eq!((graph.counts(ANN).await, graph.counts(110).await), ((0, 0), (0, 0)));
        assert!(!graph.settle_some().await);
        graph.assert_rebuilds().await;
    })
    .await;
}

#[tokio::test]
async fn what_an_earlier_version_left_over_is_settled() {
    const BEFORE: usize = 2;
    let start = async |test: testing::TestDatabase| {
        let before =
            |all: &Migrator| Migrator::with_migrations(all.iter().take(BEFORE).cloned().collect());
        let before = Migrations {
            sqlite: before(&MIGRATIONS.sqlite),
            postgres: before(&MIGRATIONS.postgres),
        };
        test.database.migrate(&before).await.unwrap();
        let mut transaction = test.database.write().await.unwrap();
        for sql in [
            // Bob is hidden, Cid was deleted.
            "INSERT INTO account (user_id, protected, deleted, hidden)
             VALUES (12, FALSE, FALSE, TRUE), (13, FALSE, TRUE, FALSE)",
            "INSERT INTO relation (source_id, target_id, kind, position)
             VALUES (11, 12, 'follow', 1), (11, 13, 'request', 2)",
            "INSERT INTO follow_count (user_id, followers_count, following_count)
             VALUES (11, 0, 0), (12, 1, 0)",
        ] {
            query(sql).execute(&mut transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        Harness::start(test, false).await
    };
    testing::on_each(start, async |graph: Harness| {
        assert_eq!(graph.step("PUT", 1, "purge", CID).await.status, 503);
        while graph.settle_some().await {}
        assert_eq!(graph.step("PUT", 1, "purge", CID).await.status, 200);
        assert_eq!(graph.events().await, ["follow_request_removed 11>13", "account_settled 13"]);
        hide(&graph, 2, BOB).await;
        unhide(&graph, 2, BOB).await;
        assert_eq!((graph.counts(ANN).await, graph.counts(BOB).await), ((0, 1), (1, 0)));
    })
    .await;
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Accounts, numbered from the first id on, and what is between them.
#[derive(Default)]
struct Model {
    first: u64,
    follows: BTreeSet<(u64, u64)>,
    blocks: BTreeSet<(u64, u64)>,
    /// With the saga that hid it.
    hidden: BTreeMap<u64, i64>,
    deleted: BTreeSet<u64>,
}

impl Model {
    const ACCOUNTS: u64 = 13;

    fn all(&self) -> impl Iterator<Item = u64> + use<> {
        self.first..self.first + Self::ACCOUNTS
    }

    fn is_gone(&self, user: u64) -> bool {
        self.hidden.contains_key(&user) || self.deleted.contains(&user)
    }

    fn followers(&self, of: u64) -> BTreeSet<u64> {
        let all = self.follows.iter().filter(|(_, to)| *to == of).map(|(by, _)| *by);
        all.filter(|by| !self.is_gone(*by)).collect()
    }

    fn following(&self, by: u64) -> BTreeSet<u64> {
        let all = self.follows.iter().filter(|(from, _)| *from == by).map(|(_, to)| *to);
        all.filter(|to| !self.is_gone(*to)).collect()
    }

    fn counts(&self, of: u64) -> (i64, i64) {
        if self.is_gone(of) {
            return (0, 0);
        }
        let count = |those: BTreeSet<u64>| i64::try_from(those.len()).unwrap();
        (count(self.followers(of)), count(self.following(of)))
    }

    /// Does one thing by chance, and expects what comes of it.
    async fn step(&mut self, graph: &Harness, dice: &mut Dice, saga: i64) {
        let (by, to) =
            (self.first + dice.roll(Self::ACCOUNTS), self.first + dice.roll(Self::ACCOUNTS));
        // Some go and come back again and again, the others stay.
        let star = self.first + dice.roll(4);
        match dice.roll(20) {
            0..=7 => self.follow(graph, by, to).await,
            8..=10 => {
                let ended = graph.end(by, "following", to).await;
                if ended.status == 200 {
                    self.follows.remove(&(by, to));
                }
                // What was begun with an account that is gone can be ended.
                let may = by != to && !self.is_gone(by);
                assert_eq!(ended.status == 200, may, "{by} {to}: {}", ended.body);
            }
            11 => {
                let begun = graph.begin(by, "blocking", to).await;
                if begun.status == 200 {
                    self.blocks.insert((by, to));
                    self.follows.remove(&(by, to));
                    self.follows.remove(&(to, by));
                }
            }
            12 => {
                let ended = graph.end(by, "blocking", to).await;
                if ended.status == 200 {
                    self.blocks.remove(&(by, to));
                }
            }
            13..=15 if !self.is_gone(star) => {
                hide(graph, saga, star).await;
                self.hidden.insert(star, saga);
            }
            16..=18 => {
                if let Some(saga) = self.hidden.remove(&star) {
                    unhide(graph, saga, star).await;
                }
            }
            19 if dice.roll(8) == 0 => self.delete(graph, star).await,
            _ => {}
        }
    }

    async fn follow(&mut self, graph: &Harness, by: u64, to: u64) {
        let begun = graph.begin(by, "following", to).await;
        let may = by != to
            && !self.is_gone(by)
            && !self.is_gone(to)
            && !self.blocks.contains(&(by, to))
            && !self.blocks.contains(&(to, by));
        assert_eq!(begun.status == 200, may, "{by} {to}: {}", begun.body);
        if may {
            self.follows.insert((by, to));
        }
    }

    async fn delete(&mut self, graph: &Harness, user: u64) {
        graph.delete_account(user).await;
        self.hidden.remove(&user);
        self.deleted.insert(user);
    }

    /// What is shown is right at once.
    async fn check_lists(&self, graph: &Harness, of: u64) {
        for (what, expected) in
            [("followers", self.followers(of)), ("following", self.following(of))]
        {
            let reply = graph.get(of, &format!("/2/users/{of}/{what}")).await;
            if self.is_gone(of) {
                assert_eq!(reply.error()["title"], "Not Found Error");
            } else {
                let ids: BTreeSet<u64> = reply.ids().into_iter().collect();
                assert_eq!(ids, expected, "{what} of {of}");
            }
        }
    }

    /// Counts are right when all is settled.
    async fn check_counts(&self, graph: &Harness) {
        while graph.settle_some().await {}
        for user in self.all() {
            assert_eq!(graph.counts(user).await, self.counts(user), "{user}");
        }
    }
}

#[tokio::test]
async fn counts_are_right_in_the_end_whatever_happens_while_accounts_are_settled() {
    on_each_unsettled(async |graph: Harness| {
        // The same chance on each back end, and fewer rounds where they take longer.
        let rounds = if graph.database().backend() == Backend::Sqlite { 4 } else { 2 };
        for round in 1..=rounds {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(round));
            let mut model = Model { first: 1_000 * round, ..Model::default() };
            for by in model.all() {
                graph.add_account(by);
            }
            for by in model.all() {
                for to in model.all() {
                    if by != to && dice.roll(3) > 0 {
                        model.follow(&graph, by, to).await;
                    }
                }
            }
            let mut half_way = 0;
            for n in 0..200 {
                let saga = i64::try_from(round * 1_000 + n).unwrap();
                model.step(&graph, &mut dice, saga).await;
                model.check_lists(&graph, model.first + dice.roll(Model::ACCOUNTS)).await;
                if dice.roll(4) == 0 {
                    graph.settle_some().await;
                }
                if n % 40 == 20 {
                    half_way += number(&graph, "SELECT count(*) FROM settling").await;
                    graph.assert_rebuilds().await;
                }
                if dice.roll(40) == 0 {
                    model.check_counts(&graph).await;
                }
            }
            assert!(half_way > 0, "some rebuild was in the middle of a settling");
            model.check_counts(&graph).await;
            for user in model.all() {
                if !model.deleted.contains(&user) {
                    model.delete(&graph, user).await;
                }
                if dice.roll(3) == 0 {
                    graph.settle_some().await;
                }
            }
            model.check_counts(&graph).await;
            assert_eq!(number(&graph, "SELECT count(*) FROM relation").await, 0);
            assert_eq!(number(&graph, "SELECT count(*) FROM follow_count").await, 0);
            graph.assert_rebuilds().await;
        }
    })
    .await;
}
