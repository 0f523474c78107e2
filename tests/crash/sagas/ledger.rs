//! What the services hold when the system has stopped: the sagas, what participants know of their
//! steps, and who there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pillion_chassis::Database;
use pillion_chassis::sql::{Record, query};
use pillion_tests::system::System;
use serde_json::{Value, json};

use super::actors::Done;
use super::{Kinds, text};

/// Where the databases are.
#[derive(Debug)]
pub(super) enum Databases {
    /// In this folder.
    Files(PathBuf),
    /// At these addresses, by service.
    Servers(BTreeMap<String, String>),
}

/// Services that have a part in sagas.
const SERVICES: [&str; 8] =
    ["identity", "users", "tweets", "graph", "engagements", "timelines", "search", "notifications"];

/// The open databases of a stopped system.
struct Held(BTreeMap<&'static str, Database>);

impl Databases {
    async fn open(&self) -> Held {
        let mut held = BTreeMap::new();
        for service in SERVICES {
            let database = match self {
                Self::Files(folder) => {
                    Database::open(folder.join(format!("{service}.sqlite"))).await
                }
                Self::Servers(urls) => Database::connect(&urls[service]).await,
            };
            held.insert(service, database.expect("a database of a stopped system"));
        }
        Held(held)
    }

    /// Every saga is whole, and the services agree.
    pub(super) async fn hold(&self, system: &System, sagas: &[Value], kinds: &Kinds, done: &Done) {
        let held = self.open().await;
        held.steps_are_whole(sagas, kinds).await;
        let live = held.accounts_agree().await;
        held.nothing_is_left().await;
        held.follows_agree().await;
        held.events_are_those_of_sagas(sagas).await;
        acknowledged_is_there(&live, done, &system.log());
        for database in held.0.values() {
            database.close().await;
        }
    }
}

impl Held {
    async fn rows<T: Record>(&self, service: &str, sql: &'static str) -> Vec<T> {
        // A machine that builds something else beside may take its time for a connection.
        const TRIES: u32 = 10;
        for _ in 1..TRIES {
            match query(sql).fetch_all(&self.0[service]).await {
                Err(error) if error.is_passing() => {}
                rows => return rows.expect("a table that is there"),
            }
        }
        query(sql).fetch_all(&self.0[service]).await.expect("a table that is there")
    }

    async fn ids(&self, service: &str, sql: &'static str) -> BTreeSet<i64> {
        self.rows::<(i64,)>(service, sql).await.into_iter().map(|(id,)| id).collect()
    }

    /// Each step was done once, or taken back, as its saga ended; and nobody knows a step of a
    /// saga that nobody conducts.
    async fn steps_are_whole(&self, sagas: &[Value], kinds: &Kinds) {
        let mut known: BTreeMap<(String, i64, String), String> = BTreeMap::new();
        for service in SERVICES {
            let rows: Vec<(String, i64, String, String)> =
                self.rows(service, "SELECT saga, saga_id, step, state FROM saga_step").await;
            for (saga, id, step, state) in rows {
                known.insert((saga, id, format!("{service}.{step}")), state);
            }
        }
        for saga in sagas {
            let (name, state) = (text(&saga["saga"]), text(&saga["state"]));
            let id: i64 = text(&saga["id"]).parse().expect("a number");
            for (step, kind) in &kinds[&name] {
                let found = known.remove(&(name.clone(), id, step.clone()));
                let found = found.as_deref();
                let is_right = match (state.as_str(), kind.as_str()) {
                    (_, "wait") => found.is_none(),
                    ("completed", _) => found == Some("done"),
                    ("compensated", "compensated") => found != Some("done"),
                    ("compensated", "plain") => true,
                    ("compensated", _) => matches!(found, None | Some("refused")),
                    _ => false,
                };
                assert!(is_right, "{step} is {found:?} of {saga}");
            }
        }
        assert!(known.is_empty(), "steps of no saga: {known:?}");
    }

    /// Identity and users know the same accounts by the same handles; nobody else knows one more.
    async fn accounts_agree(&self) -> BTreeMap<String, i64> {
        let accounts: Vec<(i64, String, String)> =
            self.rows("identity", "SELECT id, username_folded, state FROM account").await;
        let profiles: Vec<(i64, String)> = self
            .rows(
                "users",
                "SELECT user_id, username_key FROM profile
                 WHERE deleted_at IS NULL AND deactivated_at IS NULL",
            )
            .await;
        for (id, handle, state) in &accounts {
            assert_eq!(state, "active", "{id} {handle}");
        }
        let live: BTreeMap<String, i64> =
            accounts.into_iter().map(|(id, handle, _)| (handle, id)).collect();
        let shown: BTreeMap<String, i64> =
            profiles.into_iter().map(|(id, handle)| (handle, id)).collect();
        assert_eq!(live, shown);
        let ids: BTreeSet<i64> = live.values().copied().collect();
        for (service, sql) in [
            ("timelines", "SELECT user_id FROM account WHERE NOT deleted"),
            ("notifications", "SELECT user_id FROM account WHERE NOT deleted"),
            ("notifications", "SELECT user_id FROM mailbox"),
            ("search", "SELECT user_id FROM account WHERE NOT deleted"),
            ("graph", "SELECT source_id FROM relation"),
            ("graph", "SELECT target_id FROM relation"),
            ("tweets", "SELECT author_id FROM tweet"),
            ("timelines", "SELECT author_id FROM post"),
        ] {
            let known = self.ids(service, sql).await;
            let more: Vec<&i64> = known.difference(&ids).collect();
            assert!(more.is_empty(), "{service} knows {more:?}, who do not exist: {sql}");
        }
        let searched = self.ids("search", "SELECT user_id FROM account WHERE NOT deleted").await;
        assert_eq!(searched, ids, "search knows everybody");
        live
    }

    /// What is there only while a saga is under way is not there.
    async fn nothing_is_left(&self) {
        for (service, sql) in [
            ("users", "SELECT user_id FROM handle_reservation"),
            ("users", "SELECT user_id FROM profile_draft"),
            ("graph", "SELECT source_id FROM relation WHERE kind = 'request'"),
            ("notifications", "SELECT actor_id FROM notification WHERE kind = 'follow_request'"),
            ("graph", "SELECT user_id FROM account WHERE hidden AND NOT deleted"),
            ("tweets", "SELECT user_id FROM hidden_author"),
            ("timelines", "SELECT user_id FROM hidden_user"),
            ("search", "SELECT user_id FROM account WHERE hidden AND NOT deleted"),
        ] {
            let left = self.ids(service, sql).await;
            assert!(left.is_empty(), "{service} has {left:?} left: {sql}");
        }
        for service in SERVICES {
            let carried: Vec<(String,)> =
                self.rows(service, "SELECT data FROM saga WHERE data <> '{}'").await;
            assert!(carried.is_empty(), "{service} keeps what its sagas carried: {carried:?}");
        }
    }

    /// Whoever follows somebody does so for everyone.
    async fn follows_agree(&self) {
        let follows = async |service, sql| -> BTreeSet<(i64, i64)> {
            self.rows::<(i64, i64)>(service, sql).await.into_iter().collect()
        };
        let graph =
            follows("graph", "SELECT source_id, target_id FROM relation WHERE kind = 'follow'")
                .await;
        for service in ["timelines", "notifications"] {
            // In timelines everybody follows themselves, too.
            let known = follows(
                service,
                "SELECT follower_id, followee_id FROM follow WHERE follower_id <> followee_id",
            )
            .await;
            assert_eq!(known, graph, "{service}");
        }
    }
}

impl Held {
    async fn events(&self, service: &str, name: &str) -> i64 {
        let names: Vec<(String,)> = self.rows(service, "SELECT name FROM event_log").await;
        let count = names.iter().filter(|(found,)| found == name).count();
        count.try_into().expect("a few")
    }

    /// What happened to accounts and requests happened once for each saga that ended so.
    async fn events_are_those_of_sagas(&self, sagas: &[Value]) {
        let ended = |name: &str, states: &[&str]| -> i64 {
            let is_one = |saga: &&Value| {
                saga["saga"] == name && states.contains(&saga["state"].as_str().expect("a state"))
            };
            sagas.iter().filter(is_one).count().try_into().expect("a few")
        };
        let done = ["completed"];
        let either = ["completed", "compensated"];
        for (service, event, expected) in [
            ("users", "user.registered", ended("register_account", &done)),
            ("users", "user.renamed", ended("change_handle", &done)),
            ("users", "user.deleted", ended("deactivate_account", &done)),
            ("graph", "graph.follow_requested", ended("follow_protected", &either)),
            ("graph", "graph.follow_request_removed", ended("follow_protected", &either)),
        ] {
            assert_eq!(self.events(service, event).await, expected, "{event}");
        }
        for (service, hidden, shown) in [
            ("users", "user.deactivated", "user.reactivated"),
            ("tweets", "tweet.author_hidden", "tweet.author_unhidden"),
            ("graph", "graph.account_hidden", "graph.account_unhidden"),
            ("timelines", "timeline.hidden", "timeline.unhidden"),
        ] {
            // Each was brought back once, or is gone for good.
            let gone = self.events(service, hidden).await - self.events(service, shown).await;
            assert_eq!(gone, ended("deactivate_account", &done), "{hidden}");
        }
    }
}

/// What somebody was told is so.
fn acknowledged_is_there(live: &BTreeMap<String, i64>, done: &Done, log: &str) {
    for (handle, id) in &done.registered {
        let found = live.get(handle).map(i64::to_string);
        assert_eq!(found.as_ref(), Some(id), "{handle} was acknowledged\n{log}");
    }
    for handle in done.refused.iter().chain(&done.left) {
        assert!(!live.contains_key(handle), "{handle} is not to be there\n{log}");
    }
    let handles: Vec<&String> =
        std::iter::once(&done.handle).chain(&done.handles_perhaps).collect();
    let id: i64 = done.renamed.parse().expect("a number");
    let found = live.iter().find(|(_, live)| **live == id).map(|(handle, _)| handle);
    assert!(found.is_some_and(|found| handles.contains(&found)), "{found:?} of {}", json!(handles));
}
