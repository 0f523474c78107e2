//! The contract as Rust types, one module per released version of `wit/`.

/// `pillion:plugin@0.1.0`. The types and exports of the world are generated from the WIT files;
/// the imports are defined by hand in `host_calls/`, which lets them read the guest's memory
/// without copying.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "generated from wit/v0.1, where every item is documented; what is expected of \
              generated code differs between clippy and rustc"
)]
pub(crate) mod v0_1 {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "plugin",
    });
}
