//! What an order costs, by how many keys there are.

use std::fmt;

use serde::Serialize;

use super::lab::{Lab, Round};
use super::loop_kind::LoopKind;
use super::median::median;
use super::options::{KEYS, WORKERS};

/// Rounds without an order, and with one of each number of keys.
#[derive(Debug, Default)]
pub(super) struct OrderRounds {
    none: Vec<Round>,
    keys: [Vec<Round>; KEYS.len()],
}

/// What an order of so many keys does. Messages of different keys take turns in the stream.
#[derive(Debug, Clone, Serialize)]
pub struct OrderThroughput {
    /// How many keys there are; `None` is no order, on the same stream.
    pub keys: Option<usize>,
    /// Messages settled a second, components, 4 workers.
    pub wasm: f64,
    /// Throughput to that without an order. Higher is better.
    pub to_none: f64,
    /// Microseconds of CPU time of the client process on a message.
    pub cpu_us: f64,
}

/// One round without an order, and one of each number of keys.
pub(super) async fn round(lab: &mut Lab, rounds: &mut OrderRounds, step: &impl Fn(&str)) -> anyhow::Result<()> {
    step("throughput, no order");
    rounds.none.push(lab.throughput(LoopKind::Ordered(None), WORKERS).await?);
    for ((at, keys), rounds) in KEYS.into_iter().enumerate().zip(&mut rounds.keys) {
        step(&format!("throughput, in order, {keys} keys"));
        // The first token is the same for all.
        rounds.push(lab.throughput(LoopKind::Ordered(Some(at + 2)), WORKERS).await?);
    }
    Ok(())
}

/// The medians.
pub(super) fn report(OrderRounds { none, keys }: &OrderRounds) -> Vec<OrderThroughput> {
    let of_none = median(none, |round| round.per_second);
    let of = |(keys, rounds): (Option<usize>, &Vec<Round>)| {
        let wasm = median(rounds, |round| round.per_second);
        OrderThroughput { keys, wasm, to_none: wasm / of_none, cpu_us: median(rounds, |round| round.cpu_us) }
    };
    [(None, none)].into_iter().chain(KEYS.into_iter().map(Some).zip(keys)).map(of).collect()
}

impl fmt::Display for OrderThroughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, wasm, to_none, cpu_us } = self;
        let keys = keys.map_or("none".to_owned(), |keys| format!("{keys} key{}", if keys == 1 { "" } else { "s" }));
        write!(f, "  {keys:<20}    {wasm:>10.0} {to_none:>6.2}x {cpu_us:>8.1}")
    }
}
