//! All cases at once, beside a healthy plugin under load in the same host: 30 s, ten minutes on
//! demand (`cargo xtask soak hostile`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pillion_host::{GenerationSpec, Host, PluginSpec};
use pillion_tests::client::Client;

use crate::case::{self, Reaction};
use crate::pillion::{self, CLIENT, NEIGHBOR, Pillion};
use crate::{logs, make};

/// How long it lasts, unless `PILLION_SOAK_HOSTILE_S` says otherwise: CI runs beside other suites
/// and has 45 minutes for all of them.
const SECONDS: u64 = 30;

/// Attack and peace take turns, so that both are measured on the same machine.
const SLICE: Duration = Duration::from_secs(1);

/// Connections that the neighbor's load comes by, and their pause between two requests.
const NEIGHBOR_CLIENTS: usize = 4;
const NEIGHBOR_PAUSE: Duration = Duration::from_millis(4);

/// Connections that attack.
const ATTACKERS: usize = 4;

/// Operators try to load bad components this often.
const LOAD_EVERY: Duration = Duration::from_millis(500);

/// The promise: the neighbor's 99th percentile under attack, as a multiple of its own in peace.
const RATIO_MAX: f64 = 2.0;

/// In CI the attackers' clients, the neighbor's and the host share two cores with other suites, in a
/// debug build: a ratio of 15 was measured there. A neighbor that waits for whole rounds of
/// attacks must still show, so the ratio is only guarded there; the promise is held on demand.
const RATIO_MAX_CI: f64 = 50.0;

const RSS_GROWTH_MAX: u64 = 64 << 20;

/// Before this the host is not warm: breakers are closed and instances new.
const WARM_AFTER: Duration = Duration::from_secs(6);

/// What goes on at the moment.
#[derive(Default)]
struct Weather {
    attack: AtomicBool,
    over: AtomicBool,
    attacks: AtomicU64,
    loads: AtomicU64,
    slice: AtomicUsize,
}

#[derive(Default)]
struct Measured {
    peace: Vec<Duration>,
    attack: Vec<Duration>,
    lost: Vec<String>,
}

impl Measured {
    fn add(&mut self, attack: bool, whole: bool, took: Duration, lost: Option<String>) {
        self.lost.extend(lost);
        match (whole, attack) {
            (true, true) => self.attack.push(took),
            (true, false) => self.peace.push(took),
            (false, _) => {}
        }
    }
}

/// The plugins that attack while requests flow, and those that never load.
fn attackers(host: &Host, folder: &Path) -> (BTreeMap<String, PluginSpec>, Vec<PluginSpec>) {
    let (mut running, mut refused) = (BTreeMap::new(), Vec::new());
    for case in case::all().iter().filter(|case| case.storm) {
        let made = make::component(case);
        let path = folder.join(format!("{}.wasm", case.name));
        std::fs::write(&path, &made.bytes).expect("a file");
        let spec = pillion::spec(case, &made, path);
        if case.expect.reaction == Reaction::Refused {
            refused.push(spec);
        } else if host.check(&alone(&case.name, &spec)).iter().all(|one| one.error.is_none()) {
            running.insert(case.name.clone(), spec);
        }
    }
    (running, refused)
}

fn alone(name: &str, plugin: &PluginSpec) -> GenerationSpec {
    let mut spec = GenerationSpec::default();
    spec.plugins.insert(name.to_owned(), plugin.clone());
    spec
}

async fn neighbor(client: Client, weather: Arc<Weather>, measured: Arc<Mutex<Measured>>) {
    while !weather.over.load(Ordering::Relaxed) {
        let slice = weather.slice.load(Ordering::Relaxed);
        let attack = weather.attack.load(Ordering::Relaxed);
        let began = Instant::now();
        let answer = client.get("/neighbor/").try_send().await;
        let took = began.elapsed();
        // What began in one slice and ended in the next belongs to neither.
        let whole = weather.slice.load(Ordering::Relaxed) == slice;
        let lost = match answer {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(answer.status.to_string()),
            Err(error) => Some(format!("{error:#}")),
        };
        measured.lock().unwrap_or_else(PoisonError::into_inner).add(attack, whole, took, lost);
        tokio::time::sleep(NEIGHBOR_PAUSE).await;
    }
}

async fn attacker(client: Client, weather: Arc<Weather>, names: Arc<Vec<String>>) {
    while !weather.over.load(Ordering::Relaxed) {
        if !weather.attack.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let number = weather.attacks.fetch_add(1, Ordering::Relaxed);
        let name = &names[usize::try_from(number).expect("64 bits") % names.len()];
        let client_address = pillion::next_client();
        let call = client.get(&format!("/{name}/")).header("x-hostile", "now");
        // Whatever it is, it is an answer.
        call.header(CLIENT, &client_address).send().await;
    }
}

