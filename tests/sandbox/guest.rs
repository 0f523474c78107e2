//! Small plugins written in WebAssembly text, below any SDK: what a language's own tools could
//! make, and what they would not.

use std::fmt::Write as _;
use std::path::PathBuf;

use pillion_tests::build;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::{ComponentEncoder, StringEncoding};

/// Where a guest's constants are.
const DATA_BEGIN: usize = 1_024;

/// The `wasi` interfaces that a guest may import, as far as tests need them.
const WASI: [&str; 4] = [
    "package wasi:random@0.2.6; interface random { get-random-u64: func() -> u64; }",
    "package wasi:clocks@0.2.6;
     interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
     interface monotonic-clock { now: func() -> u64; }",
    "package wasi:io@0.2.6; interface streams { resource output-stream; }",
    "package wasi:cli@0.2.6;
     interface stdout { use wasi:io/streams@0.2.6.{output-stream}; get-stdout: func() -> output-stream; }",
];

/// What a guest says of itself, and the text of its functions.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) description: String,
    pub(crate) schema: String,
    pub(crate) version: String,
    /// Configuration errors that `configure` returns.
    pub(crate) problems: Vec<(String, String)>,
    pub(crate) grants: Vec<String>,
    /// Further imports of the core module.
    pub(crate) imports: String,
    /// Further items of the core module.
    pub(crate) items: String,
    /// The name of the function that is the request hook, in the name section.
    pub(crate) name: String,
    /// The body of the request hook; leaves the address of a decision. `(call $continue)` and
    /// `(call $respond (i32.const STATUS))` make some.
    pub(crate) on_request: String,
    /// 64 KiB pages of memory.
    pub(crate) pages: usize,
    /// Interfaces of `wasi` that its world imports.
    pub(crate) wasi: Vec<&'static str>,
    /// The body of its responses.
    pub(crate) body: String,
    /// What is in its memory from the start; see [`Self::constant`].
    pub(crate) constants: Vec<u8>,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            description: "A guest.".to_owned(),
            schema: "{}".to_owned(),
            version: "1.0.0".to_owned(),
            problems: Vec::new(),
            grants: Vec::new(),
            imports: String::new(),
            items: String::new(),
            name: "on-request".to_owned(),
            on_request: "(call $continue)".to_owned(),
            pages: 2,
            wasi: Vec::new(),
            body: "the guest\n".to_owned(),
            constants: Vec::new(),
        }
    }
}

impl Guest {
    /// Where a constant will be in the guest's memory, and its length.
    pub(crate) fn constant(&mut self, bytes: &[u8]) -> (usize, usize) {
        while !self.constants.len().is_multiple_of(8) {
            self.constants.push(0);
        }
        let at = DATA_BEGIN + self.constants.len();
        self.constants.extend_from_slice(bytes);
        (at, bytes.len())
    }

