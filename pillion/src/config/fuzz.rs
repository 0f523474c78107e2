//! Any text is a configuration, or is refused in words.

use std::path::PathBuf;

use super::{Loaded, Overrides, reading};

#[test]
fn fuzz_configuration() {
    pillion_fuzz::run("configuration", |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let lines = text.lines().count();
        match reading::parse(&text) {
            Err(problem) => {
                assert!(!problem.message.is_empty());
                assert!(problem.line.is_none_or(|line| line > 0 && line <= lines + 1));
            }
            Ok(config) => {
                let name = "fuzz.toml".to_owned();
                let loaded = Loaded {
                    config,
                    name,
                    base: PathBuf::new(),
                    text,
                    file: None,
                    overrides: Overrides::default(),
                };
                // It says at least that services are missing, and where.
                for problem in loaded.check() {
                    assert!(!problem.key.is_empty() && !problem.message.is_empty());
                }
            }
        }
    });
}
