//! The part of WASI 0.2 that a standard library links: no files, network, environment or
//! arguments; output goes to the plugin's log. Never `wasmtime-wasi`: what is not there cannot
//! be misused.

use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use super::{NotGranted, clock, enter, log, random};
use crate::spec::Grants;
use crate::state::State;
use crate::text::printable;
use crate::wit::v0_1::pillion::plugin::log::Level;

/// The interfaces, each with what defines it.
const INTERFACES: [(&str, super::Define); 18] = [
    ("wasi:io/error", io_error),
    ("wasi:io/poll", io_poll),
    ("wasi:io/streams", io_streams),
    ("wasi:cli/environment", cli_environment),
    ("wasi:cli/exit", cli_exit),
    ("wasi:cli/stdin", cli_stdin),
    ("wasi:cli/stdout", cli_stdout),
    ("wasi:cli/stderr", cli_stderr),
    ("wasi:cli/terminal-input", terminal_input),
    ("wasi:cli/terminal-output", terminal_output),
    ("wasi:cli/terminal-stdin", terminal_stdin),
    ("wasi:cli/terminal-stdout", terminal_stdout),
    ("wasi:cli/terminal-stderr", terminal_stderr),
    ("wasi:clocks/monotonic-clock", monotonic_clock),
    ("wasi:clocks/wall-clock", wall_clock),
    ("wasi:random/random", random_random),
    ("wasi:random/insecure", random_random),
    ("wasi:random/insecure-seed", insecure_seed),
];

/// What takes the place of those that show the time and random numbers where they are not granted.
/// `insecure-seed` stays what it is: standard libraries seed their hash maps with it, and a seed
/// that is known beforehand would let a client flood them.
const DENIED: [(&str, super::Define); 4] = [
    ("wasi:clocks/monotonic-clock", frozen_monotonic_clock),
    ("wasi:clocks/wall-clock", frozen_wall_clock),
    ("wasi:random/random", denied_random),
    ("wasi:random/insecure", denied_random),
];

/// A plugin's line on standard output is cut here.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Lines that the message about a failure repeats, and what is kept of each.
const PRINTED_LINES_MAX: usize = 2;
const PRINTED_BYTES_MAX: usize = 256;

/// What `check-write` allows at once.
const WRITE_BYTES_MAX: u64 = 4_096;

/// Raised by `exit`: a plugin has no process to end.
#[derive(Debug, thiserror::Error)]
#[error("it called exit")]
pub(crate) struct Exited;

/// Host resources of these types carry no data: a handle's number says all.
#[derive(Debug)]
struct IoError;
#[derive(Debug)]
struct Pollable;
#[derive(Debug)]
struct InputStream;
#[derive(Debug)]
struct OutputStream;
#[derive(Debug)]
struct TerminalInput;
#[derive(Debug)]
struct TerminalOutput;

#[derive(ComponentType, Lower, Lift)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower, Lift)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl Datetime {
    fn of_micros(micros: u64) -> Self {
        let nanoseconds = u32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
        Self { seconds: micros / 1_000_000, nanoseconds }
    }
}

/// The name of `import` without its version, when that is one of 0.2.
fn unversioned(import: &str) -> Option<&str> {
    let (name, version) = import.split_once('@')?;
    version.starts_with("0.2.").then_some(name)
}

/// Whether plugins get this interface.
pub(super) fn allowed(import: &str) -> bool {
    unversioned(import).is_some_and(|name| INTERFACES.iter().any(|(known, _)| *known == name))
}

/// Defines it under the version that the component asks for. The grants `clock` and `random` hold
/// for these imports as well: what an operator denies is not there under another name.
pub(super) fn define(
    linker: &mut Linker<State>,
    import: &str,
    grants: &Grants,
) -> wasmtime::Result<()> {
    let name = unversioned(import);
    let denied: &[(&str, super::Define)] = match (grants.clock, grants.random) {
        (true, true) => &[],
        (false, true) => &DENIED[..2],
        (true, false) => &DENIED[2..],
        (false, false) => &DENIED,
    };
    let found = denied.iter().chain(&INTERFACES).find(|(known, _)| name == Some(known));
    match found {
        Some((_, define)) => define(&mut linker.instance(import)?),
        None => Ok(()),
    }
}

fn resource<T: 'static>(
    linker: &mut LinkerInstance<'_, State>,
    name: &str,
) -> wasmtime::Result<()> {
    linker.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}

fn io_error(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    resource::<IoError>(linker, "error")?;
    linker.func_wrap("[method]error.to-debug-string", |_, (_,): (Resource<IoError>,)| {
        Ok((String::from("closed"),))
    })
}

