//! How a host grows: the same work with more workers, workloads, bytes, publications, headers, keys, hosts and
//! replicas, by components and by native code in the same loop.
//!
//! What is measured where, and what the numbers say of growth, is decided by pure functions (`axis`, `growth`).

mod axis;
mod chart;
mod growth;
mod report;

use super::load::{Code, LoadCost, LoadSite};
use super::options::BenchOptions;
use crate::terminal::Bar;
pub use axis::Axis;
pub use growth::Growth;
pub use report::{Curve, Growths, Point, ScaleReport};

/// What is measured.
#[derive(Debug, Clone)]
pub struct ScaleOptions {
    /// What is made larger, each from the same base.
    pub axes: Vec<Axis>,
    /// How many points of each, from the smallest; all of them if there are not more.
    pub points: usize,
    /// What else a measurement needs: messages of a point at most, rounds, the handlers.
    pub bench: BenchOptions,
}

/// Servers of the cluster that replicas are measured on.
pub const CLUSTER: usize = 3;

/// Servers to measure on: one, or several that are a cluster.
#[derive(Debug, Clone)]
pub struct ScaleServers {
    /// The address of one of them.
    pub url: String,
    /// Their processes.
    pub processes: Vec<u32>,
}

impl ScaleOptions {
    /// How often [`scale`] advances its bar.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let points: usize = self.axes.iter().map(|axis| self.points_of(*axis).len()).sum();
        points as u64 * u64::from(self.bench.rounds) * Code::BOTH.len() as u64
    }

    /// Whether a cluster of three servers is needed.
    #[must_use]
    pub fn has_cluster(&self) -> bool {
        self.axes.contains(&Axis::Replicas)
    }

    /// Whether a single server is needed.
    #[must_use]
    pub fn has_single(&self) -> bool {
        self.axes.iter().any(|axis| *axis != Axis::Replicas)
    }

    fn points_of(&self, axis: Axis) -> &'static [u32] {
        let all = axis.points();
        all.get(..self.points.min(all.len())).unwrap_or(all)
    }
}

/// Measures all curves: those of replicas on `cluster`, the others on `single`, which should have nothing else to do.
///
/// # Errors
/// If a server or a host fails.
pub async fn scale(
    options: &ScaleOptions,
    single: Option<&ScaleServers>,
    cluster: Option<&ScaleServers>,
    bar: &Bar,
) -> anyhow::Result<ScaleReport> {
    let mut curves = Vec::new();
    let mut version = String::new();
    for axis in &options.axes {
        let servers = if *axis == Axis::Replicas { cluster } else { single };
        let Some(servers) = servers else { continue };
        let mut site = LoadSite::new(&servers.url, servers.processes.clone(), &options.bench).await?;
        site.can_replicate(if *axis == Axis::Replicas { CLUSTER } else { 1 }).await?;
        version = site.client.server_version();
        curves.push(curve(*axis, options, &mut site, bar).await?);
    }
    Ok(ScaleReport::new(version, options.bench.rounds, curves))
}

async fn curve(axis: Axis, options: &ScaleOptions, site: &mut LoadSite, bar: &Bar) -> anyhow::Result<Curve> {
    let mut points = Vec::new();
    for at in options.points_of(axis) {
        let load = axis.load(*at, options.bench.messages);
        let mut rounds: [Vec<LoadCost>; 2] = Default::default();
        // What is compared takes turns.
        for _ in 0..options.bench.rounds {
            for (code, costs) in Code::BOTH.into_iter().zip(&mut rounds) {
                bar.advance();
                bar.say(format!("{} {at}, {code:?}", axis.name()));
                costs.push(site.measure(&load, code).await?);
            }
        }
        let [native, component] = rounds.map(|costs| LoadCost::median(&costs));
        points.push(Point { at: *at, messages: load.messages, native, component });
    }
    Ok(Curve::new(axis, points))
}
