//! As probe-worker, for batches: the same steps, for each delivery of a call in order.

#[path = "../../probe-worker/src/faults.rs"]
mod faults;
#[path = "../../probe-worker/src/key_value.rs"]
mod key_value;
#[path = "../../probe-worker/src/script.rs"]
mod script;
#[path = "../../probe-worker/src/steps.rs"]
mod steps;

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ world: "batch-worker", path: "../wit-0.1.1", generate_all });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::batch_handler::Guest;
use bindings::tidegate::plugin::handler as types;
use std::cell::Cell;
use types::{Delivery, Failure, Response};

/// Told by the steps that say a version.
const VERSION: &str = "v1";

thread_local! {
    static HANDLED: Cell<u64> = const { Cell::new(0) };
    /// Deliveries of the call that runs.
    static BATCH: Cell<usize> = const { Cell::new(1) };
}

struct Handler;

impl Guest for Handler {
    fn handle(deliveries: Vec<Delivery>) -> Vec<Result<Response, Failure>> {
        BATCH.set(deliveries.len());
        let short = deliveries.iter().any(|delivery| delivery.payload.starts_with(b"short"));
        let mut answers: Vec<_> = deliveries.iter().map(answer).collect();
        if short {
            answers.pop();
        }
        answers
    }
}

fn answer(delivery: &Delivery) -> Result<Response, Failure> {
    HANDLED.set(HANDLED.get() + 1);
    let steps = script::parse(&delivery.payload, delivery.attempt).map_err(Failure::Reject)?;
    let mut response = Response { reply: Some(Vec::new()), publications: Vec::new() };
    for step in steps {
        steps::take(step, delivery, &mut response)?;
    }
    Ok(response)
}
