//! Cases as data: what stands in `tests/hostile/*.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// One file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What its cases have in common, for the documentation.
    about: String,
    case: Vec<Case>,
}

/// One hostile component, how it is loaded and called, and the one reaction to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Unique; also the plugin's name on the host.
    pub(crate) name: String,
    /// What it does, in a sentence.
    pub(crate) about: String,
    /// A core module, from parts that are inserted into `prelude.wat`.
    pub(crate) core: Option<Core>,
    /// A whole component as text.
    pub(crate) wat: Option<String>,
    /// A component of `tests/fixtures/`, written with the SDK.
    pub(crate) guest: Option<String>,
    /// A file that is made by a program.
    pub(crate) generate: Option<Generate>,
    /// How it is loaded.
    #[serde(default)]
    pub(crate) load: Load,
    /// What is sent to it once it is loaded.
    #[serde(default)]
    pub(crate) request: Request,
    pub(crate) expect: Expect,
    /// Whether it takes part when all attack at once; not what costs a whole core for seconds by
    /// an operator's own doing.
    #[serde(default = "yes")]
    pub(crate) storm: bool,
}

/// Parts of a core module in WAT; empty ones have a harmless default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Core {
    /// Imports of the module.
    pub(crate) imports: String,
    /// Limits of its memory, in pages.
    pub(crate) memory: String,
    /// Whatever else the module has.
    pub(crate) items: String,
    pub(crate) realloc: String,
    pub(crate) describe: String,
    pub(crate) configure: String,
    pub(crate) request: String,
    pub(crate) response: String,
    pub(crate) completion: String,
    /// Post-return functions by the name of the function behind which they run.
    pub(crate) post: BTreeMap<String, String>,
    pub(crate) descriptor: Descriptor,
    /// Packages in WIT that the world needs beside the contract's.
    pub(crate) wit: String,
    /// Lines of the world beside the contract's imports and the exports that follow from the rest.
    pub(crate) world: String,
    /// A second component, with a memory of its own, that the module calls as `$help`.
    pub(crate) helper: Option<Helper>,
}

/// The second component of a composed one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Helper {
    /// Limits of its memory, in pages.
    pub(crate) memory: String,
    /// The body of its function `help: func(text: string) -> string`.
    pub(crate) help: String,
}

/// What `describe` says, unless the case has a `describe` of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Descriptor {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) schema: String,
    pub(crate) grants: Vec<String>,
    /// Fields of each phase; without them none, of the phases that the module exports.
    pub(crate) fields: BTreeMap<String, Vec<String>>,
}

impl Default for Descriptor {
    fn default() -> Self {
        Self {
            name: "hostile".to_owned(),
            version: "1.0.0".to_owned(),
            description: "A hostile component.".to_owned(),
            schema: "{}".to_owned(),
            grants: Vec::new(),
            fields: BTreeMap::new(),
        }
    }
}

/// Files that are too large, too deep or too broken to be written down.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
pub(crate) enum Generate {
    /// These bytes: `text`, then `hex`, then `zeros` of them.
    Bytes {
        #[serde(default)]
        text: String,
        #[serde(default)]
        hex: String,
        #[serde(default)]
        zeros: usize,
    },
    /// The first bytes of a good component.
    Truncated { percent: usize },
    /// A good component with one bit flipped, under the digest of the good one.
    Flipped,
    /// A good component, and behind it a custom section that makes it larger.
    Padded { bytes: usize },
    /// Components in components.
    Nested { depth: usize },
    /// Instances of one core module in one component.
    CoreInstances { count: usize },
    /// Distinct core modules in one component.
    CoreModules { count: usize },
    /// A type that doubles with each definition.
    DoublingType { definitions: usize },
    /// A core function that is slow to compile.
    SlowFunction { statements: usize },
    /// Functions that call each other, each with as many locals as there may be.
    ManyLocals { functions: usize },
}

/// What an operator says about the plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Load {
    /// Handed over as JSON.
    pub(crate) config: Value,
    /// What it may import; for a `guest`, everything unless it is said.
    pub(crate) grants: Option<Vec<String>>,
    /// Limits by the names of `[plugins.NAME.limits]`; the others are the host's defaults.
    pub(crate) limits: BTreeMap<String, u64>,
    /// `closed` unless it is said.
    pub(crate) failure_policy: Option<String>,
    /// `warm` unless it is said.
    pub(crate) mode: Option<String>,
}

/// One or more requests, one after the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// How many; the last one is judged.
    pub(crate) times: u32,
}

impl Default for Request {
    fn default() -> Self {
        let headers = BTreeMap::from([("x-hostile".to_owned(), "now".to_owned())]);
        Self { path: "/".to_owned(), headers, times: 1 }
    }
}

/// What a host does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reaction {
    /// It is not loaded; what ran before still runs.
    Refused,
    /// A limit ends the call; the failure policy answers.
    Interrupted,
    /// The call fails for what the component did or said; the failure policy answers.
    Contained,
    /// What goes beyond the contract is dropped, cut or escaped; the request is answered.
    Sanitized,
    /// It is within its rights, and does no harm.
    Allowed,
}

impl Reaction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::Contained => "contained",
            Self::Sanitized => "sanitized",
            Self::Allowed => "allowed",
        }
    }
}

/// The one reaction.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) reaction: Reaction,
    /// Classes of which the refusal or the failure must be one.
    #[serde(default)]
    pub(crate) class: Vec<String>,
    /// In the message of the refusal.
    #[serde(default)]
    pub(crate) says: String,
    /// The phase in which the call fails.
    #[serde(default = "request_phase")]
    pub(crate) phase: String,
    /// The status of the answer; 200 unless the failure policy answers.
    pub(crate) status: Option<u16>,
    /// The whole body.
    pub(crate) body: Option<String>,
    /// Headers of the answer.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers that the answer must not have.
    #[serde(default)]
    pub(crate) without: Vec<String>,
    /// At least so much was dropped and counted: `log-lines` or `series`.
    #[serde(default)]
    pub(crate) dropped: BTreeMap<String, u64>,
}

fn yes() -> bool {
    true
}

fn request_phase() -> String {
    "request".to_owned()
}

/// A file's cases.
#[derive(Debug)]
pub(crate) struct Chapter {
    /// The file's name without its extension.
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) cases: Vec<Case>,
}

/// The folder with the cases.
pub(crate) fn folder() -> PathBuf {
    pillion_tests::build::root().join("tests/hostile")
}

/// All of them, by file.
pub(crate) fn chapters() -> Vec<Chapter> {
    let entries = std::fs::read_dir(folder()).expect("the folder with the cases");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("cases");
        let file: File =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Chapter { name, about: file.about, cases: file.case }
    };
    paths.into_iter().map(read).collect()
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    chapters().into_iter().flat_map(|chapter| chapter.cases).collect()
}
