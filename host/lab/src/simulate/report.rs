//! What simulations came to, for programs and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::outage_row;
pub use super::outage_row::OutageRow;
use super::outcome::SimulationOutcome;
pub use super::waits::Waits;
use super::waits::ms;
use crate::text_table::aligned;

const CSV_COLUMNS: [&str; 15] = [
    "name",
    "worker_seconds",
    "utilisation",
    "wait_p50_ms",
    "wait_p95_ms",
    "wait_p99_ms",
    "wait_max_ms",
    "over_slo",
    "peak_backlog",
    "peak_workers",
    "scalings",
    "ratio_to_bound",
    "bound_worker_seconds",
    "met_slo",
    "unfinished",
];

/// All policies on one trace. Its JSON is what `tidegate simulate --output json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimulationReport {
    /// Where the arrivals came from.
    pub trace: String,
    /// The longest wait within the objective, in milliseconds.
    pub slo_ms: f64,
    /// What no policy that meets the objective costs less than.
    pub bound: Bound,
    /// What each policy came to.
    pub policies: Vec<PolicyRow>,
    /// The share of messages that have to be within the objective.
    pub slo_share: f64,
}

/// What no policy that meets the objective costs less than.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    /// Worker-seconds: the work, and the fewest workers that the configuration allows. What starts cost is left out.
    pub worker_seconds: f64,
}

/// What one policy came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyRow {
    /// Its name.
    pub name: String,
    /// What all workers lived, in seconds.
    pub worker_seconds: f64,
    /// The share of it that went into handling: 0 to 1.
    pub utilisation: f64,
    /// From arrival to first attempt, in milliseconds.
    pub wait_ms: Waits,
    /// The share of messages that waited longer than the objective: 0 to 1.
    pub over_slo: f64,
    /// The most messages that waited when the policy was asked.
    pub peak_backlog: u64,
    /// The most workers at once.
    pub peak_workers: u32,
    /// Changes of the number of workers, up and down.
    pub scalings: u64,
    /// Worker-seconds over those of the bound; none where the objective was missed, for then the bound is none of this,
    /// and where the bound is nothing.
    pub ratio_to_bound: Option<f64>,
    /// Whether enough messages were within the objective, and all were handled.
    pub met_slo: bool,
    /// Messages that were not handled to their end.
    pub unfinished: u64,
    /// What an outage did, if one was simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<OutageRow>,
    /// How often the number was raised, and lowered.
    #[serde(skip)]
    pub up_down: (u64, u64),
}

impl SimulationReport {
    /// From the outcomes of policies by name. `bound` is in worker-seconds.
    pub fn new(
        trace: String,
        slo_ms: f64,
        slo_share: f64,
        bound: f64,
        outcomes: &[(String, SimulationOutcome)],
    ) -> Self {
        let row = |(name, outcome): &(String, SimulationOutcome)| PolicyRow {
            name: name.clone(),
            worker_seconds: outcome.worker_seconds(),
            utilisation: outcome.utilisation(),
            wait_ms: Waits {
                p50: outcome.wait_ms(0.5),
                p95: outcome.wait_ms(0.95),
                p99: outcome.wait_ms(0.99),
                max: outcome.wait_ms(1.0),
            },
            over_slo: outcome.over_share(),
            peak_backlog: outcome.peak_backlog,
            peak_workers: outcome.peak_workers,
            scalings: outcome.up + outcome.down,
            ratio_to_bound: (bound > 0.0 && outcome.meets(slo_share)).then(|| outcome.worker_seconds() / bound),
            met_slo: outcome.meets(slo_share),
            unfinished: outcome.unfinished,
            outage: outcome.outage.as_ref().map(OutageRow::new),
            up_down: (outcome.up, outcome.down),
        };
        let policies = outcomes.iter().map(row).collect();
        Self { trace, slo_ms, bound: Bound { worker_seconds: bound }, policies, slo_share }
    }