fn io_poll(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    resource::<Pollable>(linker, "pollable")?;
    linker.func_wrap("[method]pollable.ready", |mut store, (_,): (Resource<Pollable>,)| {
        enter(&mut store)?;
        Ok((true,))
    })?;
    linker.func_wrap("[method]pollable.block", |mut store, (_,): (Resource<Pollable>,)| {
        enter(&mut store)?;
        Ok(())
    })?;
    linker.func_wrap("poll", |mut store, (all,): (Vec<Resource<Pollable>>,)| {
        enter(&mut store)?;
        let ready: Vec<u32> = (0..).take(all.len()).collect();
        Ok((ready,))
    })
}

fn io_streams(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    resource::<InputStream>(linker, "input-stream")?;
    resource::<OutputStream>(linker, "output-stream")?;
    for name in ["read", "blocking-read"] {
        linker.func_wrap(
            &format!("[method]input-stream.{name}"),
            |mut store, (_, _): (Resource<InputStream>, u64)| {
                enter(&mut store)?;
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            },
        )?;
    }
    for name in ["skip", "blocking-skip"] {
        linker.func_wrap(
            &format!("[method]input-stream.{name}"),
            |mut store, (_, _): (Resource<InputStream>, u64)| {
                enter(&mut store)?;
                Ok((Err::<u64, _>(StreamError::Closed),))
            },
        )?;
    }
    linker.func_wrap("[method]input-stream.subscribe", |_, (_,): (Resource<InputStream>,)| {
        Ok((Resource::<Pollable>::new_own(0),))
    })?;
    linker.func_wrap(
        "[method]output-stream.check-write",
        |mut store, (_,): (Resource<OutputStream>,)| {
            enter(&mut store)?;
            Ok((Ok::<u64, StreamError>(WRITE_BYTES_MAX),))
        },
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        linker.func_wrap(
            &format!("[method]output-stream.{name}"),
            |mut store: StoreContextMut<'_, State>,
             (_, bytes): (Resource<OutputStream>, Vec<u8>)| {
                wasmtime::ensure!(
                    bytes.len() as u64 <= WRITE_BYTES_MAX,
                    "wrote more than `check-write` allows"
                );
                write(enter(&mut store)?, &bytes);
                Ok((Ok::<(), StreamError>(()),))
            },
        )?;
    }
    for name in ["write-zeroes", "blocking-write-zeroes-and-flush"] {
        linker.func_wrap(
            &format!("[method]output-stream.{name}"),
            |mut store, (_, _): (Resource<OutputStream>, u64)| {
                enter(&mut store)?;
                Ok((Ok::<(), StreamError>(()),))
            },
        )?;
    }
    for name in ["flush", "blocking-flush"] {
        linker.func_wrap(
            &format!("[method]output-stream.{name}"),
            |mut store, (_,): (Resource<OutputStream>,)| {
                enter(&mut store)?;
                Ok((Ok::<(), StreamError>(()),))
            },
        )?;
    }
    for name in ["splice", "blocking-splice"] {
        linker.func_wrap(
            &format!("[method]output-stream.{name}"),
            |mut store, (_, _, _): (Resource<OutputStream>, Resource<InputStream>, u64)| {
                enter(&mut store)?;
                Ok((Err::<u64, _>(StreamError::Closed),))
            },
        )?;
    }
    linker.func_wrap("[method]output-stream.subscribe", |_, (_,): (Resource<OutputStream>,)| {
        Ok((Resource::<Pollable>::new_own(0),))
    })
}

/// Whole lines go to the log; what is left waits for its end, cut at a bound.
fn write(state: &mut State, bytes: &[u8]) {
    let mut stdio = std::mem::take(&mut state.stdio);
    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
        let room = LINE_BYTES_MAX.saturating_sub(stdio.len());
        stdio.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        if part.ends_with(b"\n") {
            let line = String::from_utf8_lossy(&stdio);
            remember(state, line.trim_end());
            log::write(state, Level::Info, line.trim_end());
            stdio.clear();
        }
    }
    state.stdio = stdio;
}

/// Keeps a line for the message about a failure that may follow.
fn remember(state: &mut State, line: &str) {
    // The last line of every panic of a Rust guest, and no help here.
    if line.trim().is_empty() || line.starts_with("note: run with `RUST_BACKTRACE=1`") {
        return;
    }
    if state.printed.len() >= PRINTED_LINES_MAX {
        state.printed.remove(0);
    }
    state.printed.push(printable(line, PRINTED_BYTES_MAX).into_owned());
}

