//! What must never be loaded, and what the operator is told.

use std::path::PathBuf;

use pillion_host::{ActivateError, PluginSpec, SwapRequest};
use pillion_tests::build;
use pillion_tests::rig::{Rig, host, plugin, single};
use serde_json::json;

use crate::at_run::patient;

/// Tries to start with this plugin; the error's text.
fn refused(spec: PluginSpec) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let error = host(&folder).start(single(spec)).expect_err("it must not load");
    error.to_string()
}

fn wat_component(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("made.wasm");
    std::fs::write(&path, wat::parse_str(text).expect("WAT")).expect("a file");
    path
}

fn hostile(config: serde_json::Value, grants: &[&str]) -> PluginSpec {
    plugin(build::fixture("hostile"), config, grants)
}

const ALL: [&str; 6] = ["clock", "kv", "limiter", "metrics", "random", "sink:access"];

#[test]
fn grants_that_the_descriptor_needs() {
    let said = refused(hostile(json!({ "do": "trap" }), &[]));
    assert!(said.contains("needs the grant \"clock\"") && said.contains("add it"), "{said}");
    let said =
        refused(hostile(json!({ "do": "trap" }), &["clock", "kv", "limiter", "metrics", "random"]));
    assert!(said.contains("sink"), "{said}");
}

#[test]
fn imports_that_no_plugin_gets() {
    let folder = tempfile::tempdir().expect("a folder");
    for import in [
        "wasi:filesystem/types@0.2.6",
        "wasi:sockets/tcp@0.2.6",
        "wasi:http/outgoing-handler@0.2.6",
        "somebody:elses/thing@1.0.0",
    ] {
        let text = format!(
            "(component (import \"{import}\" (instance)) (instance $i) \
             (export \"pillion:plugin/lifecycle@0.1.0\" (instance $i)))"
        );
        let said = refused(PluginSpec::new(wat_component(&folder, &text)));
        assert!(said.contains(import) && said.contains("never"), "{said}");
    }
}

#[test]
fn wrong_worlds() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, expected) in [
        ("(component)", "no plugin"),
        ("(module)", "core module"),
        (
            "(component (instance $i) (export \"pillion:plugin/lifecycle@0.2.0\" (instance $i)))",
            "another version",
        ),
        (
            "(component (instance $i) (export \"pillion:plugin/lifecycle@0.1.0\" (instance $i)))",
            "world",
        ),
    ] {
        let said = refused(PluginSpec::new(wat_component(&folder, text)));
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn features_that_plugins_do_not_need() {
    let folder = tempfile::tempdir().expect("a folder");
    for core in [
        "(module (memory i64 1))",
        "(module (memory 1 1 shared))",
        "(module (type (struct)) (func (param (ref null 0))))",
        "(module (tag))",
    ] {
        let text = format!("(component (core {})", &core[1..]);
        let said = refused(PluginSpec::new(wat_component(&folder, &text)));
        assert!(said.contains("compile"), "{core}: {said}");
    }
}

#[test]
fn damaged_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.wasm");
    let good = std::fs::read(build::plugin("auth")).expect("a component");
    for (bytes, expected) in [
        (good[..good.len() - 100].to_vec(), "compile"),
        (good[..6].to_vec(), "truncated"),
        (Vec::new(), "empty"),
        (b"#!/bin/sh".to_vec(), "not WebAssembly"),
        (b"\x7fELF-and-so-on".to_vec(), "native"),
    ] {
        std::fs::write(&path, bytes).expect("a file");
        let said = refused(PluginSpec::new(&path));
        assert!(said.contains(expected), "{said}");
    }
    // A flipped bit may leave a component that still compiles: the digest says so.
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&path, &flipped).expect("a file");
    let mut spec = PluginSpec::new(&path);
    spec.digest = Some(pillion_host::Digest::of(&good));
    let said = refused(spec);
    assert!(said.contains("digest differs"), "{said}");
    let said = refused(PluginSpec::new(folder.path().join("missing.wasm")));
    assert!(said.contains("missing.wasm") && said.contains("build it"), "{said}");
}

#[test]
fn plugins_that_fail_while_they_are_loaded() {
    for (deed, expected) in
        [("loop", "deadline"), ("trap", "configure"), ("memory", "memory"), ("exit", "exit")]
    {
        let mut spec = hostile(json!({ "do": deed, "phase": "configure" }), &ALL);
        patient(&mut spec, deed);
        let said = refused(spec);
        assert!(said.contains("configure") && said.contains(expected), "{deed}: {said}");
    }
}

