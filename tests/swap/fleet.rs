//! One document decides what many processes run: each activates it, says so, stays on its last
//! good set when it cannot, and starts without the document's source.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pillion_test_servers::Nats;
use pillion_tests::build;
use pillion_tests::client::Client;
use serde_json::{Value, json};

use crate::under_load::another_version;

/// Three processes start at once, and each compiles what it has not compiled yet.
const PATIENCE: Duration = Duration::from_mins(1);

/// Processes that follow one document, and what they share. Killed when dropped.
struct Fleet {
    folder: tempfile::TempDir,
    /// `--fleet=…`.
    source: String,
    hosts: Vec<(String, Node)>,
}

struct Node {
    child: Child,
    client: Client,
    admin: Client,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has then found out otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, _) in &self.hosts {
                eprintln!("--- {name}:\n{}", self.log(name));
            }
        }
    }
}

/// What every process of a test is told; `sections` are more of it.
fn configuration(plugins: &str, sections: &str) -> String {
    let witness = build::fixture("witness");
    let mut text = format!(
        "[host]\nplugin_dir = \"none\"\nworkers = 1\n[fleet]\nplugins = {plugins:?}\n\
         [plugins.witness]\ncomponent = {:?}\nconfig = {{ stamp = 1 }}\n{sections}\n",
        witness.display().to_string()
    );
    for (index, service) in [
        "gateway",
        "identity",
        "users",
        "tweets",
        "graph",
        "engagements",
        "timelines",
        "search",
        "notifications",
    ]
    .into_iter()
    .enumerate()
    {
        let chain = if service == "gateway" { "[\"witness\"]" } else { "[]" };
        // Nobody listens there; the gateway wants to know where the others would be.
        let port = 20_000 + index;
        writeln!(text, "[services.{service}]\nplugins = {chain}\nlisten = \"127.0.0.1:{port}\"")
            .expect("a String takes everything");
    }
    text
}