/// Logs what a hook printed without a line feed behind it, before another request's output.
pub(crate) fn flush(state: &mut State) {
    if !state.stdio.is_empty() {
        write(state, b"\n");
    }
}

fn cli_environment(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-environment", |_, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    linker.func_wrap("get-arguments", |_, (): ()| Ok((Vec::<String>::new(),)))?;
    linker.func_wrap("initial-cwd", |_, (): ()| Ok((None::<String>,)))
}

fn cli_exit(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("exit", |_, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(Exited))
    })
}

fn cli_stdin(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-stdin", |_, (): ()| Ok((Resource::<InputStream>::new_own(0),)))
}

fn cli_stdout(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-stdout", |_, (): ()| Ok((Resource::<OutputStream>::new_own(1),)))
}

fn cli_stderr(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-stderr", |_, (): ()| Ok((Resource::<OutputStream>::new_own(2),)))
}

fn terminal_input(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    resource::<TerminalInput>(linker, "terminal-input")
}

fn terminal_output(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    resource::<TerminalOutput>(linker, "terminal-output")
}

fn terminal_stdin(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-terminal-stdin", |_, (): ()| Ok((None::<Resource<TerminalInput>>,)))
}

fn terminal_stdout(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-terminal-stdout", |_, (): ()| Ok((None::<Resource<TerminalOutput>>,)))
}

fn terminal_stderr(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get-terminal-stderr", |_, (): ()| Ok((None::<Resource<TerminalOutput>>,)))
}

fn monotonic_clock(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |mut store, (): ()| {
        enter(&mut store)?;
        Ok((clock::monotonic_ns(),))
    })?;
    linker.func_wrap("resolution", |_, (): ()| Ok((1_u64,)))?;
    subscriptions(linker)
}

/// Without the grant `clock` time stands still during a hook, at the request's arrival: what the
/// field `time` says anyway, and nothing that could time the host or other requests.
fn frozen_monotonic_clock(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |mut store, (): ()| {
        Ok((enter(&mut store)?.frozen_us().saturating_mul(1_000),))
    })?;
    linker.func_wrap("resolution", |_, (): ()| Ok((1_000_000_u64,)))?;
    subscriptions(linker)
}

fn frozen_wall_clock(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |mut store, (): ()| {
        Ok((Datetime::of_micros(enter(&mut store)?.frozen_us()),))
    })?;
    linker.func_wrap("resolution", |_, (): ()| Ok((Datetime { seconds: 1, nanoseconds: 0 },)))
}

/// Without the grant `random` the call traps: numbers that are the same each time would be worse
/// than none for whoever makes a secret of them.
fn denied_random(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    for prefix in ["", "insecure-"] {
        let bytes = format!("get-{prefix}random-bytes");
        let name = bytes.clone();
        linker.func_wrap(&bytes, move |_, (_,): (u64,)| -> wasmtime::Result<(Vec<u8>,)> {
            Err(wasmtime::Error::new(NotGranted::new("wasi:random", &name)))
        })?;
        let number = format!("get-{prefix}random-u64");
        let name = number.clone();
        linker.func_wrap(&number, move |_, (): ()| -> wasmtime::Result<(u64,)> {
            Err(wasmtime::Error::new(NotGranted::new("wasi:random", &name)))
        })?;
    }
    Ok(())
}

fn subscriptions(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    // Nothing waits inside a hook: a pollable is ready at once, and the deadline does the rest.
    linker.func_wrap("subscribe-instant", |_, (_,): (u64,)| {
        Ok((Resource::<Pollable>::new_own(0),))
    })?;
    linker
        .func_wrap("subscribe-duration", |_, (_,): (u64,)| Ok((Resource::<Pollable>::new_own(0),)))
}

fn wall_clock(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |mut store, (): ()| {
        enter(&mut store)?;
        Ok((Datetime::of_micros(clock::now_us()),))
    })?;
    linker.func_wrap("resolution", |_, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1_000 },)))
}

fn random_random(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    for prefix in ["", "insecure-"] {
        linker.func_wrap(&format!("get-{prefix}random-bytes"), |mut store, (len,): (u64,)| {
            enter(&mut store)?;
            Ok((random::bytes(len)?,))
        })?;
        linker.func_wrap(&format!("get-{prefix}random-u64"), |mut store, (): ()| {
            enter(&mut store)?;
            Ok((random_u64()?,))
        })?;
    }
    Ok(())
}

fn insecure_seed(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("insecure-seed", |mut store, (): ()| {
        enter(&mut store)?;
        Ok(((random_u64()?, random_u64()?),))
    })
}

fn random_u64() -> wasmtime::Result<u64> {
    let bytes = random::bytes(8)?;
    Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}
