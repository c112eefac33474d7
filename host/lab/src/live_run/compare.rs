//! What was foretold beside what was measured.

use std::fmt;

use serde::Serialize;

/// How far a measured number may be from the one that was foretold, as a share of that.
pub const TOLERANCE: f64 = 0.15;
/// The same for numbers that a few messages or moments make.
pub const LOOSE: f64 = 0.5;
/// By how many workers the most of them may differ whatever the ratio is.
const WORKERS: f64 = 1.0;
/// The number that is of workers.
const PEAK: &str = "peak-workers";
/// Milliseconds of real time that a message may be on its way through a server and a host. A simulation has no way, so
/// a wait that differs by no more is the same.
pub const ON_THE_WAY_MS: f64 = 5.0;

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
pub struct ComparedNumber {
    /// Which, with its unit.
    pub number: &'static str,
    /// What the simulation says.
    pub foretold: f64,
    /// What the run came to.
    pub measured: f64,
    /// Measured / foretold; 1 where both are 0, and `null` in JSON where only the first is not.
    pub ratio: f64,
    /// What may be between the two whatever the ratio is: of a wait, [`ON_THE_WAY_MS`] in the time of the trace.
    pub slack: f64,
    /// How far the ratio may be from 1; none for a number that is only shown.
    pub tolerance: Option<f64>,
    /// Whether the ratio is within `tolerance` of 1, or the two within `slack`.
    pub holds: bool,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveComparison {
    /// Whether all that count hold.
    pub holds: bool,
    /// The numbers.
    pub rows: Vec<ComparedNumber>,
}

impl ComparedNumber {
    fn new(number: &'static str, (foretold, measured): (f64, f64), slack: f64, tolerance: Option<f64>) -> Self {
        let ratio = if foretold == measured { 1.0 } else { measured / foretold };
        let row = Self { number, foretold, measured, ratio, slack, tolerance, holds: false };
        Self { holds: row.is_near() || (measured - foretold).abs() <= slack, ..row }
    }

    fn is_near(&self) -> bool {
        self.tolerance.is_none_or(|tolerance| (self.ratio - 1.0).abs() <= tolerance)
    }

    fn verdict(&self) -> String {
        let Some(percent) = self.tolerance.map(|tolerance| tolerance * 100.0) else { return String::new() };
        match (self.holds, self.is_near()) {
            (false, _) => format!("  NOT within {percent:.0} %"),
            (true, true) => format!("  within {percent:.0} %"),
            (true, false) if self.number == PEAK => "  within one worker".to_owned(),
            (true, false) => format!("  within {} ms, the way through server and host", self.slack),
        }
    }
}

impl LiveComparison {
    /// Compares what was foretold with what a run measured that was `faster` times as fast as the trace.
    pub fn new(foretold: &Numbers, measured: &Numbers, faster: f64) -> Self {
        let way = ON_THE_WAY_MS * faster;
        let row = |name, number: fn(&Numbers) -> f64, slack, tolerance| {
            ComparedNumber::new(name, (number(foretold), number(measured)), slack, tolerance)
        };
        let rows = vec![
            row("worker-seconds", |numbers| numbers.worker_seconds, 0.0, Some(TOLERANCE)),
            // Next to nothing where most messages find a free worker.
            row("wait-p50-ms", |numbers| numbers.p50_ms, way, None),
            row("wait-p95-ms", |numbers| numbers.p95_ms, way, Some(TOLERANCE)),
            row("wait-p99-ms", |numbers| numbers.p99_ms, way, Some(LOOSE)),
            row(PEAK, |numbers| numbers.peak_workers.into(), WORKERS, Some(LOOSE)),
        ];
        Self { holds: rows.iter().all(|row| row.holds), rows }
    }
}

impl fmt::Display for LiveComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16}{:>12}{:>12}{:>10}", "", "foretold", "measured", "ratio")?;
        for row in &self.rows {
            let ComparedNumber { number, foretold, measured, ratio, .. } = row;
            writeln!(f, "{number:<16}{foretold:>12.1}{measured:>12.1}{ratio:>10.3}{}", row.verdict())?;
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
    fn worker_seconds_and_the_p95_wait_have_to_be_within_15_percent_and_what_few_make_within_50() {
        let holds = |measured: Numbers| LiveComparison::new(&FORETOLD, &measured, 1.0).holds;
        assert!(holds(FORETOLD));
        assert!(holds(Numbers { worker_seconds: 114.0, p95_ms: 350.0, ..FORETOLD }));
        assert!(!holds(Numbers { worker_seconds: 116.0, ..FORETOLD }));
        assert!(!holds(Numbers { p95_ms: 330.0, ..FORETOLD }));
        assert!(holds(Numbers { p50_ms: 99.0, p99_ms: 1300.0, peak_workers: 7, ..FORETOLD }));
        assert!(!holds(Numbers { p99_ms: 2.7 * 900.0, ..FORETOLD }));
        assert!(!holds(Numbers { peak_workers: 8, ..FORETOLD }));
        let one = Numbers { peak_workers: 1, ..FORETOLD };
        assert!(LiveComparison::new(&one, &Numbers { peak_workers: 2, ..one }, 1.0).holds);
    }

    #[test]
    fn a_wait_may_differ_by_the_way_of_a_message() {
        let holds = |measured, faster| {
            let none = Numbers { p95_ms: 0.0, ..FORETOLD };
            LiveComparison::new(&none, &Numbers { p95_ms: measured, ..FORETOLD }, faster).holds
        };
        assert!(holds(0.0, 1.0) && holds(5.0, 1.0) && holds(50.0, 10.0));
        assert!(!holds(5.1, 1.0) && !holds(51.0, 10.0));
    }

    #[test]
    fn the_table_says_which_number_is_off_and_by_what_another_holds() {
        let text = |p95_ms, faster| LiveComparison::new(&FORETOLD, &Numbers { p95_ms, ..FORETOLD }, faster).to_string();
        let off = text(500.0, 1.0);
        assert!(off.contains("wait-p95-ms            400.0       500.0     1.250  NOT within 15 %"), "{off}");
        assert!(off.contains("worker-seconds         100.0       100.0     1.000  within 15 %"), "{off}");
        assert!(text(500.0, 20.0).contains("1.250  within 100 ms, the way"), "{}", text(500.0, 20.0));
    }
}
