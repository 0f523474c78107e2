//! Makes the components of cases: from parts in WAT, from whole components in WAT, from fixtures,
//! and by program.

mod types;

use std::fmt::Write as _;

use pillion_host::Digest;
use pillion_tests::build;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::case::{Case, Core, Descriptor, Generate};

/// Where the descriptor lies.
const DESCRIPTOR: usize = 1_024;
/// Where a case's own scratch space begins.
const SCRATCH: usize = 32_768;

const PRELUDE: &str = include_str!("prelude.wat");
const COMPOSED: &str = include_str!("composed.wat");

/// A file, and the digest that an operator pinned for it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pinned: Option<Digest>,
}

/// The component of a case.
pub(crate) fn component(case: &Case) -> Made {
    let sources = (&case.core, &case.wat, &case.guest, &case.generate);
    let bytes = match sources {
        (Some(core), None, None, None) => from_parts(&case.name, core),
        (None, Some(text), None, None) => parse(&case.name, text),
        (None, None, Some(guest), None) => good(guest),
        (None, None, None, Some(generate)) => return generated(generate),
        _ => panic!("{}: it has one of `core`, `wat`, `guest` and `generate`", case.name),
    };
    Made { bytes, pinned: None }
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    let text = text.replace("{V}", &contract_version());
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

fn good(guest: &str) -> Vec<u8> {
    std::fs::read(build::fixture(guest)).expect("a fixture")
}

/// The contract, and its version.
fn contract() -> (Resolve, String) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(build::root().join("wit/v0.1")).expect("the contract");
    let version = resolve.packages.get(package).and_then(|package| package.name.version.as_ref());
    let version = version.expect("a version").to_string();
    (resolve, version)
}

fn contract_version() -> String {
    contract().1
}

/// What a plugin may import of the contract; the encoder leaves out what a module does not use.
const IMPORTS: [&str; 9] =
    ["current", "log", "sink", "kv", "limiter", "metrics", "clock", "random", "crypto"];

/// The name, the parameters and the result of each hook.
const HOOKS: [(&str, &str, &str); 3] = [
    ("request", "on-request", "(result i32)"),
    ("response", "on-response", "(result i32)"),
    ("completion", "on-complete", ""),
];

fn bodies(core: &Core) -> Vec<(&'static str, &'static str, &'static str, String)> {
    let body = |phase| match phase {
        "request" => &core.request,
        "response" => &core.response,
        _ => &core.completion,
    };
    let given = HOOKS.iter().filter(|(phase, ..)| !body(phase).is_empty());
    let mut hooks: Vec<_> =
        given.map(|(phase, name, result)| (*phase, *name, *result, body(phase).clone())).collect();
    if hooks.is_empty() {
        let (phase, name, result) = ("request", "on-request", "(result i32)");
        hooks.push((phase, name, result, "(call $continue)".to_owned()));
    }
    hooks
}

fn or<'a>(part: &'a str, default: &'a str) -> &'a str {
    if part.is_empty() { default } else { part }
}

/// A component from parts of a core module.
pub(crate) fn from_parts(name: &str, core: &Core) -> Vec<u8> {
    let (mut resolve, version) = contract();
    let hooks = bodies(core);
    let mut functions = String::new();
    for (phase, hook, result, body) in &hooks {
        let _ = writeln!(
            functions,
            "(func (export \"pillion:plugin/{phase}@{version}#{hook}\") (param $fields i32) \
             (param $fields_len i32) (param $ends i32) (param $ends_len i32) {result}\n{body})"
        );
    }
    for (function, body) in &core.post {
        let interface = match function.as_str() {
            "describe" | "configure" => "lifecycle",
            "on-request" => "request",
            "on-response" => "response",
            _ => "completion",
        };
        let _ = writeln!(
            functions,
            "(func (export \"cabi_post_pillion:plugin/{interface}@{version}#{function}\") \
             (param $result i32)\n{body})"
        );
    }
    let phases: Vec<&str> = hooks.iter().map(|(phase, ..)| *phase).collect();
    let helped = |part: &'static str| if core.helper.is_some() { part } else { "" };
    let text = PRELUDE
        .replace("{imports}", &format!("{}{}", core.imports, helped(HELPER_IMPORT)))
        .replace("{memory}", or(&core.memory, "2"))
        .replace("{data}", &data(&core.descriptor, &phases))
        .replace("{realloc}", or(&core.realloc, "(call $alloc (local.get $size))"))
        .replace("{describe}", or(&core.describe, "(i32.const 1024)"))
        .replace("{configure}", or(&core.configure, "(i32.const 160)"))
        .replace("{hooks}", &functions)
        .replace("{items}", &core.items)
        .replace("{V}", &version);
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let world = world(name, &mut resolve, core, &phases, &version);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(wit_component::ComponentEncoder::encode)
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    match &core.helper {
        None => component,
        Some(inner) => {
            let outer = COMPOSED
                .replace("{types}", &types::import(&contract().0))
                .replace("{memory}", or(&inner.memory, "2"))
                .replace("{help}", &inner.help);
            wrapped(&parse(name, &outer), &component)
        }
    }
}

