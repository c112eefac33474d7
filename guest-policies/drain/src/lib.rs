//! As many workers as process the backlog in a given time: the algorithm of Numaflow.
//!
//! The README beside this crate describes the settings. [`rule`] decides; this file is the component around it.

mod rule;
#[cfg(test)]
#[path = "../../testing.rs"]
mod testing;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "../../wit", generate_all });
    export!(Policy with_types_in self);
    use super::Policy;
}

use bindings::exports::tidegate::plugin::scaling::{Decision, Guest, Observation};

struct Policy;

impl Guest for Policy {
    fn init(settings: Vec<(String, String)>, previous: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        rule::init(settings, previous.as_deref())
    }

    fn decide(observation: Observation, state: Vec<u8>) -> Decision {
        rule::decide(&observation, state)
    }
}
