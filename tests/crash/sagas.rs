//! Every step of every saga, with the process ended at every place where something is half done:
//! before and after each write to the log, each call, each effect, each answer and each
//! compensation, on both back ends. The places are found by letting each saga go its ways once, and
//! held against the declarations. Afterwards every saga is at the end that its way leads to, each
//! of its steps was done once or taken back once, and the services agree on who there is and who
//! follows whom.

mod cells;
mod courses;
mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use pillion_tests::client::Client;
use pillion_tests::ledger::Kinds;
use pillion_tests::system::{Servers, System};
use serde_json::{Value, json};

use crate::world::without_limits;
use cells::Cell;
use courses::{Account, Course, REFUSED, Run, VETOED};
use ledger::Databases;

/// After a start no saga stands still for longer.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(30);
/// A run comes by its place within this.
const PLACE_DEADLINE: Duration = Duration::from_secs(45);
/// Starts until one succeeds.
const STARTS_MAX: u32 = 5;
/// The signal by which a process ends that met its end: SIGABRT.
const ABORTED: i32 = 6;
/// How often it is looked how far the sagas are.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// Crashes after which everything is held against everything.
const CRASHES_AT_ONCE_MAX: usize = 40;
/// Accounts that take part in runs: more than sagas are under way at a time.
const PEOPLE: usize = 12;
/// Accounts of which something is refused.
const REFUSED_PEOPLE: usize = 4;
/// Accounts that there are for a run to begin with another one.
const SPARE_PEOPLE: usize = 2;

/// A system, the sagas that are under way in it, and what is known of what was asked of it.
#[derive(Debug)]
struct SagaWorld {
    system: System,
    databases: Databases,
    /// Protected. Nobody plays a part in two runs at a time.
    people: Vec<Account>,
    refused: Vec<Account>,
    /// Handles of accounts that are gone.
    taken: Vec<String>,
    serial: u32,
    /// Begun, and not at their end as far as is known.
    runs: Vec<Run>,
    told: Told,
    /// The longest time from a restart to the end of a saga that was under way.
    longest: Duration,
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Told {
    /// The id by the handle.
    registered: BTreeMap<String, String>,
    /// There is no account of that handle.
    absent: Vec<String>,
}

fn config(text: &str) -> String {
    let chain = "[services.users]\nplugins = [\"auth\"]";
    assert!(text.contains(chain), "the configuration has a chain for users");
    let policy = format!(
        "[plugins.policy-handles]\ncomponent = \"policy-handles.wasm\"\n\
         config = {{ names = [], prefixes = [\"{VETOED}\"] }}\n\n[services.users]\n\
         plugins = [\"auth\", \"policy-handles\"]"
    );
    without_limits(text).replacen(chain, &policy, 1)
}

impl SagaWorld {
    async fn begin(system: System, databases: Databases) -> Self {
        let people = async |prefix: &str, count: usize| {
            let mut people = Vec::new();
            for index in 0..count {
                let handle = format!("{prefix}_{index}");
                let (id, token) = system.register(&handle).await;
                let protect = json!({ "protected": true });
                let call = system.client.post("/pillion/v1/account/profile").bearer(&token);
                call.json(&protect).send().await.expect(200);
                people.push(Account { id, handle, token });
            }
            people
        };
        let (people, refused) =
            (people("some", PEOPLE).await, people("other", REFUSED_PEOPLE).await);
        let mut world = Self {
            system,
            databases,
            people,
            refused,
            taken: Vec::new(),
            serial: 0,
            runs: Vec::new(),
            told: Told::default(),
            longest: Duration::ZERO,
        };
        world.system.stop();
        world
    }

    /// Starts the system, and once more when it ends with an error, as whoever watches over it
    /// does: a busy database may not let it in in time. `false` when it met its end as it began.
    fn start(&mut self, variables: &[(&str, &str)]) -> bool {
        let mut refused = vec![
            format!("register_account users.activate username {REFUSED}"),
            format!("change_handle users.swap username {REFUSED}"),
        ];
        let runs = self.runs.iter().filter(|run| run.course == Course::LeaveRefused);
        for owner in self.refused.iter().chain(runs.flat_map(|run| &run.cast)) {
            refused.push(format!("deactivate_account users.purge user_id {}", owner.id));
        }
        let restarted = Instant::now();
        for run in &mut self.runs {
            run.restarted.get_or_insert(restarted);
        }
        for _ in 0..STARTS_MAX {
            self.system.once("PILLION_REFUSE", &refused.join(","));
            for (name, value) in variables {
                self.system.once(name, value);
            }
            if self.system.try_launch() {
                return true;
            }
            if self.system.ending().expect("it has ended").signal() == Some(ABORTED) {
                return false;
            }
        }
        panic!("it does not start:\n{}", self.system.log());
    }

