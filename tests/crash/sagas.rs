//! Registrations, changes of handles, follows of a protected account and ends of accounts, while the
//! process is ended at every place where a saga is half done, on both back ends. Afterwards every
//! saga is at its end, each of its steps was done once or taken back once, and the services agree on
//! who there is and who follows whom.

mod actors;
mod ledger;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pillion_tests::client::Client;
use pillion_tests::system::{Servers, System};
use serde_json::{Value, json};

use crate::world::{told, without_limits};
use actors::{Done, Scene};
use ledger::Databases;

/// Before and after what is done at one place only. `chassis` has the places by these names.
const POINTS: [&str; 9] = [
    "saga.log.before",
    "saga.log.after",
    "saga.send.before",
    "saga.send.after",
    "saga.effect.before",
    "saga.effect.after",
    "saga.compensate.before",
    "saga.compensate.after",
    "saga.reply.before",
];
/// Crashes at each place; `PILLION_SAGA_CRASHES` sets another number. Each is at another of the
/// steps.
const RUNS: u32 = 5;
/// Rounds of each actor until a run is over; the place comes by much earlier.
const ROUNDS_MAX: u32 = 12;
/// How long the process may need to come to an end that it has met: nobody waits for an answer.
const END_DEADLINE: Duration = Duration::from_secs(2);
/// After a start no saga stands still for longer.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(30);
/// How long an account can be brought back in this suite.
pub(crate) const GRACE_S: u64 = 3;

/// An account of the suite and its token.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    id: String,
    name: &'static str,
    token: String,
}

/// A system, and what is known of what was asked of it.
#[derive(Debug)]
pub(crate) struct SagaWorld {
    pub(crate) system: System,
    databases: Databases,
    /// Protected; decides about requests.
    olga: Account,
    /// Asks to follow.
    frank: Account,
    /// Changes its handle.
    rena: Account,
    serial: u32,
    done: Done,
}

fn config(text: &str) -> String {
    let text = without_limits(text);
    let grace = format!("deactivation_grace_s = {GRACE_S}");
    assert!(text.contains("deactivation_grace_s = 2592000"), "the configuration has a grace");
    text.replace("deactivation_grace_s = 2592000", &grace)
}

