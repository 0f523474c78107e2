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

/// The same exports as functions that are awaited, for plugins whose imports await. Types are
/// those of [`v0_1`].
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "generated, like v0_1"
)]
pub(crate) mod v0_1_awaiting {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "plugin",
        exports: { default: async },
        with: {
            "pillion:plugin/types": crate::wit::v0_1::pillion::plugin::types,
            "pillion:plugin/current": crate::wit::v0_1::pillion::plugin::current,
            "pillion:plugin/log": crate::wit::v0_1::pillion::plugin::log,
            "pillion:plugin/sink": crate::wit::v0_1::pillion::plugin::sink,
            "pillion:plugin/kv": crate::wit::v0_1::pillion::plugin::kv,
            "pillion:plugin/limiter": crate::wit::v0_1::pillion::plugin::limiter,
            "pillion:plugin/metrics": crate::wit::v0_1::pillion::plugin::metrics,
            "pillion:plugin/clock": crate::wit::v0_1::pillion::plugin::clock,
            "pillion:plugin/random": crate::wit::v0_1::pillion::plugin::random,
            "pillion:plugin/crypto": crate::wit::v0_1::pillion::plugin::crypto,
        },
    });
}
