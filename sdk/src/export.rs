//! From a plugin to the exports of a component.

use schemars::SchemaGenerator;

use crate::{Descriptor, OnComplete, OnRequest, OnResponse, Plugin, View};

/// A plugin for which [`export!`](crate::export!) was written.
pub trait Exported: Plugin {
    /// What the component says of itself when it is loaded.
    fn describe() -> Descriptor;
}

/// Makes a component of a plugin. Lists the phases that it takes part in, out of `request`,
/// `response` and `completion`; the others are not exported and cost nothing.
///
/// The plugin's name, version and description are those of its package, the name without
/// `pillion-plugin-` in front.
#[macro_export]
macro_rules! export {
    ($plugin:ident: $($phase:ident),+ $(,)?) => {
        impl $crate::Exported for $plugin {
            fn describe() -> $crate::Descriptor {
                const NAME: &str = $crate::__private::plugin_name(env!("CARGO_PKG_NAME"));
                let mut descriptor = $crate::__private::descriptor::<$plugin>(
                    NAME,
                    env!("CARGO_PKG_VERSION"),
                    env!("CARGO_PKG_DESCRIPTION"),
                );
                $( $crate::__private::$phase::<$plugin>(&mut descriptor); )+
                descriptor
            }
        }

        $( $crate::__check_phase!($phase $plugin); )+

        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<Option<$plugin>> =
                    const { ::std::cell::RefCell::new(None) };
            }

            impl $crate::__private::Instance for $plugin {
                fn slot() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<Option<Self>>> {
                    &PLUGIN
                }
            }

            type Component = $crate::__private::Component<$plugin>;
            $crate::__export_phase!(lifecycle Component);
            $( $crate::__export_phase!($phase Component); )+
        };
    };
}

/// Fails to compile when a view asks for a field that its phase does not have.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_phase {
    (request $plugin:ident) => {
        $crate::__check_phase!(OnRequest, Request, $plugin);
    };
    (response $plugin:ident) => {
        $crate::__check_phase!(OnResponse, Response, $plugin);
    };
    (completion $plugin:ident) => {
        $crate::__check_phase!(OnComplete, Completion, $plugin);
    };
    ($trait:ident, $phase:ident, $plugin:ident) => {
        const _: () = $crate::__private::check_phase(
            <<$plugin as $crate::$trait>::Fields<'static> as $crate::View<'static>>::NAMES,
            $crate::__private::Phase::$phase,
        );
    };
    ($other:ident $plugin:ident) => {
        compile_error!("the phases are `request`, `response` and `completion`");
    };
}

/// Exports one interface: its functions, and the section that makes it part of the component.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_phase {
    (lifecycle $component:ident) => {
        $crate::__export_phase!(
            $component,
            lifecycle,
            __export_pillion_plugin_lifecycle_0_1_0_cabi,
            LIFECYCLE_WORLD,
            "component-type:pillion-plugin:lifecycle"
        );
    };
    (request $component:ident) => {
        $crate::__export_phase!(
            $component,
            request,
            __export_pillion_plugin_request_0_1_0_cabi,
            REQUEST_WORLD,
            "component-type:pillion-plugin:request"
        );
    };
    (response $component:ident) => {
        $crate::__export_phase!(
            $component,
            response,
            __export_pillion_plugin_response_0_1_0_cabi,
            RESPONSE_WORLD,
            "component-type:pillion-plugin:response"
        );
    };
    (completion $component:ident) => {
        $crate::__export_phase!(
            $component,
            completion,
            __export_pillion_plugin_completion_0_1_0_cabi,
            COMPLETION_WORLD,
            "component-type:pillion-plugin:completion"
        );
    };
    ($component:ident, $interface:ident, $cabi:ident, $world:ident, $section:literal) => {
        const _: () = {
            use $crate::__private::bindings::exports::pillion::plugin::$interface;
    $crate::$cabi!($component with_types_in $interface);

            #[used]
            #[unsafe(link_section = $section)]
            static WORLD: [u8; $crate::__private::bindings::$world.len()] =
                $crate::__private::bindings::$world;
        };
    };
}

/// The name of a plugin from that of its package, checked against the contract's rule.
///
/// # Panics
/// With the reason, which the compiler then shows.
pub const fn plugin_name(package: &'static str) -> &'static str {
    let name = match package.as_bytes().split_at_checked(PREFIX.len()) {
        Some((head, tail)) if equal(head, PREFIX) && !tail.is_empty() => {
            package.split_at(PREFIX.len()).1
        }
        _ => package,
    };
    assert!(name.len() <= NAME_BYTES_MAX, "a plugin's name has at most 64 bytes");
    let mut rest = name.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        assert!(
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-',
            "a plugin's package name consists of a-z, 0-9 and -"
        );
        rest = tail;
    }
    name
}

const PREFIX: &[u8] = b"pillion-plugin-";

/// The contract's bound of a plugin's name.
const NAME_BYTES_MAX: usize = 64;

const fn equal(mut a: &[u8], mut b: &[u8]) -> bool {
    while let (Some((x, a_tail)), Some((y, b_tail))) = (a.split_first(), b.split_first()) {
        if *x != *y {
            return false;
        }
        a = a_tail;
        b = b_tail;
    }
    a.is_empty() && b.is_empty()
}

/// A descriptor without phases.
pub fn descriptor<P: Plugin>(name: &str, version: &str, description: &str) -> Descriptor {
    let schema = SchemaGenerator::default().into_root_schema_for::<P::Config>();
    Descriptor {
        name: name.to_owned(),
        version: version.to_owned(),
        description: description.to_owned(),
        request: None,
        response: None,
        completion: None,
        grants: owned(P::GRANTS),
        config_schema: schema.as_value().to_string(),
    }
}

/// Adds the request phase.
pub fn request<P: OnRequest>(descriptor: &mut Descriptor) {
    descriptor.request = Some(owned(<P::Fields<'static> as View<'static>>::NAMES));
}

/// Adds the response phase.
pub fn response<P: OnResponse>(descriptor: &mut Descriptor) {
    descriptor.response = Some(owned(<P::Fields<'static> as View<'static>>::NAMES));
}

/// Adds the completion phase.
pub fn completion<P: OnComplete>(descriptor: &mut Descriptor) {
    descriptor.completion = Some(owned(<P::Fields<'static> as View<'static>>::NAMES));
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_prefix() {
        assert_eq!(plugin_name("pillion-plugin-auth"), "auth");
        assert_eq!(plugin_name("pillion-plugin-"), "pillion-plugin-");
        assert_eq!(plugin_name("greeter-2"), "greeter-2");
    }

    #[test]
    #[should_panic(expected = "consists of a-z, 0-9 and -")]
    fn a_name_with_an_underscore_is_refused() {
        plugin_name("my_plugin");
    }
}
