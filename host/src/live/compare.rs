//! What was foretold beside what was measured.

use std::fmt;

use serde::Serialize;

/// How far a measured number may be from the one that was foretold, as a share of that.
pub const TOLERANCE: f64 = 0.15;

/// What a simulation foretells and a run measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// Seconds that all workers lived together.
    pub worker_seconds: f64,
    /// The wait that half of the messages did not exceed, in milliseconds.
    pub p50_ms: f64,
    /// The wait that 95 % of the messages did not exceed, in milliseconds.
    pub p95_ms: f64,
    /// The wait that 99 % of the messages did not exceed, in milliseconds.
    pub p99_ms: f64,
    /// The most workers at once.
    pub peak_workers: u32,
}

/// One number, foretold and measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// Which, with its unit.
    pub number: &'static str,
    /// What the simulation says.
    pub foretold: f64,
    /// What the run came to.
    pub measured: f64,
    /// Measured / foretold; 1 where both are 0, and `null` in JSON where only the first is not.
    pub ratio: f64,
    /// Whether the ratio has to be within [`TOLERANCE`] of 1.
    pub counts: bool,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Whether all that count are within [`TOLERANCE`].
    pub holds: bool,
    /// The numbers.
    pub rows: Vec<Row>,
}

impl Row {
    fn new(number: &'static str, foretold: f64, measured: f64, counts: bool) -> Self {
        let ratio = if foretold == measured { 1.0 } else { measured / foretold };
        Self { number, foretold, measured, ratio, counts }
    }

    /// Whether the simulation was right.
    pub fn holds(&self) -> bool {
        (self.ratio - 1.0).abs() <= TOLERANCE
    }
}

impl Comparison {
    /// Compares.
    pub fn new(foretold: &Numbers, measured: &Numbers) -> Self {
        let row =
            |what, number: fn(&Numbers) -> f64, counts| Row::new(what, number(foretold), number(measured), counts);
        let rows = vec![
            row("worker-seconds", |numbers| numbers.worker_seconds, true),
            row("wait-p50-ms", |numbers| numbers.p50_ms, false),
            row("wait-p95-ms", |numbers| numbers.p95_ms, true),
            row("wait-p99-ms", |numbers| numbers.p99_ms, false),
            row("peak-workers", |numbers| numbers.peak_workers.into(), false),
        ];
        Self { holds: rows.iter().all(|row| !row.counts || row.holds()), rows }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16}{:>12}{:>12}{:>10}", "", "foretold", "measured", "ratio")?;
        for row in &self.rows {
            let verdict = match (row.counts, row.holds()) {
                (false, _) => "",
                (true, true) => "  within 15 %",
                (true, false) => "  NOT within 15 %",
            };
            writeln!(f, "{:<16}{:>12.1}{:>12.1}{:>10.3}{verdict}", row.number, row.foretold, row.measured, row.ratio)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORETOLD: Numbers =
        Numbers { worker_seconds: 100.0, p50_ms: 10.0, p95_ms: 400.0, p99_ms: 900.0, peak_workers: 5 };

    #[test]
    fn worker_seconds_and_the_p95_wait_have_to_be_within_15_percent() {
        let holds = |measured: Numbers| Comparison::new(&FORETOLD, &measured).holds;
        assert!(holds(FORETOLD));
        assert!(holds(Numbers { worker_seconds: 114.0, p95_ms: 350.0, ..FORETOLD }));
        assert!(!holds(Numbers { worker_seconds: 116.0, ..FORETOLD }));
        assert!(!holds(Numbers { p95_ms: 330.0, ..FORETOLD }));
        assert!(holds(Numbers { p50_ms: 99.0, p99_ms: 5000.0, peak_workers: 50, ..FORETOLD }));
    }

    #[test]
    fn a_wait_where_none_was_foretold_is_not_within_anything() {
        let none = Numbers { p95_ms: 0.0, ..FORETOLD };
        assert!(!Comparison::new(&none, &FORETOLD).holds);
        assert!(Comparison::new(&none, &none).holds);
    }

    #[test]
    fn the_table_says_which_number_is_off() {
        let text = Comparison::new(&FORETOLD, &Numbers { p95_ms: 500.0, ..FORETOLD }).to_string();
        assert!(text.contains("wait-p95-ms            400.0       500.0     1.250  NOT within 15 %"), "{text}");
        assert!(text.contains("worker-seconds         100.0       100.0     1.000  within 15 %"), "{text}");
    }
}
