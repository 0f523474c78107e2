//! What `deploy/` holds is what the program takes: valid by the published schemas, the same in
//! Kubernetes and Compose, and with a configuration that `pillion check` accepts.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

mod manifests;
mod schemas;

use std::path::PathBuf;
use std::process::{Command, Output};

use pillion_tests::build;
use serde_json::Value;

/// As the program lists them.
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

/// A file or folder of `deploy/`.
fn deploy(name: &str) -> PathBuf {
    build::root().join("deploy").join(name)
}

/// A tool that `cargo xtask test` has installed.
fn tool(name: &str, arguments: &[&str]) -> Output {
    let path = build::root().join("target/deploy/bin").join(name);
    let mut command = Command::new(&path);
    command.args(arguments).current_dir(build::root());
    command.output().unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask test` installs it", path.display())
    })
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The documents of a YAML file.
fn yaml(name: &str) -> Vec<Value> {
    const TO_JSON: &str =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let path = deploy(name);
    let path = path.to_str().expect("a path");
    let read = tool("python", &["-c", TO_JSON, path]);
    assert!(read.status.success(), "{}", words(&read));
    serde_json::from_slice(&read.stdout).expect("JSON")
}

/// The configuration of the fleet.
fn configuration() -> toml::Table {
    let text = std::fs::read_to_string(deploy("pillion.toml")).expect("deploy/pillion.toml");
    text.parse().expect("TOML")
}
