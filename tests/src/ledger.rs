//! What the services' databases hold of sagas: what participants know of their steps, who there is,
//! and who follows whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pillion_chassis::Database;
use pillion_chassis::sql::{Record, query};
use serde_json::{Value, json};

/// The steps of every saga by its name, each `SERVICE.STEP`, with their kinds.
pub type Kinds = BTreeMap<String, Vec<(String, String)>>;

/// Services that have a part in sagas.
const SERVICES: [&str; 8] =
    ["identity", "users", "tweets", "graph", "engagements", "timelines", "search", "notifications"];

/// The open databases of a system in which nothing is under way.
#[derive(Debug)]
pub struct Ledger(BTreeMap<&'static str, Database>);

impl Ledger {
    /// Those of a stopped system, in its data folder.
    pub async fn of_files(folder: &Path) -> Self {
        let mut held = BTreeMap::new();
        for service in SERVICES {
            let database = Database::open(folder.join(format!("{service}.sqlite"))).await;
            held.insert(service, database.expect("a database of a stopped system"));
        }
        Self(held)
    }

    /// Those at these addresses, by service.
    pub async fn of_servers(url: impl Fn(&str) -> String) -> Self {
        let mut held = BTreeMap::new();
        for service in SERVICES {
            let database = Database::connect(&url(service)).await;
            held.insert(service, database.expect("a database of a system"));
        }
        Self(held)
    }

    /// Every one of these sagas is whole, all at their ends, and the services agree; the accounts
    /// that there are, by handle.
    pub async fn hold(&self, sagas: &[Value], kinds: &Kinds) -> BTreeMap<String, i64> {
        self.steps_are_whole(sagas, kinds).await;
        self.journals_are_whole(sagas, kinds).await;
        let live = self.accounts_agree().await;
        self.nothing_is_left().await;
        self.follows_agree().await;
        self.events_are_those_of_sagas(sagas).await;
        live
    }

    /// Every saga with its id, name and state, in the form in which the admin API shows it.
    pub async fn sagas(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for service in SERVICES {
            let rows: Vec<(i64, String, String)> =
                self.rows(service, "SELECT id, name, state FROM saga ORDER BY id").await;
            all.extend(rows.into_iter().map(|(id, saga, state)| {
                json!({ "id": id.to_string(), "service": service, "saga": saga, "state": state })
            }));
        }
        all
    }

    /// Closes the databases.
    pub async fn close(self) {
        for database in self.0.values() {
            database.close().await;
        }
    }
}

impl Ledger {
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
            for (step, kind) in &kinds[name] {
                let found = known.remove(&(name.to_owned(), id, step.clone()));
                let found = found.as_deref();
                let is_right = match (state, kind.as_str()) {
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

    /// Each saga's journal tells that it began, that its steps were done in their order, where it
    /// turned if it did and that those before were taken back in reverse, and its one end.
    async fn journals_are_whole(&self, sagas: &[Value], kinds: &Kinds) {
        let mut journals: BTreeMap<(&str, i64), Vec<(String, String)>> = BTreeMap::new();
        for service in SERVICES {
            let sql = "SELECT saga_id, step, what FROM saga_journal ORDER BY saga_id, ordinal";
            for (id, step, what) in self.rows::<(i64, String, String)>(service, sql).await {
                journals.entry((service, id)).or_default().push((step, what));
            }
        }
        for saga in sagas {
            let id: i64 = text(&saga["id"]).parse().expect("a number");
            let mut journal = journals.remove(&(text(&saga["service"]), id)).unwrap_or_default();
            // These only tell how it went.
            journal.retain(|(_, what)| what != "failing" && what != "waiting");
            let expected = journal_of(&kinds[text(&saga["saga"])], text(&saga["state"]), &journal);
            assert_eq!(journal, expected, "{saga}");
        }
        assert!(journals.is_empty(), "journals of no saga: {journals:?}");
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

impl Ledger {
    async fn events(&self, service: &str, name: &str) -> i64 {
        let names: Vec<(String,)> = self.rows(service, "SELECT name FROM event_log").await;
        let count = names.iter().filter(|(found,)| found == name).count();
        count.try_into().expect("a few")
    }

    /// What happened to accounts and requests happened once for each saga that ended so.
    async fn events_are_those_of_sagas(&self, sagas: &[Value]) {
        let ended = |name: &str, states: &[&str]| -> i64 {
            let is_one =
                |saga: &&Value| saga["saga"] == name && states.contains(&text(&saga["state"]));
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

/// What the journal of a saga with this end has to say, when it turned at the step that it says.
fn journal_of(
    steps: &[(String, String)],
    end: &str,
    journal: &[(String, String)],
) -> Vec<(String, String)> {
    let line = |step: &str, what: &str| (step.to_owned(), what.to_owned());
    let is_turn = |(_, what): &&(String, String)| {
        matches!(what.as_str(), "refused" | "timed out" | "turned back")
    };
    let turn = journal.iter().find(is_turn);
    let turned = turn.and_then(|(at, _)| steps.iter().position(|(step, _)| step == at));
    let mut expected = vec![line(&steps[0].0, "started")];
    for (step, kind) in &steps[..turned.unwrap_or(steps.len())] {
        expected.push(line(step, if kind == "wait" { "proceeded" } else { "done" }));
    }
    if let Some(turned) = turned {
        expected.extend(turn.cloned());
        let back = steps[..=turned].iter().rev();
        let back = back.filter(|(_, kind)| kind == "compensated" || kind == "plain");
        expected.extend(back.map(|(step, _)| line(step, "undone")));
    }
    expected.push(line("", end));
    expected
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
