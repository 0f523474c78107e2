//! `pillion plugin new`: a project that builds with plain cargo and whose tests pass.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::output::print;

mod sources {
    //! What the build script found; see `build.rs`.
    include!(concat!(env!("OUT_DIR"), "/sources.rs"));
}

/// The project's own files. `PLUGIN_NAME` in them becomes the plugin's name. The manifest is
/// kept under another name: cargo takes a folder with a `Cargo.toml` for a package.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/manifest.toml")),
    (".cargo/config.toml", include_str!("template/cargo-config.toml")),
    ("src/lib.rs", include_str!("template/lib.rs")),
    ("README.md", include_str!("template/README.md")),
    (".gitignore", "/target\n"),
];

/// Where the SDK's sources go.
const SDK_FOLDER: &str = "pillion-plugin";

/// Makes the folder `parent/name`, whole or not at all.
pub(super) fn new(name: &str, parent: &Path) -> Result<()> {
    check(name)?;
    let folder = parent.join(name);
    if folder.exists() {
        bail!("{} exists already; take another name, or move it away", folder.display());
    }
    // Written aside and moved into place: a full disk leaves no half of a project.
    let aside = parent.join(format!(".{name}.new"));
    let written = write(name, &aside)
        .and_then(|()| fs::rename(&aside, &folder).context("cannot move it into place"));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(&aside);
        return Err(error.context(format!("cannot make {}", folder.display())));
    }
    print(&format!(
        "\
Made the plugin `{name}` in {folder}/. Next:

  cd {folder}
  cargo test
  cargo build --target wasm32-wasip2 --release
  pillion plugin run target/wasm32-wasip2/release/{file}.wasm --request \"GET /\"

If the target is missing: rustup target add wasm32-wasip2",
        folder = folder.display(),
        file = name.replace('-', "_"),
    ))
}

/// The name is a package's, a crate's, a plugin's and a folder's at once.
fn check(name: &str) -> Result<()> {
    /// What the contract allows a plugin's name.
    const NAME_BYTES_MAX: usize = 64;
    /// Words that no crate can have as its name.
    const TAKEN: [&str; 9] =
        ["test", "core", "std", "alloc", "self", "super", "crate", "proc-macro", SDK_FOLDER];
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.starts_with(|first: char| first.is_ascii_lowercase())
        || name.ends_with('-')
        || name.len() > NAME_BYTES_MAX
        || !name.bytes().all(fits)
    {
        bail!(
            "`{name}` cannot be a plugin's name: use 1 to {NAME_BYTES_MAX} of a-z, 0-9 and `-`, \
             beginning with a letter and not ending in `-`"
        );
    }
    if TAKEN.contains(&name) || is_keyword(name) {
        bail!("`{name}` means something else to Rust; take another name");
    }
    Ok(())
}

/// Whether a crate of this name could not be named in Rust.
fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do",
        "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in",
        "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
        "return", "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe",
        "unsized", "use", "virtual", "where", "while", "yield",
    ];
    KEYWORDS.contains(&name)
}

fn write(name: &str, folder: &Path) -> Result<()> {
    for (path, contents) in TEMPLATE {
        write_file(&folder.join(path), &contents.replace("PLUGIN_NAME", name))?;
    }
    let sdk = folder.join(SDK_FOLDER);
    write_file(&sdk.join("Cargo.toml"), sources::SDK_MANIFEST)?;
    for (path, contents) in sources::SOURCES {
        let place = match path.strip_prefix("sdk/") {
            Some(path) => sdk.join(path),
            None => folder.join(path),
        };
        write_file(&place, contents)?;
    }
    Ok(())
}

fn write_file(path: &Path, contents: &str) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, contents))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_written_whole_with_its_name_in_it() {
        let folder = tempfile::tempdir().unwrap();
        new("door-man", folder.path()).unwrap();
        let read =
            |path: &str| fs::read_to_string(folder.path().join("door-man").join(path)).unwrap();
        let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("door-man"));
        assert!(!read("src/lib.rs").contains("PLUGIN_NAME"));
        assert!(read("wit/v0.1/plugin.wit").contains("package pillion:plugin@0.1.0;"));
        let sdk = read("pillion-plugin/Cargo.toml");
        assert!(!sdk.contains("workspace"), "{sdk}");
        let sdk: toml::Table = toml::from_str(&sdk).unwrap();
        assert!(sdk["dependencies"]["serde"].is_table(), "{sdk}");
        assert!(read("pillion-plugin/src/lib.rs").starts_with("//!"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn an_existing_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mine")).unwrap();
        let refused = new("mine", folder.path()).unwrap_err().to_string();
        assert!(refused.contains("exists already"), "{refused}");
        assert_eq!(fs::read_dir(folder.path().join("mine")).unwrap().count(), 0);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in
            ["", "Door", "1door", "door-", "../door", "do or", "test", "fn", &"a".repeat(65)]
        {
            assert!(check(name).is_err(), "{name}");
        }
        for name in ["a", "door-man-2"] {
            check(name).unwrap();
        }
    }
}
