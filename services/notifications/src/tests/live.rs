//! Live streams over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Extension;
use pillion_chassis::testing::BACKENDS;
use pillion_chassis::{Service, Shutdown};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::harness::{Harness, caller, serve};
use crate::Config;

const ANN: u64 = 11;
const BOB: u64 = 12;
/// Longer than any of this takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// No test waits for a heartbeat of this.
const RARELY: Duration = Duration::from_hours(1);

/// Serves the routes on a port; every caller is Ann.
async fn listen(service: &Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = service.router.clone().layer(Extension(caller(Some(ANN))));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A client that reads what comes.
struct Client {
    socket: TcpStream,
    text: String,
}

impl Client {
    async fn open(address: SocketAddr, last_event_id: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let resume = last_event_id.map_or(String::new(), |id| format!("last-event-id: {id}\r\n"));
        let request =
            format!("GET /pillion/v1/notifications/stream HTTP/1.1\r\nhost: a\r\n{resume}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut client = Self { socket, text: String::new() };
        client.wait(|text| text.contains("\r\n\r\n")).await;
        client
    }

    /// Opens a stream and waits until it is live.
    async fn live(address: SocketAddr, last_event_id: Option<&str>) -> Self {
        let mut client = Self::open(address, last_event_id).await;
        assert_eq!(client.status(), "200", "{}", client.text);
        assert!(client.text.contains("content-type: text/event-stream"), "{}", client.text);
        client.wait(|text| text.contains("retry: 1000")).await;
        client
    }

    fn status(&self) -> &str {
        self.text.split(' ').nth(1).unwrap()
    }

    async fn wait(&mut self, enough: impl Fn(&str) -> bool) {
        let mut bytes = [0; 4_096];
        while !enough(&self.text) {
            let read = timeout(PATIENCE, self.socket.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("nothing comes: {}", self.text)).unwrap();
            assert!(read > 0, "it ended: {}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    /// Reads until the server ends the stream in an orderly way.
    async fn end(mut self) {
        self.wait(|text| text.ends_with("0\r\n\r\n")).await;
    }

    /// Waits for so many notifications in all; their ids.
    async fn ids(&mut self, count: usize) -> Vec<String> {
        self.wait(|text| text.matches("data: {").count() >= count).await;
        let lines = |prefix: &'static str| {
            self.text.lines().filter_map(move |line| line.strip_prefix(prefix))
        };
        let ids: Vec<String> = lines("id: ").map(str::to_owned).collect();
        for (id, data) in ids.iter().zip(lines("data: ")) {
            let item: Value = serde_json::from_str(data).unwrap();
            assert_eq!(item["id"], id.as_str());
        }
        assert_eq!(lines("event: ").count(), ids.len());
        ids
    }
}

fn config() -> Config {
    Config { heartbeat_interval: RARELY, ..Config::default() }
}

/// A service of its own on the harness's database, and the harness fed through it.
async fn start(h: &mut Harness, config: Config) -> (Service, SocketAddr) {
    let service = serve(&h.test.database, &h.clock, config).await;
    h.journal = service.journal.clone().unwrap();
    h.router = service.router.clone();
    let address = listen(&service).await;
    (service, address)
}

#[tokio::test]
async fn what_happens_is_told_at_once_and_a_stream_goes_on_where_it_broke() {
    for mut h in Harness::on_both().await {
        let (_service, address) = start(&mut h, config()).await;
        h.like(BOB, (1, ANN)).await;
        let mut first = Client::live(address, None).await;
        h.like(13, (1, ANN)).await;
        h.like(14, (2, BOB)).await;
        h.mention(3, BOB, &[ANN]).await;
        let told = first.ids(2).await;
        let inbox = h.get(ANN, "").await.id_texts();
        assert_eq!(told, [inbox[1].clone(), inbox[0].clone()], "none from before it was opened");
        drop(first);
        // More than is read at once, while nobody listens.
        for n in 0..120 {
            h.like(100 + n, (1, ANN)).await;
        }
        let mut second = Client::live(address, Some(&told[1])).await;
        second.ids(120).await;
        h.follow(BOB, ANN).await;
        let mut all = second.ids(121).await;
        all.reverse();
        let mut inbox = h.get(ANN, "?max_results=100").await;
        let mut ids = inbox.id_texts();
        while ids.len() < all.len() {
            let next = inbox.token("next_token").unwrap();
            inbox = h.get(ANN, &format!("?max_results=100&pagination_token={next}")).await;
            ids.extend(inbox.id_texts());
        }
        assert_eq!(all, ids[..121], "each once, in order, without a gap");
        // From one that was withdrawn meanwhile it goes on as well.
        h.unlike(219, (1, ANN)).await;
        assert_eq!(Client::live(address, Some(&all[1])).await.ids(1).await, all[..1]);
    }
}

#[tokio::test]
async fn what_is_done_again_and_again_is_told_once() {
    for mut h in Harness::on_both().await {
        let (_service, address) = start(&mut h, config()).await;
        let mut client = Client::live(address, None).await;
        for _ in 0..3 {
            h.like(BOB, (1, ANN)).await;
            h.unlike(BOB, (1, ANN)).await;
        }
        h.like(BOB, (1, ANN)).await;
        let asked = h.ask(13, ANN).await;
        let inbox = h.get(ANN, "").await.id_texts();
        assert_eq!(client.ids(2).await, [inbox[1].clone(), inbox[0].clone()]);
        // Asked again is asked again.
        h.withdraw(asked, 13, ANN).await;
        h.ask(13, ANN).await;
        assert_eq!(client.ids(3).await[2], h.get(ANN, "").await.id_texts()[0]);
    }
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_there_and_finds_what_another_process_took_up() {
    for mut h in Harness::on_both().await {
        let heartbeat_interval = Duration::from_millis(50);
        let (_other, _) = start(&mut h, config()).await;
        let mine = serve(&h.test.database, &h.clock, Config { heartbeat_interval, ..config() });
        let address = listen(&mine.await).await;
        let mut client = Client::live(address, None).await;
        client.wait(|text| text.matches(": heartbeat").count() >= 2).await;
        h.like(BOB, (1, ANN)).await;
        assert_eq!(client.ids(1).await, h.get(ANN, "").await.id_texts());
        h.delete_user(ANN).await;
        client.end().await;
    }
    assert!(Config::default().heartbeat_interval <= Duration::from_secs(20));
}

#[tokio::test]
async fn streams_end_at_the_shutdown_and_after_their_time() {
    for mut h in Harness::on_both().await {
        let (mut service, address) = start(&mut h, config()).await;
        let (trigger, shutdown) = Shutdown::new();
        for worker in service.workers.drain(..) {
            tokio::spawn(worker.run(shutdown.clone()));
        }
        let client = Client::live(address, None).await;
        trigger.request();
        client.end().await;
        let late = Client::open(address, None).await;
        assert_eq!(late.status(), "503");

        let stream_time_max = Duration::from_millis(100);
        let (_service, address) = start(&mut h, Config { stream_time_max, ..config() }).await;
        Client::live(address, None).await.end().await;
    }
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_come_free() {
    let mut h = Harness::start(BACKENDS[0]).await;
    let config = Config {
        heartbeat_interval: Duration::from_millis(20),
        streams_per_user_max: 2,
        ..Config::default()
    };
    let (_service, address) = start(&mut h, config).await;
    let first = Client::live(address, None).await;
    let _second = Client::live(address, None).await;
    let mut third = Client::open(address, None).await;
    assert_eq!(third.status(), "429");
    third.wait(|text| text.contains("TooManyConnections")).await;
    drop(first);
    let free = async {
        while Client::open(address, None).await.status() != "200" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, free).await.unwrap();
}

/// A browser never reconnects after an error, so whatever it sends is answered by a stream.
#[tokio::test]
async fn d04_a_last_event_id_that_cannot_be_resumed_from_begins_at_the_newest() {
    for mut h in Harness::on_both().await {
        let (_service, address) = start(&mut h, config()).await;
        h.like(BOB, (1, ANN)).await;
        let newest = h.get(ANN, "").await.id_texts()[0].clone();
        let beyond = (newest.parse::<i64>().unwrap() + 1).to_string();
        let unusable = [
            beyond.as_str(),
            "9223372036854775807",
            "18446744073709551616",
            "x",
            "-1",
            "1.5",
            " 1 x",
        ];
        for id in unusable {
            let mut client = Client::live(address, Some(id)).await;
            assert_eq!(client.status(), "200", "{id}");
            // From now on the client has an id that it can resume from.
            client.wait(|text| text.contains(&format!("id: {newest}\n"))).await;
        }
        let mut client = Client::live(address, Some(&beyond)).await;
        h.like(BOB, (2, ANN)).await;
        let next = h.get(ANN, "").await.id_texts()[0].clone();
        client.wait(|text| text.contains("data: {")).await;
        assert!(client.text.contains(&format!("id: {next}\n")), "{}", client.text);
        assert!(!client.text.contains(&format!("\"{newest}\"")), "nothing comes again");
        // An empty one is none; nought is all.
        Client::live(address, Some("")).await;
        assert_eq!(Client::live(address, Some("0")).await.ids(2).await, [newest, next]);
    }
}