/// What a plugin needs to import its helper.
const HELPER_IMPORT: &str =
    "(import \"corpus:helper/helper@1.0.0\" \"help\" (func $help (param i32 i32 i32)))";
const HELPER_WORLD: &str = "import corpus:helper/helper@1.0.0;";
const HELPER_WIT: &str =
    "package corpus:helper@1.0.0 { interface helper { help: func(text: string) -> string; } }";

fn world(
    name: &str,
    resolve: &mut Resolve,
    core: &Core,
    phases: &[&str],
    version: &str,
) -> WorldId {
    let mut text = "package corpus:worlds;\nworld hostile {\n".to_owned();
    for import in IMPORTS {
        let _ = writeln!(text, "import pillion:plugin/{import}@{version};");
    }
    for export in ["lifecycle"].iter().chain(phases) {
        let _ = writeln!(text, "export pillion:plugin/{export}@{version};");
    }
    let helped = |part: &'static str| if core.helper.is_some() { part } else { "" };
    let (world, wit) = (helped(HELPER_WORLD), helped(HELPER_WIT));
    let _ = writeln!(text, "{}{world}\n}}\n{}{wit}", core.world, core.wit);
    let package = resolve.push_str("hostile.wit", &text);
    let package = package.unwrap_or_else(|error| panic!("{name}: {error:?}\n{text}"));
    resolve.select_world(&[package], Some("hostile")).expect("the world")
}

/// The descriptor as the canonical ABI lays it out, as a data segment.
fn data(descriptor: &Descriptor, phases: &[&str]) -> String {
    let mut record = Vec::new();
    let mut behind = Vec::new();
    let mut at = DESCRIPTOR + 80;
    let word = |value: usize| u32::try_from(value).expect("32 bits").to_le_bytes();
    let mut place = |bytes: &[u8]| {
        while !(at + behind.len()).is_multiple_of(4) {
            behind.push(0);
        }
        let place = at + behind.len();
        behind.extend_from_slice(bytes);
        place
    };
    let text = |record: &mut Vec<u8>, place: &mut dyn FnMut(&[u8]) -> usize, text: &str| {
        record.extend(word(place(text.as_bytes())));
        record.extend(word(text.len()));
    };
    for said in [&descriptor.name, &descriptor.version, &descriptor.description] {
        text(&mut record, &mut place, said);
    }
    let list = |record: &mut Vec<u8>, place: &mut dyn FnMut(&[u8]) -> usize, all: &[String]| {
        let mut inner = Vec::new();
        for said in all {
            text(&mut inner, place, said);
        }
        record.extend(word(place(&inner)));
        record.extend(word(all.len()));
    };
    for (phase, ..) in HOOKS {
        let fields = descriptor.fields.get(phase);
        let wanted = phases.contains(&phase) || fields.is_some();
        record.extend(word(usize::from(wanted)));
        list(&mut record, &mut place, fields.map_or(&[], Vec::as_slice));
    }
    list(&mut record, &mut place, &descriptor.grants);
    text(&mut record, &mut place, &descriptor.schema);
    at = DESCRIPTOR + 80 + behind.len();
    assert!(at <= SCRATCH, "the descriptor does not fit");
    record.resize(80, 0);
    record.extend(behind);
    let escaped: String = record.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    format!("(data (i32.const {DESCRIPTOR}) \"{escaped}\")")
}

const SECTION_CUSTOM: u8 = 0;
const SECTION_COMPONENT: u8 = 4;
const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// `outer` with `inner` in the place of its first nested component.
fn wrapped(outer: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut rest = outer.strip_prefix(&HEADER[..]).expect("a component");
    let mut out = HEADER.to_vec();
    let mut done = false;
    while let Some((id, after)) = rest.split_first() {
        let (size, content) = leb128(after);
        let (content, next) = content.split_at(size);
        if *id == SECTION_COMPONENT && !done {
            out.extend(section(SECTION_COMPONENT, inner));
            done = true;
        } else {
            out.extend(section(*id, content));
        }
        rest = next;
    }
    assert!(done, "the outer component has no nested one");
    out
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![id];
    out.extend(leb(content.len()));
    out.extend_from_slice(content);
    out
}

