//! The published schemas, and the rules for Containerfiles.

use std::path::Path;

use super::{deploy, tool, words};

fn kubernetes(paths: &[&str]) -> std::process::Output {
    tool("kubernetes-validate", &[&["--strict"], paths].concat())
}

fn compose(path: &str) -> std::process::Output {
    tool("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", path])
}

/// Writes a file with something wrong in it.
fn spoilt(folder: &Path, name: &str, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(deploy(name)).expect("a file of deploy/");
    assert!(text.contains(from), "{from}");
    let path = folder.join("spoilt.yaml");
    std::fs::write(&path, text.replacen(from, to, 1)).expect("a folder of the test");
    path.to_str().expect("a path").to_owned()
}

#[test]
fn manifests_are_what_kubernetes_takes() {
    let folder = std::fs::read_dir(deploy("kubernetes")).expect("deploy/kubernetes");
    let paths: Vec<String> =
        folder.map(|entry| entry.expect("a file").path().display().to_string()).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    assert!(paths.len() >= 12, "{paths:?}");
    let checked = kubernetes(&paths);
    assert!(checked.status.success(), "{}", words(&checked));
    // That it finds what is wrong.
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to) in [("readinessProbe:", "readynessProbe:"), ("port: 8084", "port: \"x\"")] {
        let bad = kubernetes(&[&spoilt(folder.path(), "kubernetes/tweets.yaml", from, to)]);
        assert!(!bad.status.success(), "{to}: {}", words(&bad));
    }
}

#[test]
fn the_compose_file_is_what_compose_takes() {
    let path = deploy("compose.yaml");
    let checked = compose(path.to_str().expect("a path"));
    assert!(checked.status.success(), "{}", words(&checked));
    let folder = tempfile::tempdir().expect("a folder");
    let bad =
        compose(&spoilt(folder.path(), "compose.yaml", "restart: unless", "restarts: unless"));
    assert!(!bad.status.success(), "{}", words(&bad));
}

#[test]
fn the_containerfile_keeps_the_rules() {
    let path = deploy("Containerfile");
    let checked = tool("hadolint", &[path.to_str().expect("a path")]);
    assert!(checked.status.success(), "{}", words(&checked));
    let folder = tempfile::tempdir().expect("a folder");
    let bad = spoilt(folder.path(), "Containerfile", "USER 10001:10001", "RUN sudo true");
    let bad = tool("hadolint", &[&bad]);
    assert!(!bad.status.success(), "{}", words(&bad));
}
