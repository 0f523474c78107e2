//! Where a component's hooks are, for both ways of calling them.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::state::State;
use crate::wit::{v0_1, v0_1_awaiting};

/// Where a component's exports are, found once when it is loaded.
pub(crate) enum Exports {
    /// They are called.
    Direct(direct::Exports),
    /// They are awaited, because some of its imports are.
    Awaiting(awaiting::Exports),
}

impl Exports {
    /// Phases are found by name; only `lifecycle` must be there.
    pub(crate) fn of(pre: &InstancePre<State>, awaits: bool) -> wasmtime::Result<Self> {
        if awaits {
            awaiting::Exports::of(pre).map(Self::Awaiting)
        } else {
            direct::Exports::of(pre).map(Self::Direct)
        }
    }

    /// Whether there are a request, a response and a completion hook.
    pub(crate) fn phases(&self) -> [bool; 3] {
        match self {
            Self::Direct(exports) => exports.phases(),
            Self::Awaiting(exports) => exports.phases(),
        }
    }
}

/// The hooks of one instance.
pub(crate) enum Guests {
    Direct(direct::Guests),
    Awaiting(awaiting::Guests),
}

impl Guests {
    /// Those that are called.
    #[inline]
    pub(crate) fn direct(&self) -> wasmtime::Result<&direct::Guests> {
        match self {
            Self::Direct(guests) => Ok(guests),
            Self::Awaiting(_) => Err(wasmtime::format_err!("its hooks must be awaited")),
        }
    }

    /// Those that are awaited.
    pub(crate) fn awaiting(&self) -> wasmtime::Result<&awaiting::Guests> {
        match self {
            Self::Awaiting(guests) => Ok(guests),
            Self::Direct(_) => Err(wasmtime::format_err!("its hooks must be called")),
        }
    }
}

/// The two kinds differ in nothing but the generated types.
macro_rules! kind {
    ($kind:ident, $generated:ident) => {
        pub(crate) mod $kind {
            use super::$generated::exports::pillion::plugin::{
                completion, lifecycle, request, response,
            };
            use super::{InstancePre, State, Store};

            pub(crate) struct Exports {
                lifecycle: lifecycle::GuestIndices,
                request: Option<request::GuestIndices>,
                response: Option<response::GuestIndices>,
                completion: Option<completion::GuestIndices>,
            }

            impl Exports {
                pub(super) fn of(pre: &InstancePre<State>) -> wasmtime::Result<Self> {
                    Ok(Self {
                        lifecycle: lifecycle::GuestIndices::new(pre)?,
                        request: request::GuestIndices::new(pre).ok(),
                        response: response::GuestIndices::new(pre).ok(),
                        completion: completion::GuestIndices::new(pre).ok(),
                    })
                }

                pub(super) fn phases(&self) -> [bool; 3] {
                    [self.request.is_some(), self.response.is_some(), self.completion.is_some()]
                }

                pub(crate) fn load(
                    &self,
                    store: &mut Store<State>,
                    instance: &wasmtime::component::Instance,
                ) -> wasmtime::Result<Guests> {
                    let (request, response) = (self.request.as_ref(), self.response.as_ref());
                    let completion = self.completion.as_ref();
                    Ok(Guests {
                        lifecycle: self.lifecycle.load(&mut *store, instance)?,
                        request: request.map(|at| at.load(&mut *store, instance)).transpose()?,
                        response: response.map(|at| at.load(&mut *store, instance)).transpose()?,
                        completion: completion
                            .map(|at| at.load(&mut *store, instance))
                            .transpose()?,
                    })
                }
            }

            pub(crate) struct Guests {
                pub(crate) lifecycle: lifecycle::Guest,
                pub(crate) request: Option<request::Guest>,
                pub(crate) response: Option<response::Guest>,
                pub(crate) completion: Option<completion::Guest>,
            }
        }
    };
}

kind!(direct, v0_1);
kind!(awaiting, v0_1_awaiting);