    /// Whether everybody is free whom a run of this course needs.
    fn is_free(&self, course: Course) -> bool {
        match course {
            Course::LeaveRefused => !self.refused.is_empty(),
            Course::RegisterTaken => !self.taken.is_empty(),
            _ => self.people.len() >= SPARE_PEOPLE,
        }
    }

    async fn begin_run(&mut self, course: Course) {
        self.serial += 1;
        let serial = self.serial;
        let parts = match course.saga() {
            "register_account" => 0,
            "follow_protected" => 2,
            _ => usize::from(course != Course::Leave),
        };
        let from =
            if course == Course::LeaveRefused { &mut self.refused } else { &mut self.people };
        // Whoever was free longest: what is wrong with an account shows later.
        let cast = from.drain(..parts).collect();
        let handle = match course {
            Course::RegisterTaken => self.taken.remove(0),
            Course::RegisterRefused | Course::RenameRefused => format!("{REFUSED}{serial}"),
            Course::RegisterVetoed => format!("{VETOED}{serial}"),
            Course::Leave => format!("gone{serial}"),
            _ => format!("new{serial}"),
        };
        let mut run = Run::new(course, cast, handle);
        // An error is the end of the process; how far it came is seen then.
        let begun = run.begin(&self.system.client).await;
        drop(begun);
        self.runs.push(run);
    }

    /// Looks after the sagas that are under way, as far as the process lives: those that wait are
    /// answered, and runs that are over are ended.
    async fn tend(&mut self) -> anyhow::Result<()> {
        let admin = Admin::of(&self.system);
        let unfinished = admin.sagas(false).await?;
        let mut going = Vec::new();
        let mut runs = std::mem::take(&mut self.runs).into_iter();
        while let Some(mut run) = runs.next() {
            let tended = match unfinished.iter().find(|saga| run.is(saga)) {
                Some(saga) => {
                    run.id = Some(text(&saga["id"]).to_owned());
                    assert_ne!(saga["state"], "parked", "{saga}\n{}", self.system.log());
                    if saga["state"] == "waiting" && run.waits_for_time() {
                        let id = text(&saga["id"]);
                        self.databases.let_time_pass(run.course.service(), id).await;
                    } else if saga["state"] == "waiting" {
                        // Whether it was taken is seen the next time.
                        drop(run.answer(&self.system.client).await);
                    }
                    Ok(false)
                }
                None => self.end(&admin, &mut run).await.map(|()| true),
            };
            if !matches!(tended, Ok(true)) {
                going.push(run);
            }
            if let Err(error) = tended {
                going.extend(runs);
                self.runs = going;
                return Err(error);
            }
        }
        self.runs = going;
        Ok(())
    }

    /// The run's saga is not under way any more: it is at the end to which its course leads, or
    /// has never begun.
    async fn end(&mut self, admin: &Admin, run: &mut Run) -> anyhow::Result<()> {
        let course = run.course;
        let saga = if let Some(id) = &run.id {
            Some(admin.get(&format!("/admin/v1/sagas/{id}")).await?)
        } else {
            let sagas = admin.sagas(true).await?;
            sagas.into_iter().find(|saga| run.is(saga))
        };
        // Everybody's handle is what it is now.
        for account in &mut run.cast {
            if course.saga() == "deactivate_account" {
                account.log_in(&self.system.client).await?;
            }
            let path = format!("/2/users/{}", account.id);
            let call = self.system.client.get(&path).bearer(&account.token);
            let answer = call.try_send().await?;
            anyhow::ensure!(answer.status.is_success(), "{}", answer.text());
            text(&answer.json()["data"]["username"]).clone_into(&mut account.handle);
        }
        if let Some(saga) = &saga {
            assert_eq!(saga["state"], course.end(), "{run:?}: {saga}");
        }
        self.is_as_told(run, saga.is_some());
        if let Some(restarted) = run.restarted {
            self.longest = self.longest.max(restarted.elapsed());
        }
        let people =
            if course == Course::LeaveRefused { &mut self.refused } else { &mut self.people };
        people.append(&mut run.cast);
        if course == Course::RegisterTaken || (course == Course::Leave && saga.is_some()) {
            self.taken.push(run.handle.clone());
        }
        Ok(())
    }

