//! P2: what cannot be activated is refused while requests flow, and none of them notices.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pillion_host::Digest;
use pillion_tests::build;
use pillion_tests::system::System;
use serde_json::{Value, json};

use crate::under_load::with_witness;

const CONNECTIONS: usize = 4;

/// Calls of one function to itself: small to send, and more than a compiler may take.
const BOMB_CALLS: usize = 1_500_000;

/// Unsigned LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// A component that takes a compiler very long, or very much memory.
fn compile_bomb() -> Vec<u8> {
    let body = [vec![0], [0x10, 0].repeat(BOMB_CALLS), vec![0x0b]].concat();
    let code = [vec![1], leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        section(10, &code),
    ]
    .concat();
    // It must look like a plugin, or it is refused before it is compiled: it exports nothing, so
    // it is refused at the latest after.
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

/// Swaps that must be refused, each with a part of the reason.
fn bad(folder: &Path) -> Vec<(String, Value, &'static str)> {
    let good = std::fs::read(build::fixture("witness")).expect("a component");
    let digest = Digest::of(&good).to_string();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let mut all = Vec::new();
    let mut add = |name: &str, body: Value, reason| all.push((name.to_owned(), body, reason));
    for part in 1..8 {
        let path = write(&format!("truncated-{part}"), &good[..good.len() * part / 8]);
        add("truncated", json!({ "component": path }), "plugin `witness`");
    }
    for part in 0..16 {
        let mut flipped = good.clone();
        let place = good.len() * part / 16 + 11;
        flipped[place] ^= 1 << (part % 8);
        let path = write(&format!("flipped-{part}"), &flipped);
        add("flipped", json!({ "component": path, "digest": digest }), "digest differs");
    }
    for (name, bytes, reason) in [
        ("empty", Vec::new(), "empty"),
        ("script", b"#!/bin/sh".to_vec(), "not WebAssembly"),
        ("native", b"\x7fELF and so on".to_vec(), "native"),
        ("core-module", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        ("nothing", b"\0asm\x0d\0\x01\0".to_vec(), "no plugin"),
        ("too-large", vec![0; (8 << 20) + 1], "component_bytes"),
        ("bomb", compile_bomb(), "compile"),
    ] {
        add(name, json!({ "component": write(name, &bytes) }), reason);
    }
    add("missing", json!({ "component": folder.join("missing.wasm") }), "missing.wasm");
    add("folder", json!({ "component": folder }), "no file");
    add("grants", json!({ "component": build::plugin("ratelimit") }), "grant");
    add("configuration", json!({ "config": { "stamp": "many" } }), "stamp");
    let broken = json!({ "component": build::fixture("hostile"), "config": { "do": "trap" } });
    add("imports", broken, "needs the grant");
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_bad_artifacts_never_touch_traffic() {
    let system = System::start_with(with_witness);
    let bearer = system.demo("bearer_token");
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (client, bearer) = (system.client.clone(), bearer.clone());
            let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/2/users/me").bearer(&bearer).send().await.expect(200);
                    let witness = answer.header("x-witness");
                    assert!(witness.starts_with("0/"), "another version answers: {witness}");
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let (admin, token) = (system.admin(), system.admin_token());
    let cases = bad(system.folder());
    let count = cases.len();
    for (name, body, reason) in cases {
        let before = requests.load(Ordering::Relaxed);
        let call = admin.post("/admin/v1/plugins/witness/swap").bearer(&token).json(&body);
        let answer = call.send().await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert!(answer.text().contains(reason), "{name}: {}", answer.text());
        // Each of them meets traffic.
        while requests.load(Ordering::Relaxed) < before + 10 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.expect("no request notices");
    }
    let get = async |path: &str| admin.get(path).bearer(&token).send().await.expect(200).json();
    let generations = get("/admin/v1/generations").await;
    assert_eq!(generations["data"].as_array().map(Vec::len), Some(1), "{generations}");
    let attempts = get("/admin/v1/generations/attempts").await;
    let refused = attempts["data"].as_array().expect("a list").iter();
    assert_eq!(refused.filter(|it| it["outcome"] == "refused").count(), count, "{attempts}");
    println!("{count} bad artifacts during {} requests", requests.load(Ordering::Relaxed));
}
