//! Components by digest, and their machine code: compiled once under limits, kept with a MAC.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::process::{Resource, Rlimit};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::crash;
use crate::engine;
use crate::error::{HostError, LoadErrorReason};
use crate::spec::Digest;
use crate::text;

/// What one compilation may use, for each 8 MiB of the component or part of it: a 140 kB
/// component takes 0.3 s, a 12 MB one 17 s of CPU time. Larger ones than 8 MiB are compiled
/// only where the operator has raised `component_bytes`.
const COMPILE_CPU_SECONDS_MAX: u64 = 10;
const COMPILE_BYTES_MAX: u64 = 1 << 30;
const COMPILE_SHARE_BYTES: u64 = 8 << 20;

/// Wall-clock time, for a child that waits instead of computing.
const COMPILE_DEADLINE: Duration = Duration::from_mins(2);

/// How often a running compilation is looked at.
const COMPILE_POLL: Duration = Duration::from_millis(2);

const MAC_BYTES: usize = 32;

/// Of what the compiler has to say.
const SAID_BYTES_MAX: usize = 1 << 10;

/// How components become machine code.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// In this process. Compilation is outside wasmtime's security promises: only for
    /// components that you made yourself.
    #[default]
    InProcess,
    /// In a child process with limits on CPU time and memory: this command, called with two
    /// more arguments, an input and an output path. It must call [`compile_in_child`].
    Child {
        /// The program, usually the host's own.
        program: PathBuf,
        /// What comes before the two paths.
        arguments: Vec<String>,
    },
}

/// The artefacts of one host.
#[derive(Debug)]
pub(crate) struct Artifacts {
    components: PathBuf,
    machine_code: PathBuf,
    key: hmac::Key,
    engine: Engine,
    /// In the name of each file, so that another wasmtime or processor compiles anew.
    engine_hash: u64,
    compiler: Compiler,
    /// One compilation at a time: it takes whole cores.
    compiling: Mutex<()>,
}

