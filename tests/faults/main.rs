//! The fault bench: every fault that a host, a server or a network can have, injected, and what must hold then.
//!
//! `cargo test` runs the short form of each row, one after the other; `-- --long` the long one. docs/faults.md has the
//! method.
//!
//! # How a row is written
//!
//! A row is an async function from a [`Form`] to a [`Report`], and a line in a `ROWS` of its file, which is listed in
//! [`all`]:
//!
//! ```ignore
//! pub(crate) const ROWS: &[Row] = &[row!(11, "poison message", poison)];
//!
//! async fn poison(form: Form) -> Result<Report> {
//!     let mut report = Report::new();
//!     let stage = Stage::one().await?;                        // a server, plugins, a client
//!     let mut ledger = Ledger::open(&stage, "work").await?;   // the streams OUT and RAW
//!     let host = stage.host(&work("work", "")).await?;        // a `tidegate run`, ready
//!     ledger.publish(form.pick(300, 30_000), |_| "sleep 1".to_owned()).await?;
//!     report.injected();                                      // once for each fault
//!     stage.settled("work", form.patience()).await?;
//!     report.count(&ledger.audit().await?);                   // messages, lost, duplicates; `broken` if any is lost
//!     report.must(host.is_running(), "the host lives");       // `broken` with these words if it does not hold
//!     report.note("what was measured, in a few words");
//!     Ok(report)
//! }
//! ```
//!
//! An error and a panic count as `broken`. What cannot be injected here returns [`Report::not_injected`] with the
//! reason. The parts: [`stage`] has the server or the cluster, the plugins and the configuration; [`hosts`] the
//! processes;
//! [`ledger`] the count of messages; [`pulse`] when something came out; [`patience`] conditions that are awaited.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]
// Each row uses what it needs.
#![allow(dead_code)]

mod budgets;
mod chaos;
mod clock;
mod config;
mod consumer;
mod crash;
mod downstream;
mod fleet;
mod handling;
mod hostile;
mod hosts;
mod ledger;
mod million;
mod network;
mod order;
mod order_hosts;
mod patience;
mod plugins;
mod process;
mod proxy;
mod pulls;
mod pulse;
mod resources;
mod rollout;
mod row;
mod runner;
mod servers;
mod settings;
#[path = "../shared/mod.rs"]
mod shared;
mod small;
mod soak;
mod stage;

use std::process::ExitCode;

use row::Row;

/// All rows, in the order they run in.
fn all() -> Vec<Row> {
    let mut rows = [
        budgets::ROWS,
        clock::ROWS,
        config::ROWS,
        consumer::ROWS,
        crash::ROWS,
        downstream::ROWS,
        fleet::ROWS,
        handling::ROWS,
        million::ROWS,
        network::ROWS,
        order::ROWS,
        order_hosts::ROWS,
        plugins::ROWS,
        process::ROWS,
        pulls::ROWS,
        resources::ROWS,
        rollout::ROWS,
        settings::ROWS,
        small::ROWS,
        soak::ROWS,
        &hostile::rows(),
    ]
    .concat();
    rows.sort_by_key(|row| row.number);
    rows
}

#[tokio::main]
async fn main() -> ExitCode {
    runner::run(all()).await
}
