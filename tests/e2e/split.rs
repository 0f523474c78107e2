//! Every service a process of its own, on the same machine: the gateway reaches them over HTTP,
//! and what callers see is the same; in `certificates` they show each other who they are.

mod certificates;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pillion_test_servers::port;
use pillion_tests::build;
use pillion_tests::client::Client;
use pillion_tests::system::System;
use serde_json::{Value, json};

const SERVICES: [&str; 9] = [
    "gateway",
    "identity",
    "users",
    "tweets",
    "graph",
    "engagements",
    "timelines",
    "search",
    "notifications",
];

/// Each starts on its own, in any order; on a busy machine that takes a while.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// What one service recorded, another has taken up within this.
const EVEN_DEADLINE: Duration = Duration::from_secs(30);

/// Services in processes of their own, killed when dropped.
struct Split {
    system: System,
    children: Vec<(&'static str, Child)>,
    ports: Vec<u16>,
    /// Where each answers probes without TLS, when it is not where it answers the others.
    probes: Option<Vec<u16>>,
    client: Client,
}

/// How the services speak to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Tls,
}

impl Split {
    async fn start(form: Form) -> Self {
        let ports: Vec<u16> = SERVICES.iter().map(|_| port::free()).collect();
        let probes: Option<Vec<u16>> =
            (form == Form::Tls).then(|| SERVICES.iter().map(|_| port::free()).collect());
        let system = System::new(
            |config| {
                let mut config = config.replace(
                    "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
                    "plugins = [\"logging\", \"auth\"]",
                );
                for (index, port) in ports.iter().enumerate() {
                    let listen = |port: u16| format!("\nlisten = \"127.0.0.1:{port}\"\n");
                    // Those of [server] are none of theirs.
                    let default = match index {
                        0 => 8080,
                        index => 8081 + u16::try_from(index).expect("nine services"),
                    };
                    let section = config.find("[services.gateway]").expect("services");
                    let (head, tail) = config.split_at(section);
                    config = format!("{head}{}", tail.replace(&listen(default), &listen(*port)));
                }
                if form == Form::Tls { certificates::named(&config) } else { config }
            },
            Vec::new(),
        );
        if form == Form::Tls {
            certificates::make(system.folder());
        }
        let client = Client::new(format!("http://127.0.0.1:{}", ports[0]));
        let mut split = Self { system, children: Vec::new(), ports, probes, client };
        for service in SERVICES {
            split.serve(service);
        }
        let began = Instant::now();
        for port in split.probes.as_ref().unwrap_or(&split.ports).clone() {
            let probe = Client::new(format!("http://127.0.0.1:{port}"));
            loop {
                match probe.get("/readyz").try_send().await {
                    Ok(answer) if answer.status.as_u16() == 200 => break,
                    _ => assert!(began.elapsed() < READY_DEADLINE, "{port} is not ready"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        split
    }

    fn serve(&mut self, service: &'static str) {
        let mut command: Command = self.system.pillion(&["serve", service]);
        let log = self.system.folder().join(format!("{service}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        if let Some(probes) = &self.probes {
            command.arg("--probe-listen").arg(format!("127.0.0.1:{}", probes[place(service)]));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children.push((service, command.spawn().expect("the program starts")));
    }

    fn kill(&mut self, service: &str) {
        let place = self.children.iter().position(|(name, _)| *name == service).expect("it runs");
        let (_, mut child) = self.children.remove(place);
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
    }

    /// Registers an account and logs it in: its id and a token.
    async fn register(&self, username: &str) -> (String, String) {
        let password = "correct horse battery";
        let began = Instant::now();
        let account = json!({ "username": username, "name": username, "password": password });
        // Nine processes that have just begun may not be through with it in one request's time: the
        // same request again waits for the same registration.
        let made = loop {
            let answer = self.client.post("/pillion/v1/accounts").json(&account).send().await;
            if answer.status.as_u16() != 503 || began.elapsed() > EVEN_DEADLINE {
                break answer.expect(201);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
        let login = json!({ "username": username, "password": password });
        let answer = self.client.post("/pillion/v1/login").json(&login).send().await.expect(200);
        (id, answer.json()["access_token"].as_str().expect("a token").to_owned())
    }

    /// The answer, once it has this many items.
    async fn until(&self, path: &str, token: &str, items: usize) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.client.get(path).bearer(token).send().await.expect(200).json();
            if answer["data"].as_array().map_or(0, Vec::len) == items {
                return answer;
            }
            assert!(began.elapsed() < EVEN_DEADLINE, "{answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        for (service, child) in &mut self.children {
            // It may have ended by itself, which the test has then found out otherwise.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = self.system.folder().join(format!("{service}.log"));
                eprintln!("--- {service}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
            }
        }
    }
}

fn place(service: &str) -> usize {
    SERVICES.iter().position(|name| *name == service).expect("a service")
}

#[tokio::test]
async fn the_gateway_reaches_services_over_http_and_survives_their_deaths() {
    assert!(build::pillion().exists());
    let split = Split::start(Form::Plain).await;
    let split = carries_everything_and_survives_a_death(split).await;
    i14_services_answer_services_only(&split).await;
    i04_a_token_is_revoked_in_every_process(&split).await;
}

/// What services tell each other is not what a user may see, so a user's token alone opens no port
/// but the gateway's.
async fn i14_services_answer_services_only(split: &Split) {
    let (id, token) = split.register("spy").await;
    for (service, path) in [
        ("tweets", "/internal/tweets?ids=1".to_owned()),
        ("tweets", format!("/2/users/{id}/tweets")),
        ("graph", format!("/internal/relation?user={id}")),
        ("users", "/2/users/me".to_owned()),
        ("identity", "/internal/revocations".to_owned()),
    ] {
        let client = Client::new(format!("http://127.0.0.1:{}", split.ports[place(service)]));
        for forged in ["", "Bearer ", &format!("Bearer {token}")] {
            let call = client.get(&path).bearer(&token);
            let answer = call.header("pillion-service-authorization", forged).send().await;
            let text = answer.expect(401).text();
            assert!(text.contains("Only services call this address"), "{service} {path}: {text}");
        }
        client.get("/healthz").send().await.expect(200);
    }
}

async fn i04_a_token_is_revoked_in_every_process(split: &Split) {
    let (_, token) = split.register("leaver").await;
    split.client.get("/2/users/me").bearer(&token).send().await.expect(200);
    let form = format!("token={token}&client_id=pillion");
    let revoke = split.client.post("/2/oauth2/revoke");
    revoke.text("application/x-www-form-urlencoded", &form).send().await.expect(200);
    let began = Instant::now();
    loop {
        let answer = split.client.get("/2/users/me").bearer(&token).send().await;
        if answer.status.as_u16() == 401 {
            let text = answer.text();
            assert!(text.contains("The access token was revoked."), "{text}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it is still accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Calls, events and streams go between all services; one that is gone is told.
async fn carries_everything_and_survives_a_death(mut split: Split) -> Split {
    let (anna, annas) = split.register("anna").await;
    let (rita, ritas) = split.register("rita").await;
    let target = json!({ "target_user_id": anna });
    let followed = format!("/2/users/{rita}/following");
    split.client.post(&followed).bearer(&ritas).json(&target).send().await.expect(200);
    let body = json!({ "text": "from afar #split" });
    let posted = split.client.post("/2/tweets").bearer(&annas).json(&body).send().await.expect(201);
    let id = posted.json()["data"]["id"].as_str().expect("an id").to_owned();

    let home = format!(
        "/2/users/{rita}/timelines/reverse_chronological?expansions=author_id\
         &tweet.fields=public_metrics&user.fields=public_metrics"
    );
    let page = split.until(&home, &ritas, 1).await;
    assert_eq!(page["data"][0]["id"], json!(id));
    assert_eq!(page["includes"]["users"][0]["username"], "anna");
    assert_eq!(page["includes"]["users"][0]["public_metrics"]["followers_count"], 1);
    let like = json!({ "tweet_id": id });
    let likes = format!("/2/users/{rita}/likes");
    split.client.post(&likes).bearer(&ritas).json(&like).send().await.expect(200);
    split.until("/2/tweets/search/recent?query=%23split%20from:anna", &ritas, 1).await;
    split.until("/pillion/v1/notifications?types=like,follow", &annas, 2).await;

    // A service that is gone is told, and nothing else is.
    split.kill("timelines");
    let answer = split.client.get(&home).bearer(&ritas).send().await.expect(503);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(answer.text().contains("timelines"), "{}", answer.text());
    assert!(!answer.header("retry-after").is_empty());
    let body = json!({ "text": "while you were away" });
    split.client.post("/2/tweets").bearer(&annas).json(&body).send().await.expect(201);
    split.serve("timelines");
    let began = Instant::now();
    loop {
        let answer = split.client.get(&home).bearer(&ritas).send().await;
        let items = answer.json()["data"].as_array().map_or(0, Vec::len);
        if answer.status.as_u16() == 200 && items == 2 {
            break;
        }
        assert!(began.elapsed() < EVEN_DEADLINE, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    split
}
