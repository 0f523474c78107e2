//! A plugin author's first minutes: a new project, its tests, its component, a first request.

use std::path::Path;
use std::process::{Command, Output};

use pillion_tests::build;

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}:\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Cargo as an author calls it, but with a target folder that later runs find again, and
/// without what cargo told this test program.
fn cargo(project: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(project).env("CARGO_TARGET_DIR", build::folder("new-plugin"));
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_") && name != "CARGO_HOME" && name != "CARGO_TARGET_DIR" {
            command.env_remove(name);
        }
    }
    command
}

#[test]
fn a_new_project_tests_builds_and_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let pillion = || {
        let mut command = Command::new(build::pillion());
        command.current_dir(folder.path());
        command
    };
    run(pillion().args(["plugin", "new", "doorman"]));
    let project = folder.path().join("doorman");

    let tested = run(cargo(&project).arg("test"));
    let passed = tested.lines().filter(|line| line.ends_with("... ok")).count();
    assert!(passed > 0, "it has tests of its own:\n{tested}");
    run(cargo(&project).args(["build", "--target", "wasm32-wasip2", "--release"]));
    let component = build::folder("new-plugin").join("wasm32-wasip2/release/doorman.wasm");
    let shown = run(pillion().args(["plugin", "run"]).arg(&component).args(["--request", "GET /"]));
    assert!(shown.contains("went on to the handler"), "{shown}");
    let shown = run(pillion().args(["plugin", "inspect"]).arg(&component));
    assert!(shown.contains("doorman") && shown.contains("header:user-agent"), "{shown}");

    let again = pillion().args(["plugin", "new", "doorman"]).output().expect("the program runs");
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists"));
}