impl Artifacts {
    pub(crate) fn open(
        folder: &Path,
        engine: Engine,
        compiler: Compiler,
    ) -> Result<Self, HostError> {
        let components = folder.join("components");
        let machine_code = folder.join("machine-code");
        for folder in [&components, &machine_code] {
            fs::create_dir_all(folder).map_err(|source| HostError::Io {
                what: format!("cannot make {}", folder.display()),
                source,
            })?;
        }
        let key_path = folder.join("machine-code.key");
        let secret = secret(&key_path).map_err(|source| HostError::Io {
            what: format!("cannot read or make {}", key_path.display()),
            source,
        })?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            components,
            machine_code,
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            engine,
            engine_hash: hasher.finish(),
            compiler,
            compiling: Mutex::new(()),
        })
    }

    fn component_path(&self, digest: &Digest) -> PathBuf {
        self.components.join(format!("{}.wasm", digest.hex()))
    }

    fn machine_code_path(&self, digest: &Digest) -> PathBuf {
        self.machine_code.join(format!("{}-{:016x}.cwasm", digest.hex(), self.engine_hash))
    }

    /// Keeps a component under its digest. One that is there and damaged is replaced.
    pub(crate) fn keep(&self, digest: &Digest, component: &[u8]) -> Result<(), LoadErrorReason> {
        let path = self.component_path(digest);
        if self.component(digest).is_ok() {
            return Ok(());
        }
        crash::point("component.keep.before");
        write_durably(&path, component).map_err(|source| LoadErrorReason::Store {
            what: format!("cannot keep the component at {}", path.display()),
            source,
        })?;
        crash::point("component.keep.after");
        Ok(())
    }

    /// The kept component, checked against its digest.
    pub(crate) fn component(&self, digest: &Digest) -> Result<Vec<u8>, LoadErrorReason> {
        let path = self.component_path(digest);
        let bytes =
            fs::read(&path).map_err(|source| LoadErrorReason::Read { path, source, hint: "" })?;
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(bytes)
        } else {
            Err(LoadErrorReason::Digest { expected: *digest, found })
        }
    }

    /// Removes what none of `wanted` needs any more.
    pub(crate) fn retain(&self, wanted: &std::collections::BTreeSet<String>) {
        for folder in [&self.components, &self.machine_code] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in entries {
                let name = entry.file_name();
                let digest = name.to_string_lossy();
                let digest = digest.split(['.', '-']).next().unwrap_or_default();
                if !wanted.contains(digest)
                    && let Err(error) = fs::remove_file(entry.path())
                {
                    tracing::warn!(path = %entry.path().display(), %error, "cannot remove an old artefact");
                }
            }
        }
    }

    /// The component as machine code: from the cache, or compiled now and cached.
    pub(crate) fn load(&self, digest: &Digest, bytes: &[u8]) -> Result<Component, LoadErrorReason> {
        let path = self.machine_code_path(digest);
        if let Some(component) = self.cached(&path) {
            return Ok(component);
        }
        let _one = self.compiling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Another thread may have compiled it while this one waited.
        if let Some(component) = self.cached(&path) {
            return Ok(component);
        }
        what_it_is(bytes)?;
        let code = self.compile(digest, bytes)?;
        let mut file = hmac::sign(&self.key, &Self::signed(&path, &code)).as_ref().to_vec();
        file.extend_from_slice(&code);
        if let Err(error) = write_durably(&path, &file) {
            // Only slower: it is compiled again at the next start.
            tracing::warn!(path = %path.display(), %error, "cannot cache machine code");
        }
        self.deserialize(&code).map_err(|error| LoadErrorReason::Compile(format!("{error:#}")))
    }

    /// What the MAC is over: the file's name too, or one component's code could be passed off
    /// as another's.
    fn signed(path: &Path, code: &[u8]) -> Vec<u8> {
        let mut signed = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        signed.push(0);
        signed.extend_from_slice(code);
        signed
    }

    fn cached(&self, path: &Path) -> Option<Component> {
        let file = fs::read(path).ok()?;
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        if hmac::verify(&self.key, &Self::signed(path, code), mac).is_err() {
            tracing::warn!(path = %path.display(), "cached machine code is damaged; it is compiled anew");
            return None;
        }
        match self.deserialize(code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached machine code does not load; it is compiled anew");
                None
            }
        }
    }

    #[expect(
        unsafe_code,
        reason = "machine code is trusted only here: its MAC, by a key of this host's own, was \
                  checked over these very bytes, or the compiler has just made them"
    )]
    fn deserialize(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: `code` was made by this engine's compiler and not changed since, see above.
        unsafe { Component::deserialize(&self.engine, code) }
    }

    fn compile(&self, digest: &Digest, bytes: &[u8]) -> Result<Vec<u8>, LoadErrorReason> {
        match &self.compiler {
            Compiler::InProcess => {
                precompile(&self.engine, bytes).map_err(LoadErrorReason::Compile)
            }
            Compiler::Child { program, arguments } => {
                let stem = self.machine_code.join(format!("{}.compiling", digest.hex()));
                let (input, output) = (stem.with_extension("in"), stem.with_extension("out"));
                let compiled = in_child(program, arguments, bytes, &input, &output);
                for path in [&input, &output] {
                    // It may not have come into being.
                    let _missing = fs::remove_file(path);
                }
                compiled
            }
        }
    }
}

