//! The exports of a component, in terms of the plugin that its instance holds. Wasm only.

use std::{cell::RefCell, marker::PhantomData, thread::LocalKey};

use crate::{
    ConfigError, Decision, Descriptor, Exported, OnComplete, OnRequest, OnResponse, Packed, Plugin,
    ResponseDecision, View as _,
    bindings::exports::pillion::plugin::{completion, lifecycle, request, response},
    config,
};

/// Where an instance keeps its plugin; empty until `configure`.
pub trait Instance: Plugin {
    /// The place, one per instance.
    fn slot() -> &'static LocalKey<RefCell<Option<Self>>>;
}

/// Implements the exported interfaces for the plugin `P`.
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

impl<P: Instance + Exported> lifecycle::Guest for Component<P> {
    fn describe() -> Descriptor {
        P::describe()
    }

    fn configure(json: String) -> Result<(), Vec<ConfigError>> {
        let plugin = config::configure::<P>(&json)?;
        P::slot().set(Some(plugin));
        Ok(())
    }
}

impl<P: Instance + OnRequest> request::Guest for Component<P> {
    #[inline]
    fn on_request(fields: Vec<u8>, ends: Vec<u32>) -> Decision {
        configured(|plugin: &mut P| {
            plugin.on_request(P::Fields::unpack(Packed::new(&fields, &ends)))
        })
    }
}

impl<P: Instance + OnResponse> response::Guest for Component<P> {
    #[inline]
    fn on_response(fields: Vec<u8>, ends: Vec<u32>) -> ResponseDecision {
        configured(|plugin: &mut P| {
            plugin.on_response(P::Fields::unpack(Packed::new(&fields, &ends)))
        })
    }
}

impl<P: Instance + OnComplete> completion::Guest for Component<P> {
    #[inline]
    fn on_complete(fields: Vec<u8>, ends: Vec<u32>) {
        configured(|plugin: &mut P| {
            plugin.on_complete(P::Fields::unpack(Packed::new(&fields, &ends)));
        });
    }
}

#[inline]
fn configured<P: Instance, R>(hook: impl FnOnce(&mut P) -> R) -> R {
    P::slot().with_borrow_mut(|slot| match slot {
        Some(plugin) => hook(plugin),
        None => unconfigured(),
    })
}

#[cold]
#[inline(never)]
#[expect(
    clippy::panic,
    reason = "nothing sensible can be done with a host that breaks the contract"
)]
fn unconfigured() -> ! {
    panic!("the host broke the contract: a hook was called before `configure` succeeded")
}