    /// A header and a line for each policy. The columns are the fields of the JSON.
    ///
    /// # Errors
    /// When the library refuses, which it has no reason to.
    pub fn csv(&self) -> anyhow::Result<String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let has_outage = self.policies.iter().any(|row| row.outage.is_some());
        let outage_columns = outage_row::CSV_COLUMNS.iter().filter(|_| has_outage);
        csv.write_record(CSV_COLUMNS.iter().chain(outage_columns))?;
        for row in &self.policies {
            let Waits { p50, p95, p99, max } = row.wait_ms;
            csv.write_field(&row.name)?;
            for number in [row.worker_seconds, row.utilisation, p50, p95, p99, max, row.over_slo] {
                csv.write_field(number.to_string())?;
            }
            for count in [row.peak_backlog, row.peak_workers.into(), row.scalings] {
                csv.write_field(count.to_string())?;
            }
            csv.write_field(row.ratio_to_bound.map(|ratio| ratio.to_string()).unwrap_or_default())?;
            csv.write_field(self.bound.worker_seconds.to_string())?;
            let outage = row.outage.map(OutageRow::csv_fields);
            let last = [row.met_slo.to_string(), row.unfinished.to_string()];
            csv.write_record(last.into_iter().chain(outage.into_iter().flatten()))?;
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    /// A table for a person.
    pub fn table(&self) -> String {
        let header = [
            "policy", "worker-s", "/bound", "used", "wait p50", "p95", "p99", "max", "over", "backlog", "workers",
            "up", "down", "",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.policies.iter().map(cells));
        let bound = format!("{:.0}", self.bound.worker_seconds);
        let mut last = [const { String::new() }; 14];
        let [name, seconds, ..] = &mut last;
        (*name, *seconds) = ("lower bound".to_owned(), bound);
        rows.push(last);
        // All but the names, and the mark of a miss.
        let mut text = aligned(rows, &(1..=12).collect::<Vec<_>>());
        let mut outages = self.policies.iter().filter_map(|row| Some((row.name.as_str(), row.outage?))).peekable();
        if outages.peek().is_some() {
            text = format!("{text}\n\n{}", outage_row::table(outages));
        }
        let (slo, share) = (ms(self.slo_ms), percent(self.slo_share));
        let _ = write!(text, "\n\nObjective: {share} of the messages begin within {slo} of their arrival.");
        if self.policies.iter().any(|row| !row.met_slo) {
            text.push_str(" A policy that misses it is marked, and has no ratio to the bound.");
        }
        text.push('\n');
        for row in self.policies.iter().filter(|row| row.unfinished > 0) {
            let _ = writeln!(text, "{}: {} messages were not handled to their end.", row.name, row.unfinished);
        }
        text
    }
}

fn cells(row: &PolicyRow) -> [String; 14] {
    let Waits { p50, p95, p99, max } = row.wait_ms;
    [
        row.name.clone(),
        format!("{:.0}", row.worker_seconds),
        row.ratio_to_bound.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
        percent(row.utilisation),
        ms(p50),
        ms(p95),
        ms(p99),
        ms(max),
        percent(row.over_slo),
        row.peak_backlog.to_string(),
        row.peak_workers.to_string(),
        row.up_down.0.to_string(),
        row.up_down.1.to_string(),
        (if row.met_slo { "" } else { "MISSED" }).to_owned(),
    ]
}

/// With as many decimals as tell a small share from none.
fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.095 => format!("{percent:.3} %"),
        percent if percent < 9.95 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn report() -> SimulationReport {
        let row = |name: &str, met_slo: bool| PolicyRow {
            name: name.to_owned(),
            worker_seconds: 1234.5,
            utilisation: 0.81,
            wait_ms: Waits { p50: 0.0, p95: 12.3, p99: 456.0, max: 7890.0 },
            over_slo: 0.0004,
            peak_backlog: 17,
            peak_workers: 5,
            scalings: 7,
            ratio_to_bound: met_slo.then_some(1.2345),
            met_slo,
            unfinished: if met_slo { 0 } else { 9 },
            outage: None,
            up_down: (4, 3),
        };
        let policies = vec![row("step", true), row("a,b", false)];
        let bound = Bound { worker_seconds: 1000.0 };
        SimulationReport { trace: "t.csv".into(), slo_ms: 1000.0, bound, policies, slo_share: 0.99 }
    }

    #[test]
    fn the_object_has_the_fields_that_programs_rely_on() {
        let json = serde_json::to_string(&report()).unwrap();
        let first = concat!(
            r#"{"name":"step","worker_seconds":1234.5,"utilisation":0.81,"#,
            r#""wait_ms":{"p50":0.0,"p95":12.3,"p99":456.0,"max":7890.0},"over_slo":0.0004,"#,
            r#""peak_backlog":17,"peak_workers":5,"scalings":7,"ratio_to_bound":1.2345,"met_slo":true,"unfinished":0}"#
        );
        let begin =
            format!(r#"{{"trace":"t.csv","slo_ms":1000.0,"bound":{{"worker_seconds":1000.0}},"policies":[{first},"#);
        assert!(json.starts_with(&begin), "{json}");
        let end = r#""ratio_to_bound":null,"met_slo":false,"unfinished":9}],"slo_share":0.99}"#;
        assert!(json.ends_with(end), "{json}");
    }

    #[test]
    fn the_table_has_a_line_for_each_policy_and_marks_a_miss() {
        assert_eq!(
            report().table().lines().collect::<Vec<_>>(),
            [
                "policy       worker-s  /bound    used  wait p50    p95     p99    max     over  backlog  workers  \
                 up  down",
                "step             1234   1.234  81.0 %         0  12 ms  456 ms  7.9 s  0.040 %       17        5   \
                 4     3",
                "a,b              1234       -  81.0 %         0  12 ms  456 ms  7.9 s  0.040 %       17        5   \
                 4     3  MISSED",
                "lower bound      1000",
                "",
                "Objective: 99.0 % of the messages begin within 1.0 s of their arrival. A policy that misses it is \
                 marked, and has no ratio to the bound.",
                "a,b: 9 messages were not handled to their end.",
            ]
        );
    }

    #[test]
    fn csv_has_a_line_for_each_policy() {
        let csv = report().csv().unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
        assert_eq!(lines[1], "step,1234.5,0.81,0,12.3,456,7890,0.0004,17,5,7,1.2345,1000,true,0");
        assert!(lines[2].starts_with("\"a,b\",1234.5") && lines[2].ends_with(",,1000,false,9"), "{}", lines[2]);
    }
}