    /// What was answered is so.
    fn is_as_told(&mut self, run: &Run, has_begun: bool) {
        let told = run.told.as_ref().filter(|answer| !answer.status.is_server_error());
        let is_done = told.map(|answer| answer.status.is_success());
        // What was acknowledged has begun at least.
        assert!(has_begun || is_done != Some(true), "{run:?}");
        match (run.course.saga(), run.course.end()) {
            ("register_account", "completed") => {
                assert_ne!(is_done, Some(false), "{run:?}");
                if let Some(answer) = told {
                    let id = text(&answer.json()["data"]["id"]).to_owned();
                    self.told.registered.insert(run.handle.clone(), id);
                }
            }
            ("register_account" | "deactivate_account", _) if run.cast.is_empty() && has_begun => {
                self.told.absent.push(run.handle.clone());
            }
            ("change_handle", end) => {
                let has_changed = run.cast[0].handle == run.handle;
                assert_eq!(has_changed, has_begun && end == "completed", "{run:?}");
                assert!(is_done.is_none_or(|is_done| is_done == has_changed), "{run:?}");
            }
            _ => {}
        }
    }

    /// Ends the process where this cell says.
    async fn crash(&mut self, cell: &Cell) {
        if !self.is_free(cell.course) {
            self.settle().await;
            assert!(self.is_free(cell.course), "nobody is free: {self:?}");
        }
        // It may meet its end before it is ready: with what the last one left.
        let at = format!("{}:1", cell.place);
        if !self.start(&[("PILLION_CRASH_AT", &at)]) {
            return;
        }
        let began = Instant::now();
        let mut is_idle = true;
        let ending = loop {
            if let Some(ending) = self.system.ending() {
                break ending;
            }
            let is_late = began.elapsed() > PLACE_DEADLINE;
            assert!(!is_late, "nobody comes by {cell}\n{}", self.system.log());
            // Once more, when a busy machine did not let the first one begin.
            if is_idle {
                self.begin_run(cell.course).await;
            }
            is_idle = self.tend().await.is_ok() && self.runs.is_empty();
            tokio::time::sleep(LOOK_INTERVAL).await;
        };
        assert_eq!(ending.signal(), Some(ABORTED), "{cell}: {ending}\n{}", self.system.log());
    }

