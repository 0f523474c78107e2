//! `crypto`: signatures checked with keys that stay in the host.

use wasmtime::component::{LinkerInstance, WasmList, WasmStr};

use super::enter;
use crate::keyring;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::crypto::{Algorithm, VerifyError};

type Verify = (WasmStr, WasmStr, Algorithm, WasmList<u8>, WasmList<u8>);

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("verify", |mut store, (keyset, kid, algorithm, message, signature): Verify| {
        enter(&mut store)?;
        let keyset = keyset.to_str(&store)?;
        let kid = kid.to_str(&store)?;
        let granted = &store.data().granted;
        if !granted.keysets.iter().any(|name| *name == *keyset) {
            return Ok((Err(VerifyError::NotGranted),));
        }
        let algorithm = match algorithm {
            Algorithm::Ed25519 => keyring::Algorithm::Ed25519,
            Algorithm::HmacSha256 => keyring::Algorithm::HmacSha256,
        };
        let message = message.as_le_slice(&store);
        let signature = signature.as_le_slice(&store);
        let verified = granted.keyring.verify(&keyset, &kid, algorithm, message, signature);
        Ok((verified.map_err(|error| match error {
            keyring::VerifyError::UnknownKey => VerifyError::UnknownKey,
            keyring::VerifyError::WrongAlgorithm => VerifyError::WrongAlgorithm,
            keyring::VerifyError::BadSignature => VerifyError::BadSignature,
        }),))
    })
}
