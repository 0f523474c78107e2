//! Components that are composed of others, as `jco` with `QuickJS`, `wac` and `wasi-virt` make them:
//! each part has a memory of its own, and what crosses between them is copied by adapters.

use pillion_host::{Host, PluginSpec};
use pillion_tests::build;
use pillion_tests::rig::{Rig, single};
use wasm_encoder::{ComponentBuilder, ComponentExportKind};

use crate::guest::{Guest, write};

const CURRENT: &str = "pillion:plugin/current@0.1.0";
const EXPORTS: [&str; 2] = ["pillion:plugin/lifecycle@0.1.0", "pillion:plugin/request@0.1.0"];

/// A component that exports `current`, of so many pages: every field is `virtual`.
fn provider(pages: usize) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $m
            (memory (export "memory") {pages})
            (data (i32.const 16) "virtual")
            (data (i32.const 32) "\01\00\00\00\10\00\00\00\07\00\00\00")
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "field") (param i32 i32) (result i32) (i32.const 32)))
          (core instance $i (instantiate $m))
          (func $field (param "name" string) (result (option (list u8)))
            (canon lift (core func $i "field") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
          (instance $current (export "field" (func $field)))
          (export "{CURRENT}" (instance $current)))"#
    );
    wat::parse_str(text).expect("WAT")
}

/// A plugin that imports `current` and answers with the field `path`.
fn plugin(pages: usize) -> Vec<u8> {
    let mut guest = Guest {
        imports: format!(r#"(import "{CURRENT}" "field" (func $field (param i32 i32 i32)))"#),
        pages,
        ..Guest::default()
    };
    let (name, length) = guest.constant(b"path");
    let (result, _) = guest.constant(&[0; 12]);
    // The option's list becomes the answer's body.
    guest.on_request = format!(
        "(call $field (i32.const {name}) (i32.const {length}) (i32.const {result}))
         (local.set $n (call $respond (i32.const 200)))
         (i32.store offset=16 (local.get $n) (i32.load (i32.const {})))
         (i32.store offset=20 (local.get $n) (i32.load (i32.const {})))
         (local.get $n)",
        result + 4,
        result + 8,
    );
    guest.without_types()
}

/// Both in one component, which exports the plugin's interfaces.
fn compose(provider: &[u8], plugin: &[u8]) -> Vec<u8> {
    let mut outer = ComponentBuilder::default();
    let provider = outer.component_raw(None, provider);
    let plugin = outer.component_raw(None, plugin);
    let no_arguments: [(&str, ComponentExportKind, u32); 0] = [];
    let provider = outer.instantiate(None, provider, no_arguments);
    let current = outer.alias_export(provider, CURRENT, ComponentExportKind::Instance);
    let arguments = [(CURRENT, ComponentExportKind::Instance, current)];
    let plugin = outer.instantiate(None, plugin, arguments);
    for name in EXPORTS {
        let exported = outer.alias_export(plugin, name, ComponentExportKind::Instance);
        outer.export(name, ComponentExportKind::Instance, exported, None);
    }
    outer.finish()
}

/// The component as the only part of another one, so many times.
fn nest(mut component: Vec<u8>, depth: usize) -> Vec<u8> {
    for _ in 0..depth {
        let mut outer = ComponentBuilder::default();
        let inner = outer.component_raw(None, &component);
        let no_arguments: [(&str, ComponentExportKind, u32); 0] = [];
        let inner = outer.instantiate(None, inner, no_arguments);
        for name in EXPORTS {
            let exported = outer.alias_export(inner, name, ComponentExportKind::Instance);
            outer.export(name, ComponentExportKind::Instance, exported, None);
        }
        component = outer.finish();
    }
    component
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h05_a_composed_component_runs() {
    let composed = compose(&provider(1), &plugin(2));
    for component in [composed.clone(), nest(composed, 8)] {
        let folder = tempfile::tempdir().expect("a folder");
        let rig = Rig::start(single(PluginSpec::new(write(&folder, &component)))).await;
        for _ in 0..3 {
            let answer = rig.client.get("/real").send().await.expect(200);
            assert_eq!(answer.text(), "virtual", "the inner part answers, not the host");
        }
        assert_eq!(rig.metric("pillion_plugin_memory_bytes{plugin=\"mine\"}") % (3 << 16), 0);
    }
}

/// Each memory alone is within the limit; together they are not.
#[test]
fn h05_memory_is_limited_in_sum() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(&folder, &compose(&provider(80), &plugin(80)));
    let started = |memory_bytes| {
        let mut spec = PluginSpec::new(&path);
        spec.limits.memory_bytes = memory_bytes;
        let host: Host = pillion_tests::rig::host(&folder);
        host.start(single(spec)).map(drop).map_err(|error| error.to_string())
    };
    started(10 << 20).expect("both fit");
    let refused = started(6 << 20).expect_err("5 MiB and 5 MiB are more than 6 MiB");
    assert!(refused.contains("limits.memory_bytes = 6291456"), "{refused}");
}

/// The compiler of the program is a child process; what it does not take is an error, not a panic.
#[test]
fn h05_the_compiler_child_takes_a_composed_component() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(&folder, &nest(compose(&provider(1), &plugin(2)), 2));
    let output = std::process::Command::new(build::pillion())
        .args(["plugin", "inspect"])
        .arg(&path)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("panic"), "{said}");
}

/// More memories than a component may have are refused when it is loaded.
#[test]
fn h05_too_many_memories_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = "(core instance (instantiate $m))".repeat(9);
    let plugin = plugin(1);
    let many = wat::parse_str(format!(
        "(component (core module $m (memory 1)) {more}
           (core module $rm (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) unreachable))
           (core instance $r (instantiate $rm))
           (core module $f (func (export \"field\") (param i32 i32) (result i32) unreachable)
             (memory (export \"memory\") 1))
           (core instance $i (instantiate $f))
           (func $field (param \"name\" string) (result (option (list u8)))
             (canon lift (core func $i \"field\") (memory (core memory $i \"memory\"))
               (realloc (core func $r \"realloc\"))))
           (instance $current (export \"field\" (func $field)))
           (export \"{CURRENT}\" (instance $current)))"
    ));
    let many = many.expect("WAT");
    let path = write(&folder, &compose(&many, &plugin));
    let host = pillion_tests::rig::host(&folder);
    let said = host.start(single(PluginSpec::new(path))).expect_err("it must not load").to_string();
    assert!(said.contains("memories") && !said.contains("panic"), "{said}");
}
