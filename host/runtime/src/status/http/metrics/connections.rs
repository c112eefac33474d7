//! The connection of the host, and those that workloads have for themselves.

use std::fmt;

use super::encoder::MetricsEncoder;
use crate::conditions::Part;
use crate::jetstream::Client;
use crate::status::http::view::View;
use crate::status::workload::WorkloadState;

/// A connection to a NATS server.
#[derive(Debug)]
pub(super) struct Connection {
    is_connected: bool,
    reconnects: u64,
}

impl Connection {
    pub(super) fn of_host(view: &View) -> Self {
        let reconnects = view.connection.get().map_or(0, Client::reconnects);
        Self { is_connected: view.is_connected(), reconnects }
    }

    /// The one that a workload has for itself. None where it has the host's, and while it needs none: it rests, or is
    /// drained.
    pub(super) fn of(state: &WorkloadState) -> Option<Self> {
        match state.own_client() {
            Some(client) => Some(Self { is_connected: client.is_connected(), reconnects: client.reconnects() }),
            None => {
                let is_tried = state.conditions.all().iter().any(|(part, _)| *part == Part::Connection);
                is_tried.then_some(Self { is_connected: false, reconnects: 0 })
            }
        }
    }

    fn connected(&self) -> u64 {
        u64::from(self.is_connected)
    }
}

/// What each of them is. Workloads of one account have one connection, and each tells of it.
pub(super) fn encode<'a, I: Iterator<Item = (&'a str, &'a Connection)>>(
    encoder: &mut MetricsEncoder<'_>,
    host: &Connection,
    own: impl Fn() -> I,
) -> fmt::Result {
    let is_connected = "1 if the NATS server can be reached, as far as is known";
    encoder.gauge("tidegate_nats_connected", is_connected, None, Some(host.connected()))?;
    encoder.counter("tidegate_nats_reconnects", "How often the connection was made again", host.reconnects)?;
    let label = |workload: &'a str| [("workload", workload)];
    encoder.gauges(
        "tidegate_workload_nats_connected",
        "1 if the NATS server of a workload's own connection can be reached, as far as is known",
        None,
        own().map(|(workload, of)| (label(workload), of.connected() as f64)),
    )?;
    encoder.counters(
        "tidegate_workload_nats_reconnects",
        "How often a workload's own connection was made again",
        own().map(|(workload, of)| (label(workload), of.reconnects)),
    )
}