    /// Starts the system again, waits for the end of every saga, and holds everything against
    /// everything.
    async fn settle(&mut self) -> BTreeMap<(String, String), u32> {
        let restarted = Instant::now();
        assert!(self.start(&[]), "it ended before it was ready:\n{}", self.system.log());
        while !self.runs.is_empty() {
            // An error is looked at again; it does not stop the clock.
            let tended = self.tend().await;
            assert!(
                self.runs.is_empty() || restarted.elapsed() < PROGRESS_DEADLINE,
                "{:?} after the restart: {tended:?}: {:?}\n{}",
                restarted.elapsed(),
                self.runs,
                self.system.log()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let admin = Admin::of(&self.system);
        let unfinished = admin.sagas(false).await.expect("answers");
        assert!(unfinished.is_empty(), "sagas of nobody: {unfinished:?}");
        // A follow or a block of an earlier run is nobody's any more, and may stay.
        crate::world::until_even(&self.system).await;
        let kinds = admin.kinds().await.expect("answers");
        self.system.stop();
        let ledger = self.databases.open().await;
        let sagas = ledger.sagas().await;
        let live = ledger.hold(&sagas, &kinds).await;
        ledger.close().await;
        let log = self.system.log();
        for (handle, id) in &self.told.registered {
            let found = live.get(handle).map(i64::to_string);
            assert_eq!(found.as_ref(), Some(id), "{handle} was acknowledged\n{log}");
        }
        for handle in &self.told.absent {
            assert!(!live.contains_key(handle), "{handle} is not to be there\n{log}");
        }
        for account in self.people.iter().chain(&self.refused) {
            let found = live.get(&account.handle.to_lowercase()).map(i64::to_string);
            assert_eq!(found.as_ref(), Some(&account.id), "{account:?}\n{log}");
        }
        let mut ends = BTreeMap::new();
        for saga in &sagas {
            let end = (text(&saga["saga"]).to_owned(), text(&saga["state"]).to_owned());
            *ends.entry(end).or_insert(0) += 1;
        }
        ends
    }

    /// Every place that each course comes by.
    async fn explore(&mut self) -> BTreeSet<Cell> {
        let path = self.system.folder().join("trace");
        let trace = path.to_str().expect("UTF-8").to_owned();
        assert!(self.start(&[("PILLION_CRASH_TRACE", &trace)]), "{}", self.system.log());
        let mut cells = BTreeSet::new();
        let mut seen = 0;
        for course in Course::ALL {
            self.begin_run(course).await;
            let began = Instant::now();
            while !self.runs.is_empty() {
                let tended = self.tend().await;
                assert!(
                    began.elapsed() < PLACE_DEADLINE,
                    "{course:?}: {tended:?}\n{}",
                    self.system.log()
                );
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            let trace = std::fs::read_to_string(&path).expect("a trace");
            cells.extend(cells::of(course, &trace[seen..]));
            seen = trace.len();
        }
        let admin = Admin::of(&self.system);
        let (kinds, declared) = (admin.kinds().await, admin.declared().await);
        cells::are_all(&cells, &declared.expect("answers"), &kinds.expect("answers"));
        self.system.stop();
        cells
    }
}

/// The admin API of a running system.
struct Admin {
    client: Client,
    token: String,
}

impl Admin {
    fn of(system: &System) -> Self {
        Self { client: system.admin(), token: system.admin_token() }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(path).bearer(&self.token).try_send().await?;
        anyhow::ensure!(answer.status.is_success(), "{path}: {}", answer.text());
        Ok(answer.json()["data"].clone())
    }

    /// The latest first.
    async fn sagas(&self, all: bool) -> anyhow::Result<Vec<Value>> {
        let sagas = self.get(&format!("/admin/v1/sagas?all={all}")).await?;
        Ok(sagas.as_array().expect("a list").clone())
    }

    /// The steps of every saga that there is, with their kinds.
    async fn kinds(&self) -> anyhow::Result<Kinds> {
        let mut kinds = Kinds::new();
        for saga in self.sagas(true).await? {
            let name = text(&saga["saga"]);
            if kinds.contains_key(name) {
                continue;
            }
            let shown = self.get(&format!("/admin/v1/sagas/{}", text(&saga["id"]))).await?;
            let steps = shown["steps"].as_array().expect("steps").iter();
            let word = |value: &Value| text(value).to_owned();
            let steps = steps.map(|step| (word(&step["step"]), word(&step["kind"])));
            kinds.insert(name.to_owned(), steps.collect());
        }
        Ok(kinds)
    }

    /// The names of all sagas that are declared: each has its metrics from the start.
    async fn declared(&self) -> anyhow::Result<BTreeSet<String>> {
        let metrics = self.client.get("/metrics").bearer(&self.token).try_send().await?.text();
        let samples = metrics.lines().filter(|line| line.starts_with("pillion_sagas{"));
        let name = |line: &str| {
            let (_, rest) = line.split_once("saga=\"").expect("a label");
            rest.split('"').next().expect("its value").to_owned()
        };
        Ok(samples.map(name).collect())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Ends the process at every cell when `PILLION_SAGA_CELLS` is `all`; else at a sample that differs
/// with the lots.
async fn crash_at_every_place(mut world: SagaWorld, lot: impl Fn(&Cell) -> u64) {
    let all = world.explore().await;
    let count = all.len();
    let is_whole = std::env::var("PILLION_SAGA_CELLS").is_ok_and(|cells| cells == "all");
    let cells = if is_whole { all } else { cells::sample(all, &lot) };
    let mut cells: Vec<Cell> = cells.into_iter().collect();
    // One after the other they would meet the same sagas in the same order.
    cells.sort_by_key(lot);
    let began = Instant::now();
    let mut ends = BTreeMap::new();
    let mut crashes = 0;
    for cells in cells.chunks(CRASHES_AT_ONCE_MAX) {
        for cell in cells {
            world.crash(cell).await;
        }
        ends = world.settle().await;
        crashes += cells.len();
        println!("{crashes} crashes in {:?}", began.elapsed());
    }
    println!(
        "{crashes} crashes, each at another of {count} places: {}; the ends: {ends:?}; the longest \
         time from a restart to the end of a saga that was under way: {:?}",
        cells::told(&cells),
        world.longest
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_saga_ends_whole_on_files() {
    let system = System::start_with(config);
    let databases = Databases::Files(system.data());
    crash_at_every_place(SagaWorld::begin(system, databases).await, Cell::lot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_saga_ends_whole_on_servers() {
    let servers = Servers::start().await;
    let system = System::start_on(&servers, config);
    let databases = Databases::Servers(servers.database_urls());
    let other = |cell: &Cell| !cell.lot();
    crash_at_every_place(SagaWorld::begin(system, databases).await, other).await;
}
