//! Where the things are that suites start and load. `cargo xtask test` builds them first.

use std::path::PathBuf;

/// The folder that holds `plugins/` and `fixtures/`: the project's own, wherever cargo builds.
fn target() -> PathBuf {
    root().join("target")
}

/// The project's own folder.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests are a folder of the project").to_owned()
}

/// A folder among the built things, for what a suite builds itself and finds again.
pub fn folder(name: &str) -> PathBuf {
    target().join(name)
}

/// A component of the project: `auth`, `logging`, `ratelimit`.
pub fn plugin(name: &str) -> PathBuf {
    existing(target().join("plugins").join(format!("{name}.wasm")))
}

/// A component of `tests/fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    existing(target().join("fixtures").join(format!("{name}.wasm")))
}

/// A part of what `tests/clients/` needs, such as `venv/bin/python`.
pub fn client(path: &str) -> PathBuf {
    existing(root().join("target/clients").join(path))
}

/// The program, of the same profile as the tests.
pub fn pillion() -> PathBuf {
    let program = std::env::current_exe().expect("a test program knows its path");
    let profile = program.ancestors().nth(2).expect("test programs are in deps/");
    existing(profile.join("pillion"))
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}
