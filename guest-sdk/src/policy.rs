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

/// Whether a limit of the workload, and not the number of its workers, is what keeps messages waiting: its rate, its
/// number of deliveries in handlers at once, or its breaker. More workers would have nothing to do then.
///
/// Needs a host of version 0.1.2 of the contract. In tests it is what [`testing::limited`](crate::testing::limited)
/// said.
#[must_use]
pub fn limited() -> bool {
    #[cfg(target_family = "wasm")]
    let limited = bindings::tidegate::plugin::signals::limited();
    #[cfg(not(target_family = "wasm"))]
    let limited = crate::test_signals::is_limited();
    limited
}

/// Of how many keys messages wait or are handled, where the workload keeps an order by key and no messages of other
/// keys can come now. More workers than that would have nothing to do. `None` where no order is kept, and as long as
/// messages are pending that may have other keys.
///
/// Needs a host of version 0.1.3 of the contract. In tests it is what
/// [`testing::keys_waiting`](crate::testing::keys_waiting) said.
#[must_use]
pub fn keys_waiting() -> Option<u32> {
    #[cfg(target_family = "wasm")]
    let keys = bindings::tidegate::plugin::signals::keys_waiting();
    #[cfg(not(target_family = "wasm"))]
    let keys = crate::test_signals::keys();
    keys
}

impl Decision {
    /// The same decision without workers that would have nothing to do: none are added while [`limited`], and none
    /// beyond [`keys_waiting`]. Those that run stay, and one may start where there is none.
    #[must_use]
    pub fn unless_limited(self, seen: &Observation) -> Self {
        let running = seen.running.max(1);
        if self.desired <= running {
            return self;
        }
        if limited() {
            return self.kept_at(running, "a limit keeps it");
        }
        match keys_waiting().map(|keys| keys.max(running)) {
            Some(most) if most < self.desired => self.kept_at(most, "there are no more keys, which keeps it"),
            _ => self,
        }
    }

    fn kept_at(self, most: u32, why: &str) -> Self {
        Self { desired: most, reason: format!("{}; {why} at {most}", self.reason), ..self }
    }
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
