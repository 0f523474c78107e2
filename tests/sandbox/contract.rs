//! What a component may do and say by the contract, seen from a socket.

use std::time::{Duration, Instant};

use pillion_host::PluginSpec;
use pillion_tests::rig::{Rig, host, plugin, single};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::guest::{Guest, write};

fn loaded(guest: Guest, grants: &[&str]) -> (tempfile::TempDir, PluginSpec) {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = plugin(guest.write(&folder), Value::Null, grants);
    (folder, spec)
}

fn refused(guest: Guest) -> String {
    let (folder, spec) = loaded(guest, &[]);
    host(&folder).start(single(spec)).expect_err("it must not load").to_string()
}

/// Why hooks failed, as metrics count it.
fn failed(rig: &Rig, reason: &str) -> u64 {
    rig.metric(&format!(
        "pillion_plugin_failures_total{{plugin=\"mine\",phase=\"request\",reason=\"{reason}\"}}"
    ))
}

/// Everything that comes back for these bytes until the server closes.
async fn exchange(rig: &Rig, request: &str) -> String {
    let address = rig.client.base().strip_prefix("http://").expect("an address");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    socket.write_all(request.as_bytes()).await.expect("it takes the request");
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&answer).to_lowercase()
}

/// A client takes the bytes of a body that must not be there for the next response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h04_a_status_without_a_body_sends_none() {
    for status in [204, 205, 304] {
        let guest = Guest {
            on_request: format!("(call $respond (i32.const {status}))"),
            ..Guest::default()
        };
        let (_folder, spec) = loaded(guest, &[]);
        let rig = Rig::start(single(spec)).await;
        let both = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n\
                    GET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = exchange(&rig, both).await;
        assert_eq!(answer.matches(&format!("http/1.1 {status}")).count(), 2, "{answer}");
        assert!(!answer.contains("the guest"), "{answer}");
        let length = answer.contains("content-length");
        assert!(
            if status == 205 { answer.contains("content-length: 0") } else { !length },
            "{answer}"
        );
        assert_eq!(failed(&rig, "decision"), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h04_an_answer_to_head_has_a_length_and_no_body() {
    let guest =
        Guest { on_request: "(call $respond (i32.const 200))".to_owned(), ..Guest::default() };
    let (_folder, spec) = loaded(guest, &[]);
    let rig = Rig::start(single(spec)).await;
    let head = "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(&rig, head).await;
    assert!(answer.contains("content-length: 10") && !answer.contains("the guest"), "{answer}");
}

/// With a comparison of 900 KB with every known name each call took 170 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h07_a_long_name_costs_no_more_than_reading_it() {
    let guest = Guest {
        imports:
            r#"(import "pillion:plugin/current@0.1.0" "field" (func $field (param i32 i32 i32)))"#
                .to_owned(),
        pages: 16,
        on_request: "(local.set $n (i32.const 100))
            (loop $again
              (call $field (i32.const 65536) (i32.const 900000) (i32.const 16))
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $again (local.get $n)))
            (if (result i32) (i32.load8_u (i32.const 16))
              (then (unreachable)) (else (call $continue)))"
            .to_owned(),
        ..Guest::default()
    };
    let (_folder, mut spec) = loaded(guest, &[]);
    spec.limits.deadline_ms = 60_000;
    let rig = Rig::start(single(spec)).await;
    let began = Instant::now();
    rig.client.get("/").send().await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// As tools do that generate bindings for a whole world.
fn imports_everything(on_request: &str) -> Guest {
    let import = |interface: &str, name: &str, params: &str| {
        format!(
            r#"(import "pillion:plugin/{interface}@0.1.0" "{name}" (func ${interface} {params}))"#
        )
    };
    let imports = [
        import("sink", "write", "(param i32 i32 i32 i32 i32)"),
        import("kv", "get", "(param i32 i32 i32)"),
        import("limiter", "window", "(param i32 i32 i32 i32 i32)"),
        import("metrics", "counter", "(param i32 i32 i32 i32 i64)"),
        import("clock", "now", "(result i64)"),
        import("random", "bytes", "(param i32 i32)"),
        import("crypto", "verify", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)"),
    ];
    Guest { imports: imports.concat(), on_request: on_request.to_owned(), ..Guest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_an_import_needs_a_grant_only_where_it_is_called() {
    let (_folder, spec) = loaded(imports_everything("(call $continue)"), &[]);
    let rig = Rig::start(single(spec)).await;
    rig.client.get("/").send().await.expect(200);

    let call = "(drop (call $clock)) (call $continue)";
    let (_folder, spec) = loaded(imports_everything(call), &[]);
    let rig = Rig::start(single(spec)).await;
    rig.client.get("/").send().await.expect(503);
    assert_eq!(failed(&rig, "trap"), 1);
    let (_folder, spec) = loaded(imports_everything(call), &["clock"]);
    let rig = Rig::start(single(spec)).await;
    rig.client.get("/").send().await.expect(200);
}

#[test]
fn h11_what_the_descriptor_needs_is_needed() {
    let mut guest = imports_everything("(call $continue)");
    guest.grants = vec!["kv".to_owned()];
    let said = refused(guest);
    assert!(said.contains("needs the grant \"kv\""), "{said}");
}

#[test]
fn h14_a_descriptor_is_limited() {
    for (guest, says) in [
        (Guest { description: "d".repeat(2_000), ..Guest::default() }, "its description has 2000"),
        (Guest { schema: format!("\"{}\"", "s".repeat(70_000)), ..Guest::default() }, "schema has"),
        (Guest { version: "1.2.3-".to_owned(), ..Guest::default() }, "`1.2.3-` is not semantic"),
        (Guest { version: "9".repeat(900_000), ..Guest::default() }, "more bytes"),
        (Guest { grants: vec!["x".to_owned(); 100], ..Guest::default() }, "100 grants"),
    ] {
        let said = refused(guest);
        assert!(said.contains(says) && said.len() < 1_000, "{said}");
    }
}

#[test]
fn h14_configuration_errors_are_cut_and_counted() {
    let one =
        |reason: String| Guest { problems: vec![("key".to_owned(), reason)], ..Guest::default() };
    let said = refused(one("x".repeat(500_000)));
    assert!(said.contains("(499744 more bytes)") && said.len() < 1_000, "{}", said.len());
    let many = Guest {
        problems: vec![("k\u{1b}[2J".to_owned(), "line\nERROR forged".to_owned()); 200],
        ..Guest::default()
    };
    let said = refused(many);
    assert!(said.contains("and 184 more") && said.len() < 2_000, "{said}");
    assert!(!said.contains(['\n', '\u{1b}']), "{said:?}");
    assert!(said.contains("`k\\u{1b}[2J`: line\\nERROR forged"), "{said}");
}

/// What an operator denies is not there under `wasi`'s names either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h17_grants_hold_for_wasi_too() {
    let random = || Guest {
        wasi: vec!["wasi:random/random@0.2.6"],
        imports:
            r#"(import "wasi:random/random@0.2.6" "get-random-u64" (func $random (result i64)))"#
                .to_owned(),
        on_request: "(drop (call $random)) (call $continue)".to_owned(),
        ..Guest::default()
    };
    for (grants, status) in [(&[][..], 503), (&["random"][..], 200)] {
        let (_folder, spec) = loaded(random(), grants);
        let rig = Rig::start(single(spec)).await;
        rig.client.get("/").send().await.expect(status);
    }
    // 200 when a millisecond of work moves the clock, 204 when time stands still.
    let clock = || Guest {
        wasi: vec!["wasi:clocks/monotonic-clock@0.2.6"],
        imports: r#"(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))"#
            .to_owned(),
        items: "(global $first (mut i64) (i64.const 0))".to_owned(),
        on_request: "(global.set $first (call $now))
            (local.set $n (i32.const 2000000))
            (loop $again
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $again (local.get $n)))
            (if (result i32) (i64.eq (call $now) (global.get $first))
              (then (call $respond (i32.const 204))) (else (call $respond (i32.const 200))))"
            .to_owned(),
        ..Guest::default()
    };
    for (grants, status) in [(&[][..], 204), (&["clock"][..], 200)] {
        let (_folder, mut spec) = loaded(clock(), grants);
        spec.limits.deadline_ms = 5_000;
        let rig = Rig::start(single(spec)).await;
        rig.client.get("/").send().await.expect(status);
    }
}

/// A caller chooses its id, and keys hold it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h22_a_long_key_is_limited_like_any_other() {
    let mut guest = Guest {
        imports: r#"(import "pillion:plugin/limiter@0.1.0" "window"
            (func $window (param i32 i32 i32 i32 i32)))"#
            .to_owned(),
        ..Guest::default()
    };
    let (key, length) = guest.constant(&[b'k'; 700]);
    let (verdict, _) = guest.constant(&[0; 64]);
    // The result is `ok` and the verdict `allowed`, or not.
    guest.on_request = format!(
        "(call $window (i32.const {key}) (i32.const {length}) (i32.const 2) (i32.const 60000)
           (i32.const {verdict}))
         (if (i32.load8_u (i32.const {verdict})) (then (unreachable)))
         (if (result i32) (i32.load8_u offset=8 (i32.const {verdict}))
           (then (call $continue)) (else (call $respond (i32.const 429))))"
    );
    let (_folder, spec) = loaded(guest, &["limiter"]);
    let rig = Rig::start(single(spec)).await;
    for status in [200, 200, 429] {
        rig.client.get("/").send().await.expect(status);
    }
}

/// A component that is written to the folder of a rig stays what it is when it is read again.
#[test]
fn h03_what_inspect_reports_is_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = Guest {
        description: "Nice.\r\n\u{1b}[31mERROR forged \u{202e}".to_owned(),
        schema: r#"{"properties":{"a\u001b[2J":{"description":"b\u009b31m \u202e\nnext"}}}"#
            .to_owned(),
        ..Guest::default()
    };
    let report = host(&folder).inspect(&write(&folder, &guest.component())).expect("a plugin");
    let description = &report.description;
    assert_eq!(description.description, "Nice.\\r\\n\\u{1b}[31mERROR forged \\u{202e}");
    let schema = description.config_schema.to_string();
    assert!(!schema.contains(['\u{9b}', '\u{202e}', '\u{1b}']), "{schema}");
    assert!(schema.contains("next"), "{schema}");
}