fn load(host: &Host, weather: &Weather, refused: &[PluginSpec]) {
    for spec in refused.iter().cycle() {
        while !weather.attack.load(Ordering::Relaxed) {
            if weather.over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let reports = host.check(&alone("loaded-under-attack", spec));
        assert!(reports.iter().all(|report| report.error.is_some()), "it was loaded: {spec:?}");
        weather.loads.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(LOAD_EVERY);
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * rustix::param::page_size() as u64
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn all_at_once_beside_a_healthy_neighbor() {
    let _alone = pillion::MACHINE.blocking_lock();
    logs::collect();
    let soak = std::env::var("PILLION_SOAK_HOSTILE_S").ok();
    let seconds = soak.as_ref().map_or(SECONDS, |text| text.parse().expect("a whole number"));
    let ratio_max = if soak.is_some() { RATIO_MAX } else { RATIO_MAX_CI };
    let threads = |count| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(count).enable_all().build().expect("a runtime")
    };
    // Clients have a thread of their own: theirs must not be the host's.
    let (server, clients) = (threads(pillion::WORKERS), threads(1));
    let names: Vec<String> = case::all().into_iter().map(|case| case.name).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let running = server.block_on(Pillion::with(4_000, &names));
    let (plugins, refused) = attackers(&running.host, folder.path());
    assert!(plugins.len() + refused.len() >= 64, "{} and {}", plugins.len(), refused.len());
    let names = Arc::new(plugins.keys().cloned().collect::<Vec<_>>());
    let mut generation = GenerationSpec { plugins, ..GenerationSpec::default() };
    generation.plugins.insert(NEIGHBOR.to_owned(), pillion::neighbor());
    let chain = |name: &String| (name.clone(), vec![name.clone()]);
    generation.chains = generation.plugins.keys().map(chain).collect();
    server.block_on(running.activate(generation)).expect("it is loaded");

    let (weather, measured) = (Arc::new(Weather::default()), Arc::new(Mutex::default()));
    let mut tasks = Vec::new();
    for _ in 0..NEIGHBOR_CLIENTS {
        let client = Client::new(running.base.clone());
        let task = neighbor(client, Arc::clone(&weather), Arc::clone(&measured));
        tasks.push(clients.spawn(task));
    }
    for _ in 0..ATTACKERS {
        let client = Client::new(running.base.clone());
        tasks.push(clients.spawn(attacker(client, Arc::clone(&weather), Arc::clone(&names))));
    }
    let (host, own) = (running.host.clone(), Arc::clone(&weather));
    let refusals = refused.len();
    let loader = std::thread::spawn(move || load(&host, &own, &refused));

    let began = Instant::now();
    let mut warm = None;
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(SLICE);
        weather.attack.fetch_xor(true, Ordering::Relaxed);
        weather.slice.fetch_add(1, Ordering::Relaxed);
        if warm.is_none() && began.elapsed() > WARM_AFTER {
            warm = Some(resident_bytes());
        }
        // A flood of lines is the collector's own memory.
        drop(logs::taken());
    }
    weather.over.store(true, Ordering::Relaxed);
    for task in tasks {
        clients.block_on(task).expect("every request has an answer");
    }
    loader.join().expect("nothing bad was loaded");

    let mut measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
    let grown = resident_bytes().saturating_sub(warm.expect("it lasts longer than that"));
    let (requests, attacked) = (measured.peace.len(), measured.attack.len());
    let (peace, attack) = (p99(&mut measured.peace), p99(&mut measured.attack));
    let ratio = attack.as_secs_f64() / peace.as_secs_f64();
    println!(
        "{seconds} s, {} plugins and {refusals} that do not load: {} attacks, {} loads; neighbor: \
         p99 {peace:?} in peace ({requests} requests), {attack:?} under attack ({attacked}), ratio \
         {ratio:.2}; {} lost; memory + {} KiB",
        names.len(),
        weather.attacks.load(Ordering::Relaxed),
        weather.loads.load(Ordering::Relaxed),
        measured.lost.len(),
        grown >> 10
    );
    assert_eq!(measured.lost, Vec::<String>::new(), "requests of the neighbor");
    assert!(grown <= RSS_GROWTH_MAX, "memory grew by {grown} bytes");
    assert!(ratio <= ratio_max, "p99 is {ratio:.2} times that in peace");
}
