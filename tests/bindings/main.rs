//! Keeps `sdk/src/bindings.rs` equal to what the contract in `wit/v0.1` generates.
//!
//! The file is checked in so that a plugin's build compiles neither a WIT parser nor a code
//! generator. Set `PILLION_BINDINGS=write` to write it anew after the contract has changed.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use wit_bindgen_core::{
    Files, WorldGenerator as _,
    wit_parser::{Resolve, World, WorldId, WorldItem, WorldKey},
};
use wit_bindgen_rust::{Opts, Ownership};
use wit_component::StringEncoding;

/// The interfaces that a plugin may export. Each gets a world section of its own, so that a
/// plugin exports only the phases that it names.
const EXPORTS: [&str; 4] = ["lifecycle", "request", "response", "completion"];

#[test]
fn the_checked_in_bindings_are_those_of_the_contract() -> Result<()> {
    let path = root().join("sdk/src/bindings.rs");
    let fresh = generate()?;
    if std::env::var_os("PILLION_BINDINGS").is_some_and(|value| value == "write") {
        fs::write(&path, &fresh).with_context(|| format!("writing {}", path.display()))?;
    }
    let present =
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        present == fresh,
        "sdk/src/bindings.rs is not what wit/v0.1 generates; write it anew with\n\
         PILLION_BINDINGS=write cargo test -p pillion-tests --test bindings"
    );
    Ok(())
}

/// The contract in one file, for tools that take one: the folder's files one after the other.
#[test]
fn h11_the_one_file_contract_is_that_of_the_folder() -> Result<()> {
    let path = root().join("wit/pillion-plugin-0.1.wit");
    let fresh = one_file()?;
    if std::env::var_os("PILLION_BINDINGS").is_some_and(|value| value == "write") {
        fs::write(&path, &fresh).with_context(|| format!("writing {}", path.display()))?;
    }
    let present =
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        present == fresh,
        "wit/pillion-plugin-0.1.wit is not what wit/v0.1 says; write it again with\n\
         PILLION_BINDINGS=write cargo test -p pillion-tests --test bindings"
    );
    let mut file = Resolve::default();
    let own = file.push_file(&path)?;
    for (world, exports) in WORLDS {
        let world = file.select_world(&[own], Some(world))?;
        let world = file.worlds.get(world).context("no world")?;
        let found: Vec<String> = world.exports.keys().map(|key| file.name_world_key(key)).collect();
        let expected = exports.map(|name| format!("pillion:plugin/{name}@0.1.0"));
        ensure!(found == expected, "{}: {found:?}", world.name);
        ensure!(world.imports.len() > 8, "{} imports all that there is", world.name);
    }
    Ok(())
}

/// Worlds for tools with which everything that a world exports must be implemented.
const WORLDS: [(&str, [&str; 2]); 3] = [
    ("request-only", ["lifecycle", "request"]),
    ("response-only", ["lifecycle", "response"]),
    ("observer", ["lifecycle", "completion"]),
];

fn one_file() -> Result<String> {
    const PACKAGE: &str = "package pillion:plugin@0.1.0;\n";
    let mut text = format!(
        "// Generated from wit/v0.1 for tools that take one file; `pillion plugin wit` prints it.\n\n\
         {PACKAGE}"
    );
    for name in ["host.wit", "plugin.wit", "types.wit"] {
        let part = fs::read_to_string(root().join("wit/v0.1").join(name))?;
        text += part.strip_prefix(PACKAGE).with_context(|| format!("{name} begins otherwise"))?;
    }
    Ok(text)
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn generate() -> Result<String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit/v0.1"))?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    let sections = EXPORTS
        .iter()
        .map(|export| section(&resolve, world, export))
        .collect::<Result<String>>()?;
    let options = Opts {
        format: true,
        generate_all: true,
        // Keeps the exports out of the section that every user of the crate links.
        pub_export_macro: true,
        // Labels of metrics are then borrowed strings.
        ownership: Ownership::Borrowing { duplicate_if_necessary: false },
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, source) = files.iter().next().context("nothing was generated")?;
    Ok(without_world_macro(std::str::from_utf8(source)?)? + &sections)
}

/// Cuts out the macro that exports every phase at once: `pillion_plugin::export!` takes its
/// place.
fn without_world_macro(source: &str) -> Result<String> {
    let begin = source.find("/// Generates `#[unsafe(no_mangle)]`").context("no world macro")?;
    let end = "pub use __export_plugin_impl as export;\n";
    let end = source.find(end).context("no end of the world macro")? + end.len();
    let (before, rest) = source.split_at(begin);
    let after = rest.get(end - begin..).context("the world macro ends before it begins")?;
    Ok(format!("{before}{after}"))
}

/// The world with one export only, encoded for the section `component-type:…` from which the
/// linker makes a component. It joins the sections that it finds.
fn section(resolve: &Resolve, world: WorldId, export: &str) -> Result<String> {
    let mut resolve = resolve.clone();
    let whole = resolve.worlds.get(world).context("no world")?.clone();
    let mut exports = whole.exports.clone();
    exports.retain(|key, item| match (key, item) {
        (WorldKey::Interface(id), WorldItem::Interface { .. }) => {
            resolve.interfaces.get(*id).and_then(|it| it.name.as_deref()) == Some(export)
        }
        _ => false,
    });
    ensure!(exports.len() == 1, "world `plugin` does not export `{export}`");
    let narrow = resolve.worlds.alloc(World { name: format!("plugin-{export}"), exports, ..whole });
    let bytes = wit_component::metadata::encode(&resolve, narrow, StringEncoding::UTF8, None)?;
    let mut text = format!(
        "\n/// Describes a component that exports `{export}`.\n\
         #[rustfmt::skip]\n\
         pub const {}_WORLD: [u8; {}] = *b\"\\\n",
        export.to_uppercase(),
        bytes.len()
    );
    for line in bytes.chunks(40) {
        for byte in line {
            match byte {
                b'\\' | b'"' => write!(text, "\\{}", char::from(*byte))?,
                b'!'..=b'~' => text.push(char::from(*byte)),
                _ => write!(text, "\\x{byte:02x}")?,
            }
        }
        text.push_str("\\\n");
    }
    text.push_str("\";\n");
    Ok(text)
}
