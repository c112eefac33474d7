//! What an outage did, for programs and for people.

use serde::Serialize;

use super::outcome::OutageOutcome;
use super::waits::{Waits, ms};
use crate::text_table::aligned;

/// The columns of CSV that a row has more than without an outage.
pub(super) const CSV_COLUMNS: [&str; 6] =
    ["outage_calls", "most_attempts", "handled_p50_ms", "handled_p95_ms", "handled_p99_ms", "handled_max_ms"];

/// What an outage did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OutageRow {
    /// Attempts that began in the outage, all of which failed.
    pub calls: u64,
    /// The most attempts that a message took, in the whole run.
    pub most_attempts: u32,
    /// From a message's arrival to the end of its last attempt, in milliseconds; of the whole run.
    pub handled_ms: Waits,
}

impl OutageRow {
    pub(super) fn new(OutageOutcome { calls, most_attempts, handled }: &OutageOutcome) -> Self {
        let ms = |quantile| handled.value_at_quantile(quantile) as f64 / 1e3;
        let handled_ms = Waits { p50: ms(0.5), p95: ms(0.95), p99: ms(0.99), max: ms(1.0) };
        Self { calls: *calls, most_attempts: *most_attempts, handled_ms }
    }

    /// A field for each of [`CSV_COLUMNS`].
    pub(super) fn csv_fields(self) -> [String; 6] {
        let Waits { p50, p95, p99, max } = self.handled_ms;
        let [p50, p95, p99, max] = [p50, p95, p99, max].map(|ms| ms.to_string());
        [self.calls.to_string(), self.most_attempts.to_string(), p50, p95, p99, max]
    }

    fn cells(self, name: &str) -> [String; 7] {
        let Waits { p50, p95, p99, max } = self.handled_ms;
        let (calls, attempts) = (self.calls.to_string(), self.most_attempts.to_string());
        [name.to_owned(), calls, attempts, ms(p50), ms(p95), ms(p99), ms(max)]
    }
}

/// A table for a person, by the names of policies.
pub(super) fn table<'a>(rows: impl Iterator<Item = (&'a str, OutageRow)>) -> String {
    let header = ["outage", "calls in it", "most attempts", "handled p50", "p95", "p99", "max"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(rows.map(|(name, row)| row.cells(name))).collect();
    aligned(rows, &(1..=6).collect::<Vec<_>>())
}
