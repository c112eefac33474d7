//! A policy: so many workers that each has a given share of the backlog, and fewer only after a calm time.
//!
//! This file is the component. `rule.rs` decides, and its tests run without a host.

mod rule;

mod bindings {
    wit_bindgen::generate!({ world: "policy", path: "wit", generate_all });
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