fn in_child(
    program: &Path,
    arguments: &[String],
    bytes: &[u8],
    input: &Path,
    output: &Path,
) -> Result<Vec<u8>, LoadErrorReason> {
    let store = |what: &str| {
        let what = format!("{what} {}", input.display());
        move |source| LoadErrorReason::Store { what, source }
    };
    fs::write(input, bytes).map_err(store("cannot write"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .args([input, output])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(store("cannot start the compiler for"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(store("cannot wait for the compiler of"))? {
            Some(status) => break status,
            None if started.elapsed() > COMPILE_DEADLINE => {
                child.kill().map_err(store("cannot end the compiler of"))?;
                child.wait().map_err(store("cannot wait for the compiler of"))?;
                return Err(LoadErrorReason::Compile(format!(
                    "it was not done after {} s",
                    COMPILE_DEADLINE.as_secs()
                )));
            }
            None => std::thread::sleep(COMPILE_POLL),
        }
    };
    if status.success() {
        return fs::read(output).map_err(store("cannot read the machine code of"));
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        io::Read::read_to_string(&mut stderr, &mut said)
            .map_err(store("cannot read what the compiler says of"))?;
    }
    let said = said.trim();
    Err(LoadErrorReason::Compile(if said.is_empty() {
        let shares = compile_shares(bytes);
        format!(
            "the compiler was ended ({status}): it took over {} s of CPU time or {} GiB of memory",
            COMPILE_CPU_SECONDS_MAX * shares,
            (COMPILE_BYTES_MAX * shares) >> 30
        )
    } else {
        said.to_owned()
    }))
}

/// What the command of [`Compiler::Child`] does: limits itself, compiles `input` and writes the
/// machine code to `output`.
///
/// # Errors
///
/// What is wrong with the component, or what the system refused; for standard error.
pub fn compile_in_child(input: &Path, output: &Path) -> Result<(), String> {
    let limit = |resource, most| {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit)
            .map_err(|error| format!("cannot limit the compiler: {error}"))
    };
    let bytes = fs::read(input).map_err(|error| error.to_string())?;
    limit(Resource::Cpu, COMPILE_CPU_SECONDS_MAX * compile_shares(&bytes))?;
    limit(Resource::As, COMPILE_BYTES_MAX * compile_shares(&bytes))?;
    let engine = engine::compiling().map_err(|error| error.to_string())?;
    // What a panic says becomes the error below; the parent shows that and nothing else.
    std::panic::set_hook(Box::new(|_| {}));
    let code = precompile(&engine, &bytes)?;
    fs::write(output, code).map_err(|error| error.to_string())
}

/// Compiles a component. A compiler that panics over it has refused it like one that returns an
/// error: neither this process nor a child may end by it.
fn precompile(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let compiled = catch_unwind(AssertUnwindSafe(|| engine.precompile_component(bytes)));
    // The parent reads it when the child is done: a pipe holds 64 KiB.
    let said = |text: &str| text::printable(text, SAID_BYTES_MAX).into_owned();
    match compiled {
        Ok(compiled) => compiled.map_err(|error| said(&format!("{error:#}"))),
        Err(panic) => {
            let message = (panic.downcast_ref::<&str>().copied())
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let message = said(message.unwrap_or("no message"));
            Err(format!("the compiler panicked ({message}); please report this"))
        }
    }
}

fn compile_shares(component: &[u8]) -> u64 {
    (component.len() as u64).div_ceil(COMPILE_SHARE_BYTES).max(1)
}

/// Says clearly what was handed in when it is no component, before the compiler does so less
/// clearly.
fn what_it_is(bytes: &[u8]) -> Result<(), LoadErrorReason> {
    let wrong = |text: &str| Err(LoadErrorReason::NotAComponent(text.to_owned()));
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([0x0d, 0, 1, 0])) => Ok(()),
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => {
            wrong("is a core module, not a component; build it for the target wasm32-wasip2")
        }
        (Some(b"\x7fELF"), _) => wrong(
            "is native or precompiled code, which is never loaded; hand in the .wasm component",
        ),
        (Some(b"\0asm"), None) => wrong("is truncated: it ends within its header"),
        (None, _) if bytes.is_empty() => wrong("is an empty file"),
        _ => wrong("is not WebAssembly: it does not begin with `\\0asm`"),
    }
}

fn secret(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(secret) if secret.len() == MAC_BYTES => return Ok(secret),
        // Damaged: with a new key every cached file fails its check and is compiled anew.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut secret = vec![0; MAC_BYTES];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    write_durably(path, &secret)?;
    Ok(secret)
}

/// Writes a file so that after a crash it is there whole or not at all: a temporary file, its
/// sync, a rename, the folder's sync. Readable by its owner only.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // What could not be written whole must not take the room that ran out.
        let _missing = fs::remove_file(&temporary);
        return Err(error);
    }
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