/// A number as unsigned LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn leb128(bytes: &[u8]) -> (usize, &[u8]) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("an end") + 1;
    let (number, rest) = bytes.split_at(length);
    let value = number.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, rest)
}

#[expect(clippy::too_many_lines, reason = "a short arm for each generator")]
fn generated(generate: &Generate) -> Made {
    let plain = |bytes| Made { bytes, pinned: None };
    match generate {
        Generate::Bytes { text, hex, zeros } => {
            let mut bytes = text.clone().into_bytes();
            for pair in hex.as_bytes().chunks(2) {
                let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
                bytes.push(u8::from_str_radix(pair, 16).expect("hexadecimal digits"));
            }
            bytes.resize(bytes.len() + zeros, 0);
            plain(bytes)
        }
        Generate::Truncated { percent } => {
            let mut bytes = good("noop");
            bytes.truncate(bytes.len() * percent / 100);
            plain(bytes)
        }
        Generate::Flipped => {
            let mut bytes = good("noop");
            let pinned = Some(Digest::of(&bytes));
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Made { bytes, pinned }
        }
        Generate::Padded { bytes: size } => {
            let mut bytes = good("noop");
            let mut padding = vec![3, b'p', b'a', b'd'];
            padding.resize(*size, 0);
            bytes.extend(section(SECTION_CUSTOM, &padding));
            plain(bytes)
        }
        Generate::Nested { depth } => {
            // Sizes from the inside out, bytes from the outside in.
            let mut sizes = vec![HEADER.len()];
            for level in 0..*depth {
                let inner = sizes[level];
                sizes.push(HEADER.len() + 1 + leb(inner).len() + inner);
            }
            let mut bytes = Vec::new();
            for inner in sizes.iter().rev().skip(1) {
                bytes.extend_from_slice(&HEADER);
                bytes.push(SECTION_COMPONENT);
                bytes.extend(leb(*inner));
            }
            bytes.extend_from_slice(&HEADER);
            plain(bytes)
        }
        Generate::CoreInstances { count } => {
            let mut text = "(component (core module $m (func (export \"f\")))".to_owned();
            for _ in 0..*count {
                text.push_str("(core instance (instantiate $m))");
            }
            plain(parse("core-instances", &(text + PLUGIN_SHELL)))
        }
        Generate::CoreModules { count } => {
            let mut text = "(component".to_owned();
            for number in 0..*count {
                let _ = write!(
                    text,
                    "(core module $m{number} (func (export \"f\") (result i32) (i32.const \
                     {number})))(core instance (instantiate $m{number}))"
                );
            }
            plain(parse("core-modules", &(text + PLUGIN_SHELL)))
        }
        Generate::DoublingType { definitions } => {
            let mut text = "(component (type $t0 (tuple u8 u8))".to_owned();
            for number in 1..=*definitions {
                let before = number - 1;
                let _ = write!(text, "(type $t{number} (tuple $t{before} $t{before}))");
            }
            let _ = write!(
                text,
                "(import \"bomb\" (func (param \"p\" $t{definitions}))){PLUGIN_SHELL}"
            );
            plain(parse("doubling-type", &text))
        }
        Generate::SlowFunction { statements } => {
            let mut text = "(component (core module (memory 1) (func (export \"f\") \
                            (param i32) (result i32) (local i32)"
                .to_owned();
            for number in 0..*statements {
                let _ = write!(
                    text,
                    "(if (i32.and (local.get 0) (i32.const {number})) (then (local.set 1 \
                     (i32.add (local.get 1) (i32.load (local.get 0))))) (else (i32.store \
                     (local.get 1) (local.get 0))))"
                );
            }
            plain(parse("slow-function", &(text + "(local.get 1)))" + PLUGIN_SHELL)))
        }
        Generate::ManyLocals { functions } => {
            let locals = "i64 ".repeat(49_000);
            let mut text = "(component (core module".to_owned();
            for _ in 0..*functions {
                let _ = write!(text, "(func (param i32) (local {locals}) (call 0 (local.get 0)))");
            }
            plain(parse("many-locals", &(text + ")" + PLUGIN_SHELL)))
        }
    }
}

/// Ends a component whose body is what matters.
const PLUGIN_SHELL: &str =
    "(instance $shell) (export \"pillion:plugin/lifecycle@{V}\" (instance $shell)))";