#[test]
fn configurations_that_the_plugin_refuses() {
    let said = refused(hostile(json!({ "do": "dance" }), &ALL));
    assert!(said.contains("`do`"), "{said}");
    let said = refused(hostile(json!({ "do": "trap", "tmes": 1 }), &ALL));
    assert!(said.contains("tmes"), "{said}");
}

#[test]
fn an_identity_plugin_may_not_fail_open() {
    let mut spec = plugin(
        build::plugin("auth"),
        json!({ "routes": {} }),
        &["identity", "crypto:access-tokens", "revocations"],
    );
    spec.failure_policy = pillion_host::FailurePolicy::Open;
    let said = refused(spec);
    assert!(said.contains("closed"), "{said}");
}

#[test]
fn components_over_their_bound() {
    let mut spec = hostile(json!({ "do": "trap" }), &ALL);
    spec.limits.component_bytes = 1_000;
    let said = refused(spec);
    assert!(said.contains("limits.component_bytes"), "{said}");
}

/// Every refusal above, but as a swap under a running generation: it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_artefact_never_touches_traffic() {
    let rig = Rig::start(single(hostile(json!({ "do": "trap", "when": "now" }), &ALL))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let bad = [
        wat_component(&folder, "(module)"),
        folder.path().join("missing.wasm"),
        build::plugin("auth"),
    ];
    for component in bad {
        let change = SwapRequest { component: Some(component), ..SwapRequest::default() };
        let host = rig.host.clone();
        let swapped =
            tokio::task::spawn_blocking(move || host.swap("mine", change)).await.expect("no panic");
        assert!(matches!(swapped, Err(ActivateError::Load(_))), "{swapped:?}");
        rig.client.get("/").send().await.expect(200);
    }
    let change = SwapRequest {
        config: Some(json!({ "do": "loop", "phase": "configure" })),
        ..SwapRequest::default()
    };
    let host = rig.host.clone();
    let swapped =
        tokio::task::spawn_blocking(move || host.swap("mine", change)).await.expect("no panic");
    assert!(swapped.is_err());
    rig.client.get("/").send().await.expect(200);
    assert_eq!(rig.host.history().len(), 1, "nothing was activated");
}

#[test]
fn damaged_machine_code_is_noticed_and_compiled_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = || single(hostile(json!({ "do": "trap" }), &ALL));
    host(&folder).start(spec()).expect("it loads");
    let cache = folder.path().join("state/machine-code");
    let files: Vec<_> =
        std::fs::read_dir(&cache).expect("a cache").flatten().map(|entry| entry.path()).collect();
    let code_of = build::fixture("hostile");
    let digest = pillion_host::Digest::of(&std::fs::read(code_of).expect("a component")).hex();
    let files: Vec<_> =
        files.into_iter().filter(|path| path.to_string_lossy().contains(&digest)).collect();
    assert_eq!(files.len(), 1);
    let mut code = std::fs::read(&files[0]).expect("machine code");
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(&files[0], &code).expect("a file");
    host(&folder).start(spec()).expect("it loads all the same");
    assert_ne!(std::fs::read(&files[0]).expect("machine code"), code, "it was written anew");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.wasm");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    for path in [pipe.as_path(), std::path::Path::new("/dev/zero"), folder.path()] {
        let said = refused(PluginSpec::new(path));
        assert!(said.contains("no file"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_checked_also_when_only_the_configuration_changes() {
    let rig = Rig::start(single(hostile(json!({ "do": "trap", "when": "now" }), &ALL))).await;
    let change = SwapRequest {
        config: Some(json!({ "do": "loop", "when": "now" })),
        digest: Some(pillion_host::Digest::of(b"another component")),
        ..SwapRequest::default()
    };
    let host = rig.host.clone();
    let swapped = tokio::task::spawn_blocking(move || host.swap("mine", change)).await;
    let error = swapped.expect("no panic").expect_err("another component was expected");
    assert!(error.to_string().contains("digest differs"), "{error}");
}

#[test]
fn a_changed_configuration_sets_swaps_aside_and_a_rollback_brings_them_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = |config| {
        let host = host(&folder);
        host.start(single(hostile(config, &ALL))).expect("it starts");
        host
    };
    let first = json!({ "do": "trap", "when": "now" });
    let change = SwapRequest {
        config: Some(json!({ "do": "exit", "when": "now" })),
        ..SwapRequest::default()
    };
    let swapped = started(first.clone()).swap("mine", change).expect("it swaps").generation;
    assert_eq!(started(first).history()[0].generation, swapped, "the swap survives a restart");
    let host = started(json!({ "do": "loop", "when": "now" }));
    assert!(host.history()[0].generation > swapped, "the configuration counts again");
    let back = host.rollback().expect("there is something to go back to");
    assert_eq!(back.cause, pillion_host::Cause::Rollback { to: swapped });
}
