//! A state machine test: the real inbox, workers and supervisor between a model of JetStream and a model of the
//! handler.
//!
//! A trial is a list of steps: messages come whose handler ends in a given way, workers are wanted, time passes, stores
//! and connections fail, the handler is swapped, hosts stop, are lost and start. Then all faults end, and every message
//! has to end too: acked with its effects stored, or as a dead letter. [`ledger`] has the rules. What breaks one is
//! shrunk to the fewest steps, and shown with all that happened, a line each.
//!
//! Plain lists of steps, and not `proptest-state-machine`: that turns on proptest's `fork`, which would have wasmtime
//! built anew. Steps need no preconditions: one without sense does nothing, and shrinking removes it.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p tidegate --lib machine` tries more of them. The time is tokio's,
//! paused, so an hour of a trial takes milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod guest;
mod host;
mod ledger;
mod pace;
mod said;
mod server;
mod step;
mod trial;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::config::Isolation;
use step::{CallEnd, GenerationStart, ModelSetup, ModelStep, Script, Store};

/// Trials in `make test`: a few seconds.
const CASES: u32 = 4_000;

#[test]
fn every_message_ends_well_whatever_happens_to_host_server_and_handler() {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let config = if given { config } else { Config { cases: CASES, ..config } };
    let tried =
        TestRunner::new(config).run(&step::trials(), |(setup, steps)| run(setup, steps).map_err(TestCaseError::fail));
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}

#[test]
fn an_attempt_that_ends_after_a_later_one_was_acked_counts_as_the_server_has_it() {
    let (second, isolation) = (Duration::from_secs(1), Isolation::Worker);
    let (ack_wait, grace) = (second * 4, Duration::ZERO);
    let setup = ModelSetup {
        isolation,
        batch: 1,
        batches: None,
        concurrency: None,
        ack_wait,
        max_ack_pending: 1,
        grace,
        limits: None,
        order: None,
        per_key: None,
    };
    let hang = Script { end: CallEnd::Hang, well_from: 3, takes_ms: 0, key: 0 };
    let steps = vec![
        ModelStep::Publish(2, hang),
        ModelStep::SwapAtNext(GenerationStart::Slow),
        ModelStep::Desire(0),
        ModelStep::Cut,
        ModelStep::Pass(3_971),
    ];
    run(setup, steps).unwrap();
}

#[test]
fn a_delivery_of_a_batch_that_failed_gives_way_to_the_next_one_even_after_that_failed_too() {
    let (second, isolation) = (Duration::from_secs(1), Isolation::Worker);
    let (ack_wait, grace, batches) = (second * 4, Duration::ZERO, Some((2, 0)));
    let setup = ModelSetup {
        isolation,
        batch: 2,
        batches,
        concurrency: None,
        ack_wait,
        max_ack_pending: 100,
        grace,
        limits: None,
        order: None,
        per_key: None,
    };
    let hang = Script { end: CallEnd::Hang, well_from: 3, takes_ms: 0, key: 0 };
    let steps = vec![
        ModelStep::SwapAtNext(GenerationStart::Slow),
        ModelStep::Desire(0),
        ModelStep::Publish(2, hang),
        ModelStep::Swap(GenerationStart::Fails),
        ModelStep::Cut,
        ModelStep::Pass(1_570),
        ModelStep::Pass(2_380),
    ];
    run(setup, steps).unwrap();
}

#[test]
fn two_attempts_in_handlers_at_once_make_one_dead_letter() {
    let (second, isolation) = (Duration::from_secs(1), Isolation::Worker);
    let (ack_wait, grace) = (second * 4, Duration::ZERO);
    let setup = ModelSetup {
        isolation,
        batch: 1,
        batches: None,
        concurrency: None,
        ack_wait,
        max_ack_pending: 100,
        grace,
        limits: None,
        order: None,
        per_key: None,
    };
    let script = |end, takes_ms| Script { end, well_from: 3, takes_ms, key: 0 };
    let steps = vec![
        ModelStep::Publish(2, script(CallEnd::Reject, 1_668)),
        ModelStep::Pass(1_045),
        ModelStep::Publish(2, script(CallEnd::Ok(0), 0)),
        ModelStep::Cut,
        ModelStep::Publish(2, script(CallEnd::Ok(0), 0)),
        ModelStep::Pass(2_835),
        ModelStep::Pass(2_680),
    ];
    run(setup, steps).unwrap();
}

#[test]
fn what_is_in_a_publication_with_others_when_it_comes_again_is_stored_too() {
    let (isolation, ack_wait) = (Isolation::Worker, Duration::from_secs(30));
    let (batch, batches, max_ack_pending, grace) = (3, Some((3, 1_000)), 100, Duration::ZERO);
    let setup = ModelSetup {
        isolation,
        batch,
        batches,
        concurrency: None,
        ack_wait,
        max_ack_pending,
        grace,
        limits: None,
        order: None,
        per_key: None,
    };
    let script = |publications| Script { end: CallEnd::Ok(publications), well_from: 4, takes_ms: 0, key: 0 };
    let steps = vec![
        // The publication with the first two is stored, and nobody hears of that.
        ModelStep::Publications(Store::Mute),
        ModelStep::Publish(1, script(1)),
        ModelStep::Publish(1, script(0)),
        ModelStep::Pass(1_100),
        ModelStep::Publications(Store::Works),
        // Both have come again, and wait for a third.
        ModelStep::Pass(6_200),
        ModelStep::Publish(1, script(0)),
        ModelStep::Pass(3_000),
    ];
    run(setup, steps).unwrap();
}

#[test]
fn a_delivery_that_crosses_its_ack_does_not_stand_for_one_that_is_lost() {
    let (isolation, ack_wait) = (Isolation::Worker, Duration::from_secs(30));
    let (batch, batches, max_ack_pending, grace) = (1, None, 100, Duration::ZERO);
    let setup = ModelSetup {
        isolation,
        batch,
        batches,
        concurrency: None,
        ack_wait,
        max_ack_pending,
        grace,
        limits: None,
        order: Some(100),
        per_key: None,
    };
    let retries = Script { end: CallEnd::Retry(Some(4_226)), well_from: 3, takes_ms: 11, key: 0 };
    let well = Script { end: CallEnd::Ok(0), well_from: 3, takes_ms: 0, key: 0 };
    let steps = vec![
        ModelStep::Desire(0),
        ModelStep::Publish(4, retries),
        ModelStep::Cut,
        ModelStep::Swap(GenerationStart::Works),
        ModelStep::Pass(33_447),
        ModelStep::Publish(2, well),
        ModelStep::Mend,
        ModelStep::Cut,
        ModelStep::Publish(1, well),
    ];
    run(setup, steps).unwrap();
}

/// Runs one trial; what broke and all that happened if a rule was broken.
fn run(setup: ModelSetup, steps: Vec<ModelStep>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    match runtime.block_on(trial::run(setup, steps)) {
        (_, None) => Ok(()),
        (trace, Some(broken)) => Err(format!("{broken}\n{trace}")),
    }
}
