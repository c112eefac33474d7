//! What a policy is told, and what it decides.

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        world: "policy",
        path: "wit",
        with: { "wasi:logging/logging@0.1.0-draft": crate::handler::bindings::wasi::logging::logging },
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "tidegate_guest::policy::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::exports::tidegate::plugin::scaling::{Decision, Guest, Observation};

/// Makes a component of two functions, `fn(Settings, Option<&[u8]>) -> Result<Vec<u8>, String>` and
/// `fn(&Observation, Vec<u8>) -> Decision`: a policy. A setting that is there twice is refused before the first is
/// called.
#[macro_export]
macro_rules! policy {
    ($init:path, $decide:path) => {
        const _: () = {
            struct Component;

            impl $crate::policy::Guest for Component {
                fn init(
                    settings: ::std::vec::Vec<(::std::string::String, ::std::string::String)>,
                    previous: ::core::option::Option<::std::vec::Vec<u8>>,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    $crate::start();
                    $init($crate::Settings::new(settings)?, previous.as_deref())
                }

                fn decide(seen: $crate::policy::Observation, state: ::std::vec::Vec<u8>) -> $crate::policy::Decision {
                    $crate::start();
                    $decide(&seen, state)
                }
            }

    $crate::policy::bindings::export!(Component with_types_in $crate::policy::bindings);
        };
    };
}