impl SagaWorld {
    async fn begin(system: System, databases: Databases) -> Self {
        let account = async |name: &'static str| {
            let (id, token) = system.register(name).await;
            Account { id, name, token }
        };
        let (olga, frank) = (account("olga").await, account("frank").await);
        let rena = account("rena").await;
        let path = "/pillion/v1/account/profile";
        let protect = json!({ "protected": true });
        system.client.post(path).bearer(&olga.token).json(&protect).send().await.expect(200);
        let done = Done::new(&rena.id, rena.name);
        let mut world = Self { system, databases, olga, frank, rena, serial: 0, done };
        world.system.stop();
        world
    }

    /// Everybody is busy until something fails, or for so many rounds.
    async fn work(&mut self, scene: Scene) {
        self.serial += 1;
        let cast = actors::Cast {
            client: self.system.client.clone(),
            olga: self.olga.clone(),
            frank: self.frank.clone(),
            rena: self.rena.clone(),
            serial: self.serial,
            rounds: ROUNDS_MAX,
            scene,
        };
        actors::play(cast, &mut self.done).await;
    }

    /// Starts the system again, waits for the end of every saga, and holds everything against
    /// everything.
    async fn check(&mut self) -> BTreeMap<(String, String), u32> {
        self.system.launch();
        let restarted = Instant::now();
        let admin = Admin::of(&self.system);
        // What runs or is taken back comes to its end, or to where it waits.
        loop {
            let busy = admin.unfinished(&["running", "compensating", "parked"]).await;
            if busy.is_empty() {
                break;
            }
            let since = restarted.elapsed();
            let parked = busy.iter().any(|saga| saga["state"] == "parked");
            assert!(
                !parked && since < PROGRESS_DEADLINE,
                "{since:?} after the restart: {}\n{}",
                Value::from(busy),
                self.system.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let settled = restarted.elapsed();
        // Nobody answers requests any more, and nobody comes back.
        for account in [&mut self.olga, &mut self.frank] {
            account.token = self.system.login(account.name, "").await;
        }
        let path = format!("/2/users/{}/following/{}", self.frank.id, self.olga.id);
        self.system.client.delete(&path).bearer(&self.frank.token).send().await.expect(200);
        let waits = Instant::now();
        while !admin.unfinished(&[]).await.is_empty() {
            let since = waits.elapsed();
            let end = Duration::from_secs(GRACE_S) + PROGRESS_DEADLINE;
            assert!(since < end, "{}", Value::from(admin.unfinished(&[]).await));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        crate::world::until_even(&self.system).await;
        let sagas = admin.sagas(true).await;
        let kinds = admin.kinds(&sagas).await;
        self.rena.token = self.system.login(&self.done.handle_of(&self.system).await, "").await;
        self.system.stop();
        println!("all sagas settled {settled:?} after the restart");
        self.databases.hold(&self.system, &sagas, &kinds, &self.done).await;
        let mut ends = BTreeMap::new();
        for saga in &sagas {
            let end = (text(&saga["saga"]), text(&saga["state"]));
            *ends.entry(end).or_insert(0) += 1;
        }
        ends
    }
}

/// The admin API of a running system.
struct Admin {
    client: Client,
    token: String,
}

/// A step's kind by saga and step.
pub(crate) type Kinds = BTreeMap<String, Vec<(String, String)>>;

impl Admin {
    fn of(system: &System) -> Self {
        Self { client: system.admin(), token: system.admin_token() }
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(path).bearer(&self.token).send().await.expect(200).json()["data"].clone()
    }

    async fn sagas(&self, all: bool) -> Vec<Value> {
        let sagas = self.get(&format!("/admin/v1/sagas?all={all}")).await;
        let sagas = sagas.as_array().expect("a list").clone();
        assert!(sagas.len() < 1_000, "the list is cut");
        sagas
    }

    /// Those that are not at their end, in one of these states, or in any.
    async fn unfinished(&self, states: &[&str]) -> Vec<Value> {
        let mut sagas = self.sagas(false).await;
        sagas.retain(|saga| {
            states.is_empty() || states.contains(&saga["state"].as_str().expect("a state"))
        });
        sagas
    }

    /// The steps of every saga that there is, with their kinds.
    async fn kinds(&self, sagas: &[Value]) -> Kinds {
        let mut kinds = Kinds::new();
        for saga in sagas {
            let name = text(&saga["saga"]);
            if kinds.contains_key(&name) {
                continue;
            }
            let shown = self.get(&format!("/admin/v1/sagas/{}", text(&saga["id"]))).await;
            let steps = shown["steps"].as_array().expect("steps").iter();
            let steps = steps.map(|step| (text(&step["step"]), text(&step["kind"])));
            kinds.insert(name, steps.collect());
        }
        kinds
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

async fn crash_at_every_point(mut world: SagaWorld) {
    let runs = match std::env::var("PILLION_SAGA_CRASHES") {
        Ok(runs) => runs.parse().expect("a number of crashes"),
        Err(_) => RUNS,
    };
    let mut met = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for (place, point) in (0..).zip(POINTS) {
        let is_back = point.contains("compensate");
        for run in 0..runs {
            let scenes = Scene::ALL.into_iter();
            // Nothing is taken back when a handle changes.
            let is_idle = |scene: &Scene| is_back && *scene == Scene::Renamer;
            let scenes: Vec<Scene> = scenes.filter(|scene| !is_idle(scene)).collect();
            let scene = scenes[usize::try_from(run).expect("few") % scenes.len()];
            // Another of the many times that a run comes by: some are rare.
            let spread = if is_back { 5 } else { 43 };
            let nth = 1 + (run * 7 + place * 5) % spread;
            world.system.once("PILLION_CRASH_AT", &format!("{point}:{nth}"));
            // It may meet its end before it is ready: it goes on with what the last one left.
            if world.system.try_launch() {
                world.work(scene).await;
            }
            if world.system.ended(END_DEADLINE).await {
                *met.entry(point).or_insert(0) += 1;
            } else {
                world.system.kill();
            }
        }
        ends = world.check().await;
    }
    println!("{}; {ends:?}", told(&met));
    for point in POINTS {
        // A run in which it did not come by often enough was a kill at the end of the work.
        assert!(met.get(point).copied().unwrap_or(0) >= runs / 2, "{point}: {}", told(&met));
    }
    // Both ends of each saga were there, where it has two in this suite.
    for (saga, end) in [
        ("register_account", "completed"),
        ("register_account", "compensated"),
        ("change_handle", "completed"),
        ("follow_protected", "completed"),
        ("follow_protected", "compensated"),
        ("deactivate_account", "completed"),
        ("deactivate_account", "compensated"),
    ] {
        assert!(ends.contains_key(&(saga.to_owned(), end.to_owned())), "{saga} {end}: {ends:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_saga_ends_whole_on_files() {
    let system = System::start_with(config);
    let databases = Databases::Files(system.data());
    crash_at_every_point(SagaWorld::begin(system, databases).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_saga_ends_whole_on_servers() {
    let servers = Servers::start().await;
    let system = System::start_on(&servers, config);
    let databases = Databases::Servers(servers.database_urls());
    crash_at_every_point(SagaWorld::begin(system, databases).await).await;
}