impl Fleet {
    fn on_a_file() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).expect("a folder");
        let source = format!("file:{}", shared.join("plugins.json").display());
        let fleet = Self { folder, source, hosts: Vec::new() };
        fleet.configure("pillion.toml", "");
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, name: &str, sections: &str) {
        let plugins =
            if self.source.starts_with("file:") { self.source.clone() } else { "nats".to_owned() };
        std::fs::write(self.path(name), configuration(&plugins, sections)).expect("a file");
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn command(&self, name: &str, config: &str) -> Command {
        let mut command = Command::new(build::pillion());
        command.args(["serve", "gateway", "--listen", "127.0.0.1:0", "--admin-listen"]);
        command.args(["127.0.0.1:0", "--config"]).arg(self.path(config));
        command.arg("--data").arg(self.path(name));
        command.arg("--ready-file").arg(self.path(&format!("{name}.json")));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts a process with a data folder of its own, in which it may have run before.
    async fn start(&mut self, name: &str, config: &str) {
        let log = self.path(&format!("{name}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let ready = self.path(&format!("{name}.json"));
        // The old one would look like the new one.
        let _ = std::fs::remove_file(&ready);
        let mut child = self.command(name, config).stderr(log).spawn().expect("it starts");
        let began = Instant::now();
        let ready: Value = loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                break serde_json::from_str(&text).expect("whole JSON");
            }
            let ended = child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{name} ended:\n{}", self.log(name));
            assert!(began.elapsed() < PATIENCE, "{name} is not ready:\n{}", self.log(name));
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let client = |key: &str| Client::new(ready[key].as_str().expect("an address"));
        let node = Node { child, client: client("url"), admin: client("admin_url") };
        self.hosts.push((name.to_owned(), node));
    }

    /// A start that is expected to fail; what it said.
    async fn refused(&self, name: &str) -> String {
        let mut command = self.command(name, "pillion.toml");
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("no panic").expect("it runs");
        assert!(!output.status.success(), "it serves");
        let ready = self.path(&format!("{name}.json"));
        assert!(!ready.exists(), "it said that it is ready");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn node(&self, name: &str) -> &Node {
        let found = self.hosts.iter().find(|(known, _)| known == name);
        &found.expect("it was started").1
    }

    fn kill(&mut self, name: &str) {
        self.hosts.retain(|(known, _)| known != name);
    }

    /// SIGTERM, and waits for the end.
    async fn stop(&mut self, name: &str) {
        let place = self.hosts.iter().position(|(known, _)| known == name).expect("it runs");
        let (_, mut node) = self.hosts.remove(place);
        let pid = rustix::process::Pid::from_child(&node.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child of ours");
        let ended = tokio::task::spawn_blocking(move || node.child.wait().expect("a child"));
        let status = ended.await.expect("no panic");
        assert!(status.success(), "{status}:\n{}", self.log(name));
    }

    async fn plugin(&self, arguments: &[&str]) -> Output {
        let fleet = format!("--fleet={}", self.source);
        let mut command = Command::new(build::pillion());
        command.arg("plugin").args(arguments).arg(fleet);
        tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("no panic")
            .expect("it runs")
    }

    /// A command that succeeds; what it printed.
    async fn done(&self, arguments: &[&str]) -> String {
        let output = self.plugin(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that fails; why.
    async fn fails(&self, arguments: &[&str]) -> String {
        let output = self.plugin(arguments).await;
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    async fn publish(&self, config: &str) -> String {
        let config = self.path(config);
        self.done(&["publish", "--config", config.to_str().expect("a path")]).await
    }

    /// Waits until all hosts run the newest revision; what they report.
    async fn all_current(&self, hosts: usize) -> Value {
        let began = Instant::now();
        loop {
            let text = self.done(&["status", "--wait", "60", "--json"]).await;
            let status: Value = serde_json::from_str(&text).expect("JSON");
            if status["hosts"].as_array().map_or(0, Vec::len) == hosts {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{status}");
        }
    }

    /// Waits until a host answers with this stamp.
    async fn until_stamp(&self, name: &str, stamp: u64) {
        let began = Instant::now();
        while self.node(name).stamp().await != stamp.to_string() {
            assert!(began.elapsed() < PATIENCE, "{name} does not come to {stamp}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_state(&self, name: &str, state: &str) {
        let line = format!("pillion_fleet_plugins_state{{state=\"{state}\"}} 1");
        let began = Instant::now();
        loop {
            let page = self.node(name).admin.get("/metrics").send().await.expect(200).text();
            if page.contains(&line) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{name} is not {state}: {}", self.log(name));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Node {
    /// The stamp of the version that handled a request, which no two versions did.
    async fn stamp(&self) -> String {
        let answer = self.client.get("/").send().await;
        let witness = answer.header("x-witness").to_owned();
        let (before, after) = witness.split_once(' ').expect("both phases");
        assert_eq!(before, after, "{witness}");
        before.split('/').next().expect("a stamp").to_owned()
    }
}

fn host<'a>(status: &'a Value, generation_of: &str) -> &'a Value {
    let hosts = status["hosts"].as_array().expect("a list");
    hosts.iter().find(|host| host["host"].as_str() == Some(generation_of)).expect("it reports")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_host_activates_what_the_document_says_without_a_failed_request() {
    let mut fleet = Fleet::on_a_file();
    // Before there is a document the configuration counts.
    fleet.start("a", "pillion.toml").await;
    fleet.start("b", "pillion.toml").await;
    assert_eq!(fleet.node("a").stamp().await, "1");
    fleet.until_state("a", "configuration").await;
    assert!(fleet.fails(&["rollback"]).await.contains("no document"));
    assert!(fleet.publish("pillion.toml").await.contains("revision 1"));
    assert!(fleet.publish("pillion.toml").await.contains("revision 1 says so already"));
    fleet.start("c", "pillion.toml").await;
    let status = fleet.all_current(3).await;
    assert_eq!(status["document"]["revision"], 1);

    // Requests go on while versions change.
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let (client, over) = (fleet.node(name).client.clone(), over.clone());
            tokio::spawn(async move {
                let mut requests = 0_u64;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = client.get("/").send().await.expect(200);
                    let (before, after) =
                        answer.header("x-witness").split_once(' ').expect("both phases");
                    assert_eq!(before, after, "a request on two generations");
                    requests += 1;
                }
                requests
            })
        })
        .into_iter()
        .collect();
    fleet.done(&["swap", "witness", "--config", "{\"stamp\": 2}"]).await;
    let component = another_version(&build::fixture("witness"), 3, fleet.folder.path());
    let component = component.to_str().expect("a path");
    fleet.done(&["swap", "witness", "--component", component, "--config", "{\"stamp\": 3}"]).await;
    let status = fleet.all_current(3).await;
    assert_eq!(status["document"]["revision"], 3);
    for name in ["a", "b", "c"] {
        fleet.until_stamp(name, 3).await;
    }
    fleet.done(&["rollback", "--revision", "3"]).await;
    for name in ["a", "b", "c"] {
        fleet.until_stamp(name, 2).await;
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in load {
        assert!(task.await.expect("no failed request") > 10);
    }

    // What cannot be right changes nothing, and a host alone changes nothing.
    let late = fleet.fails(&["swap", "witness", "--config", "{\"stamp\": 9}", "--revision", "3"]);
    assert!(late.await.contains("at revision 4, not 3"));
    let bad = fleet.fails(&["swap", "witness", "--config", "{\"stamp\": \"x\"}"]).await;
    assert!(bad.contains("stamp") && bad.contains("nothing was changed"), "{bad}");
    let data = fleet.path("a");
    let mut alone = Command::new(build::pillion());
    alone.args(["plugin", "swap", "witness", "--config", "{\"stamp\": 9}", "--service", "gateway"]);
    let alone = alone.arg("--data").arg(&data).output().expect("it runs");
    let said = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(!alone.status.success() && said.contains("--fleet"), "{said}");
    let status = fleet.all_current(3).await;
    assert_eq!(status["document"]["revision"], 4);

    // One that ends takes its report back; one that is killed and comes back has its own again.
    fleet.stop("c").await;
    let before = fleet.all_current(2).await;
    fleet.kill("b");
    fleet.start("b", "pillion.toml").await;
    let after = fleet.all_current(2).await;
    for known in before["hosts"].as_array().expect("a list") {
        let name = known["host"].as_str().expect("a name");
        assert_eq!(host(&after, name)["generation"], known["generation"]);
    }
    assert_eq!(fleet.node("b").stamp().await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_cannot_activate_stays_on_its_last_good_set_and_says_so() {
    let mut fleet = Fleet::on_a_file();
    // The second set wants an output that only the first host has.
    fleet.configure("with.toml", "[sinks.audit]\npath = \"audit.log\"\n");
    let text = std::fs::read_to_string(fleet.path("with.toml")).expect("a file");
    let audited = text.replace("stamp = 1 }", "stamp = 2 }\ngrants = [\"sink:audit\"]");
    std::fs::write(fleet.path("audited.toml"), audited).expect("a file");

    fleet.publish("pillion.toml").await;
    fleet.start("able", "with.toml").await;
    fleet.start("unable", "pillion.toml").await;
    fleet.all_current(2).await;
    fleet.publish("audited.toml").await;
    fleet.until_stamp("able", 2).await;
    fleet.until_state("unable", "failed").await;
    assert_eq!(fleet.node("unable").stamp().await, "1", "its last good set");
    let status: Value =
        serde_json::from_str(&fleet.done(&["status", "--json"]).await).expect("JSON");
    let hosts = status["hosts"].as_array().expect("a list");
    let failed: Vec<&Value> = hosts.iter().filter(|host| host["state"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{status}");
    assert_eq!((&failed[0]["revision"], &status["document"]["revision"]), (&json!(1), &json!(2)));
    assert!(failed[0]["error"].as_str().expect("a reason").contains("sink:audit"), "{status}");
    let table = fleet.done(&["status"]).await;
    assert!(table.contains("revision 2") && table.contains("sink:audit"), "{table}");
    assert!(fleet.fails(&["status", "--wait", "1"]).await.contains("1 of 2 hosts"));
    assert_eq!(fleet.log("unable").matches("cannot be activated here").count(), 1);

    // It comes back on its last good set too, and serves.
    fleet.kill("unable");
    fleet.start("unable", "pillion.toml").await;
    assert_eq!(fleet.node("unable").stamp().await, "1");
    fleet.until_state("unable", "failed").await;
    // One that has none serves nothing.
    let said = fleet.refused("new").await;
    assert!(said.contains("sink:audit") && said.contains("no earlier one"), "{said}");
    // A set that it can take ends it.
    fleet.done(&["rollback"]).await;
    fleet.all_current(2).await;
    assert_eq!(fleet.node("able").stamp().await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_starts_from_its_own_cache_when_the_source_is_away() {
    let mut fleet = Fleet::on_a_file();
    fleet.publish("pillion.toml").await;
    let component = another_version(&build::fixture("witness"), 5, fleet.folder.path());
    let component = component.to_str().expect("a path");
    fleet.done(&["swap", "witness", "--component", component, "--config", "{\"stamp\": 5}"]).await;
    fleet.start("a", "pillion.toml").await;
    fleet.all_current(1).await;

    // The file system that they share is gone.
    let (shared, elsewhere) = (fleet.path("shared"), fleet.path("elsewhere"));
    std::fs::rename(&shared, &elsewhere).expect("a folder of ours");
    fleet.until_state("a", "source-away").await;
    assert_eq!(fleet.node("a").stamp().await, "5");
    fleet.kill("a");
    fleet.start("a", "pillion.toml").await;
    assert_eq!(fleet.node("a").stamp().await, "5", "from its cache");
    fleet.until_state("a", "source-away").await;
    let said = fleet.refused("new").await;
    assert!(said.contains("cannot be read") && said.contains("fleet.json is missing"), "{said}");
    assert!(said.contains("nothing is served"), "{said}");

    // It is back, but for the component.
    std::fs::rename(&elsewhere, &shared).expect("a folder of ours");
    fleet.until_state("a", "current").await;
    let components = shared.join("components");
    std::fs::rename(&components, fleet.path("kept")).expect("a folder of ours");
    let digest = pillion_host::Digest::of(&std::fs::read(component).expect("a component"));
    let said = fleet.refused("new").await;
    assert!(said.contains(&digest.to_string()) && said.contains("`witness`"), "{said}");
    fleet.kill("a");
    fleet.start("a", "pillion.toml").await;
    assert_eq!(fleet.node("a").stamp().await, "5", "its cache has the component");
    // A damaged one is not taken.
    let damaged = components.join(format!("{}.wasm", digest.hex()));
    std::fs::create_dir(&components).expect("a folder");
    std::fs::write(&damaged, std::fs::read(build::fixture("witness")).expect("a component"))
        .expect("a file");
    assert!(fleet.refused("new").await.contains("is damaged"));
    std::fs::remove_dir_all(&components).expect("a folder of ours");
    std::fs::rename(fleet.path("kept"), &components).expect("a folder of ours");
    fleet.start("new", "pillion.toml").await;
    fleet.all_current(2).await;
    assert_eq!(fleet.node("new").stamp().await, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_may_be_in_nats() {
    let nats = Nats::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = Fleet { folder, source: nats.url(), hosts: Vec::new() };
    fleet.configure("pillion.toml", &format!("[broker]\nurl = {:?}\n", nats.url()));
    fleet.start("a", "pillion.toml").await;
    fleet.until_state("a", "configuration").await;
    fleet.publish("pillion.toml").await;
    fleet.start("b", "pillion.toml").await;
    fleet.all_current(2).await;
    // A component that goes by the object store only, of more than one of its chunks.
    let component = another_version(&build::fixture("witness"), 7, fleet.folder.path());
    let component = large(&component);
    let component = component.to_str().expect("a path");
    fleet.done(&["swap", "witness", "--component", component, "--config", "{\"stamp\": 7}"]).await;
    let status = fleet.all_current(2).await;
    assert_eq!(status["document"]["revision"], 2);
    fleet.until_stamp("a", 7).await;
    fleet.until_stamp("b", 7).await;
    // Of two who change the same revision one does.
    let [eight, nine] = [8, 9].map(|stamp| format!("{{\"stamp\": {stamp}}}"));
    let eight = ["swap", "witness", "--config", eight.as_str()];
    let nine = ["swap", "witness", "--config", nine.as_str()];
    let (eight, nine) = tokio::join!(fleet.plugin(&eight), fleet.plugin(&nine));
    let done = [&eight, &nine].iter().filter(|output| output.status.success()).count();
    let status = fleet.all_current(2).await;
    assert_eq!(status["document"]["revision"], 2 + done, "{eight:?} {nine:?}");
    assert!(done >= 1);
    let stamp = fleet.node("a").stamp().await;

    nats.stop().await;
    fleet.until_state("a", "source-away").await;
    fleet.kill("b");
    fleet.start("b", "pillion.toml").await;
    assert_eq!(fleet.node("b").stamp().await, stamp, "from its cache");
    // One that has nothing to start on waits for the server.
    tokio::join!(fleet.start("new", "pillion.toml"), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        nats.start_again().await;
    });
    let log = fleet.log("new");
    let waited = log.lines().find(|line| line.contains("the start waits for a server"));
    let authority = nats.url().replace("nats://", "");
    assert!(waited.is_some_and(|line| line.contains(&authority)), "{log}");
    fleet.all_current(3).await;
    fleet.until_stamp("new", stamp.parse().expect("a number")).await;
    fleet.stop("new").await;
    fleet.all_current(2).await;
}

/// The component with a custom section of 300 KiB more.
fn large(component: &Path) -> PathBuf {
    let mut bytes = std::fs::read(component).expect("a component");
    let filler = vec![7_u8; 300 << 10];
    let mut size = filler.len() + 2;
    bytes.push(0);
    // LEB128.
    while size >= 128 {
        bytes.push(u8::try_from(size % 128).expect("seven bits") | 128);
        size /= 128;
    }
    bytes.push(u8::try_from(size).expect("seven bits"));
    bytes.extend([1, b'x']);
    bytes.extend(filler);
    let path = component.with_extension("large.wasm");
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_keeps_failing_gives_way_on_that_host_which_says_so() {
    let mut fleet = Fleet::on_a_file();
    let witness = build::fixture("witness").display().to_string();
    let hostile = build::fixture("hostile").display().to_string();
    let text = std::fs::read_to_string(fleet.path("pillion.toml")).expect("a file");
    let text = text.replace(&witness, &hostile).replace(
        "config = { stamp = 1 }",
        "config = { do = \"trap\", when = \"never\" }\n\
         self_check = false\nfallback = \"previous\"\n\
         grants = [\"clock\", \"kv\", \"limiter\", \"metrics\", \"random\", \"sink:access\"]\n\
         [sinks.access]\npath = \"access.log\"",
    );
    std::fs::write(fleet.path("pillion.toml"), text).expect("a file");
    fleet.publish("pillion.toml").await;
    fleet.start("a", "pillion.toml").await;
    fleet.all_current(1).await;
    let trap = "{\"do\": \"trap\"}";
    fleet.done(&["swap", "witness", "--config", trap]).await;
    fleet.all_current(1).await;
    let client = fleet.node("a").client.clone();
    // One of its first requests fails, and so does the self-check that follows.
    let load = tokio::spawn(async move {
        loop {
            client.get("/").header("x-hostile", "now").send().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    fleet.until_state("a", "fell-back").await;
    load.abort();
    let now = async |fleet: &Fleet| {
        let answer = fleet.node("a").client.get("/").header("x-hostile", "now").send().await;
        answer.status.as_u16()
    };
    assert_eq!(now(&fleet).await, 200, "the version before");
    let table = fleet.done(&["status"]).await;
    assert!(table.contains("fell-back") && table.contains("kept failing"), "{table}");
    // Also after a restart, until there is a new revision.
    fleet.kill("a");
    fleet.start("a", "pillion.toml").await;
    assert_eq!(now(&fleet).await, 200, "still the version before");
    fleet.until_state("a", "fell-back").await;
    fleet.done(&["swap", "witness", "--config", "{\"do\": \"trap\", \"when\": \"later\"}"]).await;
    let status = fleet.all_current(1).await;
    assert_eq!(status["hosts"][0]["revision"], 3);
}
