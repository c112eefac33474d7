//! The curves, and what they say, as data and as tables.

use std::fmt;

use serde::Serialize;

use super::super::load::LoadCost;
use super::axis::Axis;
use super::growth::Growth;
use crate::text_table::aligned;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct ScaleReport {
    /// The nats-server's version.
    pub server: String,
    /// Cores that this process may use, which servers, hosts and publisher share.
    pub cores: usize,
    /// Rounds of each point, of which medians are told.
    pub rounds: u32,
    /// A curve for all that was made larger.
    pub curves: Vec<Curve>,
}

/// What becomes of a host as one thing is made larger.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// What is made larger.
    pub axis: &'static str,
    /// Where it was measured.
    pub points: Vec<Point>,
    /// How components grow.
    pub growth: Growths,
    #[serde(skip)]
    pub(super) of: Axis,
}

/// What was measured at one point.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// How large it was.
    pub at: u32,
    /// Messages of each round.
    pub messages: usize,
    /// Native code, in the same loop.
    pub native: LoadCost,
    /// Components.
    pub component: LoadCost,
}

/// How each number of components grows.
#[derive(Debug, Clone, Serialize)]
pub struct Growths {
    /// The time of a message: its throughput, upside down.
    pub time: Growth,
    /// Processor time of the hosts on a message.
    pub cpu: Growth,
    /// Processor time of the servers on a message.
    pub server_cpu: Growth,
    /// Resident memory of the hosts.
    pub memory: Growth,
    /// Memory mappings of the hosts.
    pub mappings: Growth,
    /// Time until all workers have their instance.
    pub start: Growth,
    /// Time until all workers have ended.
    pub drain: Growth,
}

impl ScaleReport {
    pub(super) fn new(server: String, rounds: u32, curves: Vec<Curve>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { server, cores, rounds, curves }
    }
}

impl Curve {
    pub(super) fn new(of: Axis, points: Vec<Point>) -> Self {
        let growth = |number: fn(&LoadCost) -> f64| {
            let values: Vec<_> = points.iter().map(|point| (point.size(of), number(&point.component))).collect();
            Growth::of(&values)
        };
        let growth = Growths {
            time: growth(|cost| 1.0 / cost.per_second),
            cpu: growth(|cost| cost.cpu_us),
            server_cpu: growth(|cost| cost.server_cpu_us),
            memory: growth(|cost| cost.rss_mib),
            mappings: growth(|cost| cost.mappings),
            start: growth(|cost| cost.start_s),
            drain: growth(|cost| cost.drain_s),
        };
        Self { axis: of.name(), points, growth, of }
    }
}

impl Point {
    /// How large it was: where there was not room for all workers, as many as there were.
    pub(super) fn size(&self, of: Axis) -> u32 {
        // The conversion saturates.
        if of == Axis::Workers { self.component.workers as u32 } else { self.at }
    }
}

impl Growths {
    fn all(&self) -> [(&'static str, &Growth); 7] {
        [
            ("time a message", &self.time),
            ("CPU a message", &self.cpu),
            ("server's CPU", &self.server_cpu),
            ("memory", &self.memory),
            ("mappings", &self.mappings),
            ("start", &self.start),
            ("end", &self.drain),
        ]
    }
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, cores, rounds, curves } = self;
        write!(f, "nats-server {server}, {cores} cores, medians of {rounds} rounds; native code / component")?;
        curves.iter().try_for_each(|curve| write!(f, "\n\n{curve}"))
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = [self.axis, "messages/s", "CPU us", "server us", "MiB", "mappings", "start s", "end s"];
        let titles = titles.map(str::to_owned).to_vec();
        let rows = [titles].into_iter().chain(self.points.iter().map(|point| point.cells(self.of)));
        write!(f, "{}", aligned(rows, &[0, 1, 2, 3, 4, 5, 6, 7]))?;
        for (what, Growth { knee, steepest, too_fast }) in self.growth.all() {
            if let Some(knee) = knee {
                write!(f, "\n  {what} grows behind {knee}, with the power {steepest:.2}")?;
            }
            if let Some(at) = too_fast {
                write!(f, ": FASTER than in proportion behind {at}")?;
            }
        }
        Ok(())
    }
}

impl Point {
    fn cells(&self, of: Axis) -> Vec<String> {
        let both = |number: fn(&LoadCost) -> f64, digits: usize| {
            format!("{:.digits$} / {:.digits$}", number(&self.native), number(&self.component))
        };
        let size = self.size(of);
        let at = if size == self.at { size.to_string() } else { format!("{size} of {}", self.at) };
        vec![
            at,
            both(|cost| cost.per_second, 0),
            both(|cost| cost.cpu_us, 1),
            both(|cost| cost.server_cpu_us, 1),
            both(|cost| cost.rss_mib, 1),
            both(|cost| cost.mappings, 0),
            both(|cost| cost.start_s, 3),
            both(|cost| cost.drain_s, 3),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A curve of this cost of CPU, at these points.
    pub(crate) fn curve(of: Axis, cpu: &[(u32, f64)]) -> Curve {
        let cost = |at: u32, cpu_us| LoadCost {
            per_second: 1e6 / cpu_us,
            cpu_us,
            server_cpu_us: 9.0,
            rss_mib: 20.0 + f64::from(at) / 32.0,
            mappings: 300.0,
            workers: f64::from(at.min(9_000)),
            start_s: 0.1,
            drain_s: 0.1,
        };
        let point = |(at, cpu_us): &(u32, f64)| Point {
            at: *at,
            messages: 9,
            native: cost(*at, 2.0),
            component: cost(*at, *cpu_us),
        };
        Curve::new(of, cpu.iter().map(point).collect())
    }

    #[test]
    fn a_table_says_where_what_grows_and_what_there_was_no_room_for() {
        let text = curve(Axis::Workers, &[(1, 3.0), (1_000, 3.0), (20_000, 300.0)]).to_string();
        for part in [
            "9000 of 20000",
            "2.0 / 300.0",
            "CPU a message grows behind 1000, with the power 2.10: FASTER than in proportion behind 1000",
            "memory grows behind 1000",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert!(!text.contains("mappings grows"), "{text}");
    }

    #[test]
    fn a_report_is_one_object_with_the_growth_of_each_curve() {
        let curves = vec![curve(Axis::Headers, &[(0, 3.0), (1, 3.0), (100, 30.0)])];
        let report = serde_json::to_value(ScaleReport::new("2.12.0".into(), 1, curves)).unwrap();
        assert_eq!(report.pointer("/curves/0/axis").unwrap(), "headers");
        assert_eq!(report.pointer("/curves/0/points/2/component/cpu_us").unwrap(), 30.0);
        assert_eq!(report.pointer("/curves/0/growth/mappings/knee").unwrap(), &serde_json::Value::Null);
    }
}
