//! A handler for tests, steered by its payload.
//!
//! [`script`] reads the payload, [`steps`] does what it says, [`faults`] holds what a handler should not do. The
//! README beside this crate lists the steps.

mod faults;
mod key_value;
mod script;
mod steps;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "worker", path: "../wit-0.1.0", generate_all });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler as types;
use std::cell::Cell;
use types::{Delivery, Failure, Guest, Response};

/// Tells two builds of this source apart.
const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION_MAJOR"));

thread_local! {
    static HANDLED: Cell<u64> = const { Cell::new(0) };
    /// Deliveries of the call that runs.
    static BATCH: Cell<usize> = const { Cell::new(1) };
}

struct Handler;

impl Guest for Handler {
    fn handle(delivery: Delivery) -> Result<Response, Failure> {
        HANDLED.set(HANDLED.get() + 1);
        let steps = script::parse(&delivery.payload, delivery.attempt).map_err(Failure::Reject)?;
        let mut response = Response { reply: Some(Vec::new()), publications: Vec::new() };
        for step in steps {
            steps::take(step, &delivery, &mut response)?;
        }
        Ok(response)
    }
}
