//! Batches of different sizes, on the same stream as the other rounds.

use std::fmt;

use serde::Serialize;

use super::lab::{Lab, Round};
use super::loop_kind::LoopKind;
use super::median::median;
use super::options::{BATCH_SIZES, WORKERS};

/// Rounds of each size: with several workers, and with one.
pub(super) type BatchRounds = [[Vec<Round>; 2]; BATCH_SIZES.len()];

/// What batches of one size do.
#[derive(Debug, Clone, Serialize)]
pub struct BatchThroughput {
    /// The most deliveries of a call.
    pub size: usize,
    /// Messages settled a second, 4 workers.
    pub wasm: f64,
    /// Messages settled a second, 1 worker.
    pub wasm_1: f64,
    /// Throughput with 4 workers: to native code in the same loop, a message a call. Higher is better.
    pub wasm_native: f64,
    /// The same with 1 worker.
    pub wasm_native_1: f64,
    /// Microseconds of CPU time of the client process on a message, with 4 workers.
    pub cpu_us: f64,
    /// The same with 1 worker.
    pub cpu_us_1: f64,
}

/// One round of each size, with several workers and with one.
pub(super) async fn round(lab: &mut Lab, rounds: &mut BatchRounds, step: &impl Fn(&str)) -> anyhow::Result<()> {
    for (size, rounds) in BATCH_SIZES.into_iter().zip(rounds) {
        for (workers, rounds) in [WORKERS, 1].into_iter().zip(rounds) {
            step(&format!("throughput, batches of {size}, {workers} workers"));
            rounds.push(lab.throughput(LoopKind::Batches(size), workers).await?);
        }
    }
    Ok(())
}

/// The medians, against native code with several workers and with one.
pub(super) fn report(rounds: &BatchRounds, native: f64, native_1: f64) -> Vec<BatchThroughput> {
    let of = |(size, [several, one]): (usize, &[Vec<Round>; 2])| {
        let (wasm, wasm_1) = (median(several, |round| round.per_second), median(one, |round| round.per_second));
        BatchThroughput {
            size,
            wasm,
            wasm_1,
            wasm_native: wasm / native,
            wasm_native_1: wasm_1 / native_1,
            cpu_us: median(several, |round| round.cpu_us),
            cpu_us_1: median(one, |round| round.cpu_us),
        }
    };
    BATCH_SIZES.into_iter().zip(rounds).map(of).collect()
}

impl fmt::Display for BatchThroughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, wasm, wasm_1, wasm_native, wasm_native_1, cpu_us, cpu_us_1 } = self;
        write!(
            f,
            "  at most {size:<4}            {wasm:>10.0} {wasm_native:>6.2}x {cpu_us:>8.1}   {wasm_1:>10.0} \
             {wasm_native_1:>6.2}x {cpu_us_1:>8.1}"
        )
    }
}