    fn words(&mut self, words: &[usize]) -> usize {
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| u32::try_from(*word).expect("an address").to_le_bytes())
            .collect();
        self.constant(&bytes).0
    }

    fn strings(&mut self, texts: &[String]) -> (usize, usize) {
        let places: Vec<usize> = texts
            .iter()
            .flat_map(|text| {
                let (at, length) = self.constant(text.as_bytes());
                [at, length]
            })
            .collect();
        (self.words(&places), texts.len())
    }

    /// The core module's text.
    fn core(mut self) -> String {
        let (name, version) = (self.constant(b"made"), self.version.clone());
        let version = self.constant(version.as_bytes());
        let description = self.description.clone();
        let description = self.constant(description.as_bytes());
        let schema = self.schema.clone();
        let schema = self.constant(schema.as_bytes());
        let grants = self.grants.clone();
        let grants = self.strings(&grants);
        // The request phase without fields, neither of the others.
        let descriptor = self.words(&[
            name.0,
            name.1,
            version.0,
            version.1,
            description.0,
            description.1,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            grants.0,
            grants.1,
            schema.0,
            schema.1,
        ]);
        let problems: Vec<String> =
            self.problems.iter().flat_map(|(key, reason)| [key.clone(), reason.clone()]).collect();
        let count = self.problems.len();
        let (problems, _) = self.strings(&problems);
        let configured = self.words(&[usize::from(count > 0), problems, count]);
        let body = self.body.clone();
        let body = self.constant(body.as_bytes());
        let carry_on = self.words(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let respond = self.words(&[2, 200, 0, 0, body.0, body.1, 0, 0, 0, 0, 0, 0]);
        let mut data = String::new();
        for byte in &self.constants {
            // Writing to a String cannot fail.
            let _ = write!(data, "\\{byte:02x}");
        }
        let heap = (DATA_BEGIN + self.constants.len()).next_multiple_of(16);
        let pages = self.pages.max(heap.div_ceil(1 << 16) + 1);
        let function: String = self.name.bytes().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "\\{byte:02x}");
            name
        });
        let Self { imports, items, on_request, .. } = &self;
        format!(
            r#"(module
              {imports}
              (memory (export "memory") {pages})
              (global $heap (mut i32) (i32.const {heap}))
              (data (i32.const {DATA_BEGIN}) "{data}")
              {items}
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
              (func $continue (result i32) (i32.const {carry_on}))
              (func $respond (param i32) (result i32)
                (i32.store16 (i32.const {status}) (local.get 0))
                (i32.const {respond}))
              (func (export "pillion:plugin/lifecycle@0.1.0#describe") (result i32)
                (i32.const {descriptor}))
              (func (export "pillion:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
                (i32.const {configured}))
              (func (@name "{function}") (export "pillion:plugin/request@0.1.0#on-request")
                (param i32 i32 i32 i32) (result i32)
                (local $n i32)
                ;; What the host has put there for this call is not needed any more.
                (global.set $heap (i32.const {heap}))
                {on_request}))"#,
            status = respond + 4,
        )
    }

    /// The component, of the contract's world `request-only`.
    pub(crate) fn component(self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        resolve.push_dir(build::root().join("wit/v0.1")).expect("the contract");
        for package in WASI {
            resolve.push_str("wasi.wit", package).expect("a package");
        }
        let wasi = self.wasi.iter().fold(String::new(), |mut text, name| {
            let _ = write!(text, "import {name}; ");
            text
        });
        let world = format!(
            "package test:guest; world guest {{ {wasi} include pillion:plugin/request-only@0.1.0; }}"
        );
        let package = resolve.push_str("guest.wit", &world).expect("a world");
        self.encode(&resolve, package)
    }

    /// A component whose interfaces define their types themselves, so that it imports nothing but
    /// what it calls.
    pub(crate) fn without_types(self) -> Vec<u8> {
        let types = std::fs::read_to_string(build::root().join("wit/v0.1/types.wit"))
            .expect("the contract");
        let begin = types.find("    /// One header.").expect("its first type");
        let types = types[begin..].trim_end().trim_end_matches('}');
        let text = format!(
            "package pillion:plugin@0.1.0;
             interface current {{ field: func(name: string) -> option<list<u8>>; }}
             interface lifecycle {{ {types}
               describe: func() -> descriptor;
               configure: func(json: string) -> result<_, list<config-error>>; }}
             interface request {{ {types}
               on-request: func(fields: list<u8>, ends: list<u32>) -> decision; }}
             world guest {{ import current; export lifecycle; export request; }}"
        );
        let mut resolve = Resolve::default();
        let package = resolve.push_str("guest.wit", &text).expect("a world");
        self.encode(&resolve, package)
    }

    fn encode(
        self,
        resolve: &Resolve,
        package: wit_bindgen_core::wit_parser::PackageId,
    ) -> Vec<u8> {
        let world = resolve.select_world(&[package], Some("guest")).expect("the world");
        let mut module = wat::parse_str(self.core()).expect("WAT");
        let encoding = StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, resolve, world, encoding)
            .expect("metadata");
        let mut encoder = ComponentEncoder::default();
        let encoder = encoder.validate(true).module(&module).expect("a core module");
        encoder.encode().expect("a component")
    }

    /// Written to a file of the folder.
    pub(crate) fn write(self, folder: &tempfile::TempDir) -> PathBuf {
        write(folder, &self.component())
    }
}

/// A component in a file.
pub(crate) fn write(folder: &tempfile::TempDir, component: &[u8]) -> PathBuf {
    let path = folder.path().join("made.wasm");
    std::fs::write(&path, component).expect("a file");
    path
}
