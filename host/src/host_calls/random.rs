//! `random`: the operating system's generator.

use ring::rand::{SecureRandom as _, SystemRandom};
use wasmtime::component::LinkerInstance;

use super::enter;
use crate::state::State;

/// Most bytes of one call.
const BYTES_MAX: u32 = 4_096;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("bytes", |mut store, (len,): (u32,)| {
        enter(&mut store)?;
        Ok((bytes(u64::from(len))?,))
    })
}

/// `len` random bytes, or a trap when that is too many.
pub(super) fn bytes(len: u64) -> wasmtime::Result<Vec<u8>> {
    wasmtime::ensure!(
        len <= u64::from(BYTES_MAX),
        "asked for {len} random bytes; the most is {BYTES_MAX}"
    );
    let mut out = vec![0; usize::try_from(len)?];
    SystemRandom::new()
        .fill(&mut out)
        .map_err(|_| wasmtime::format_err!("the system gives no random numbers"))?;
    Ok(out)
}
