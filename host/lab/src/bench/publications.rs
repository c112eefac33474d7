//! A handler that publishes one message for each that it handles.

use std::fmt;

use serde::Serialize;

use super::load::{Code, Load, LoadCost, LoadSite};
use super::options::{BenchOptions, WORKERS};

/// Rounds of native code, and of components.
pub(super) type PublicationRounds = [Vec<LoadCost>; 2];

/// What a publication a message does: the same window of acks for both, 4 workers, each host in a process of its own.
#[derive(Debug, Clone, Serialize)]
pub struct PublicationCost {
    /// Messages settled a second by native code.
    pub native: f64,
    /// By components.
    pub wasm: f64,
    /// Components to native code. Higher is better.
    pub wasm_native: f64,
    /// Microseconds of processor time of the host on a message, native code.
    pub native_cpu_us: f64,
    /// The same with components.
    pub wasm_cpu_us: f64,
}

/// One round of both.
pub(super) async fn round(
    site: &mut LoadSite,
    options: &BenchOptions,
    rounds: &mut PublicationRounds,
    step: &impl Fn(&str),
) -> anyhow::Result<()> {
    let load = Load {
        workers: WORKERS,
        publications: 1,
        messages: options.messages,
        payload: options.payload,
        ..Load::default()
    };
    for (code, rounds) in Code::BOTH.into_iter().zip(rounds) {
        step(&format!("a publication a message, {code:?}"));
        rounds.push(site.measure(&load, code).await?);
    }
    Ok(())
}

/// The medians.
pub(super) fn report(rounds: &PublicationRounds) -> PublicationCost {
    let [native, wasm] = rounds.each_ref().map(|all| LoadCost::median(all));
    PublicationCost {
        native: native.per_second,
        wasm: wasm.per_second,
        wasm_native: wasm.per_second / native.per_second,
        native_cpu_us: native.cpu_us,
        wasm_cpu_us: wasm.cpu_us,
    }
}

impl fmt::Display for PublicationCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { native, wasm, wasm_native, native_cpu_us, wasm_cpu_us } = self;
        write!(
            f,
            "a publication a message: {wasm:.0} messages/s, {wasm_native:.2}x of native code ({native:.0}); \
             {wasm_cpu_us:.1} us of CPU time in the host, native {native_cpu_us:.1}"
        )
    }
}
