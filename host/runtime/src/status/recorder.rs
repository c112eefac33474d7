//! What the page shows of the last hour: each workload is looked at once a second, where somebody may look at the page.
//!
//! Nothing of this is there without HTTP, and no worker or message knows of it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::by_host::{ByHost, HostWorkers};
use super::samples::{Merge, Numbers, Ring, Sample, between, quantile};
use super::workload::{RunningParts, WorkloadState};
use super::workload_list::WorkloadList;
use crate::clock::time_of_day;
use crate::delivery::counters::{Tally, Times};
use crate::digest::Digest;
use crate::duration::unix_millis;
use crate::plugin::Directory;
use crate::scaling::history::{Decided, History};

/// How often a workload is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long every look is remembered, in milliseconds.
const RECENT_MS: u64 = 300_000;
/// How many looks become one sample of the hour.
const MERGED: u16 = 10;
/// How long those are remembered.
const HOUR_MS: u64 = 3_600_000;
/// How many samples there may be of the last minutes, and of the hour.
const MOST: (usize, usize) = (301, 361);
/// How many decisions are remembered.
const DECISIONS: usize = 200;
/// The most characters of a policy's reason.
const REASON: usize = 300;

/// The last hour of all workloads of a host.
#[derive(Debug)]
pub(crate) struct Recorder {
    workloads: Arc<WorkloadList>,
    /// By the names of the workloads.
    records: Mutex<BTreeMap<String, Record>>,
    directory: Arc<Directory>,
    /// Since when each plugin has the generation that it has: milliseconds since the Unix epoch.
    generations: Mutex<BTreeMap<String, (Digest, u64)>>,
    /// How often all workloads were looked at.
    looks: watch::Sender<u64>,
}

/// The last hour of one workload.
#[derive(Debug)]
struct Record {
    /// Tells a workload from an earlier one of its name.
    of: Arc<History>,
    recent: Ring,
    hour: Ring,
    merge: Merge,
    /// What workers had done at the last look, and at the last sample of the hour.
    tally: Tally,
    hour_times: Times,
    decisions: VecDeque<Decided>,
    /// Only of a workload that has run in a fleet.
    by_host: Option<ByHost>,
}

/// What is remembered of a workload.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The last five minutes by the second, oldest first.
    pub(crate) recent: Vec<Sample>,
    /// The last hour by ten seconds, oldest first.
    pub(crate) hour: Vec<Sample>,
    /// The workers of the plan by host in the last hour, by ten seconds, and at the last look, oldest first, each with
    /// its time in milliseconds since the Unix epoch. Only in a fleet.
    pub(crate) by_host: Option<Vec<(u64, HostWorkers)>>,
}

impl Recorder {
    /// Of these workloads. Nothing is recorded before [`Recorder::run`].
    pub(crate) fn new(workloads: Arc<WorkloadList>, directory: Arc<Directory>) -> Arc<Self> {
        let (records, generations, looks) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { workloads, records, directory, generations, looks })
    }

    /// Records, for ever.
    pub(crate) async fn run(&self) -> Infallible {
        let mut turns = interval(INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let now_ms = unix_millis(time_of_day());
            self.look(now_ms);
            self.note_generations(now_ms);
            self.looks.send_modify(|looks| *looks += 1);
        }
    }

    fn look(&self, now_ms: u64) {
        let (workloads, mut records) = (self.workloads.all(), self.records.lock());
        for workload in &workloads {
            let begin = || Record::new(workload.history.clone());
            let record = records.entry(workload.workload.name.clone()).or_insert_with(begin);
            if !Arc::ptr_eq(&record.of, &workload.history) {
                *record = begin();
            }
            record.look(workload, now_ms);
        }
        if records.len() > workloads.len() {
            records.retain(|name, _| workloads.iter().any(|workload| workload.workload.name == *name));
        }
    }

    fn note_generations(&self, now_ms: u64) {
        let mut generations = self.generations.lock();
        for plugin in self.directory.plugins() {
            let Some(generation) = plugin.generation else { continue };
            match generations.get(&plugin.plugin) {
                Some((known, _)) if *known == generation => {}
                _ => drop(generations.insert(plugin.plugin, (generation, now_ms))),
            }
        }
    }

    /// Counts the looks; wakes whoever waits for the next.
    pub(crate) fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// The workloads as they are now.
    pub(crate) fn workloads(&self) -> Vec<Arc<WorkloadState>> {
        self.workloads.all()
    }

    /// The workload of this name.
    pub(crate) fn workload(&self, name: &str) -> Option<Arc<WorkloadState>> {
        self.workloads.get(name)
    }

    /// Since when each plugin has the generation that it has, to the second: milliseconds since the Unix epoch.
    pub(crate) fn generations(&self) -> BTreeMap<String, (Digest, u64)> {
        self.generations.lock().clone()
    }

    /// The last look at a workload.
    pub(crate) fn newest(&self, workload: &str) -> Option<Sample> {
        self.records.lock().get(workload)?.recent.newest()
    }

    /// The decisions of a workload after the one of this number.
    pub(crate) fn decided_after(&self, workload: &str, number: u64) -> Vec<Decided> {
        let records = self.records.lock();
        let Some(record) = records.get(workload) else { return Vec::new() };
        record.decisions.iter().filter(|decided| decided.number > number).cloned().collect()
    }

    /// What is remembered of a workload.
    pub(crate) fn recorded(&self, workload: &str) -> Option<Recorded> {
        let records = self.records.lock();
        let record = records.get(workload)?;
        Some(Recorded {
            recent: record.recent.samples().copied().collect(),
            hour: record.hour.samples().copied().collect(),
            by_host: record.by_host.as_ref().map(ByHost::all),
        })
    }

    /// The workers of a workload by host at the last look; `None` outside a fleet.
    pub(crate) fn by_host(&self, workload: &str) -> Option<HostWorkers> {
        Some(self.records.lock().get(workload)?.by_host.as_ref()?.newest())
    }

    /// The arrivals of the last hour of a workload by ten seconds, oldest first, each with its time.
    pub(crate) fn arrivals(&self, workload: &str) -> Vec<(u64, f32)> {
        let records = self.records.lock();
        let Some(record) = records.get(workload) else { return Vec::new() };
        record.hour.samples().map(|sample| (sample.at_ms, sample.of.arrivals)).collect()
    }
}

impl Record {
    fn new(of: Arc<History>) -> Self {
        Self {
            of,
            recent: Ring::new(MOST.0, RECENT_MS),
            hour: Ring::new(MOST.1, HOUR_MS),
            merge: Merge::default(),
            tally: Tally::default(),
            hour_times: Times::default(),
            decisions: VecDeque::new(),
            by_host: None,
        }
    }

    fn look(&mut self, workload: &WorkloadState, at_ms: u64) {
        let parts = workload.running();
        let tally = parts.as_ref().map(|parts| parts.workers.tally()).unwrap_or_default();
        if tally.work.handled < self.tally.work.handled {
            // It was started again, and counts anew.
            (self.tally, self.hour_times) = (Tally::default(), Times::default());
        }
        self.look_at_hosts(workload, parts.as_deref(), at_ms);
        let of = parts.map(|parts| numbers(workload, &parts, &self.tally, &tally)).unwrap_or_default();
        self.tally = tally;
        self.recent.push(Sample { at_ms, of });
        self.merge.add(of);
        if self.merge.count() >= MERGED {
            let of = self.merge.take(&between(&self.hour_times, &tally.times));
            self.hour_times = tally.times;
            self.hour.push(Sample { at_ms, of });
            self.by_host.iter_mut().for_each(ByHost::keep);
        }
        self.take_decisions(workload, at_ms);
    }

    fn look_at_hosts(&mut self, workload: &WorkloadState, parts: Option<&RunningParts>, at_ms: u64) {
        match (parts.and_then(|parts| parts.fleet.as_ref()), &mut self.by_host) {
            (Some(fleet), by_host) => {
                let by_host = by_host.get_or_insert_with(|| ByHost::new(MOST.1, HOUR_MS));
                fleet.with_shares(&workload.workload.name, |shares| by_host.look(at_ms, shares));
            }
            (None, Some(by_host)) => by_host.look(at_ms, &BTreeMap::new()),
            (None, None) => {}
        }
    }

    fn take_decisions(&mut self, workload: &WorkloadState, at_ms: u64) {
        let last = self.decisions.back().map_or(0, |decided| decided.number);
        let new = workload.history.decided_after(last).into_iter().map(|decided| {
            let reason = decided.reason.chars().take(REASON).collect();
            Decided { reason, latest_reason: String::new(), ..decided }
        });
        self.decisions.extend(new);
        let is_old = |decided: &Decided| unix_millis(decided.at) + HOUR_MS < at_ms;
        while self.decisions.len() > DECISIONS || self.decisions.front().is_some_and(is_old) {
            self.decisions.pop_front();
        }
    }
}

/// What a workload does now, and did since the last look, a second ago.
fn numbers(workload: &WorkloadState, parts: &RunningParts, before: &Tally, after: &Tally) -> Numbers {
    let seen = workload.history.seen().unwrap_or_default();
    let running = parts.workers.running();
    let alive = small(u64::try_from(parts.workers.alive().len()).unwrap_or(u64::MAX));
    let times = between(&before.times, &after.times);
    let since = |count: fn(&Tally) -> u64| rate(count(after).saturating_sub(count(before)));
    Numbers {
        arrivals: finite(seen.arrival_rate),
        completions: since(|tally| tally.work.settled),
        failures: since(|tally| tally.work.failed),
        pending: small(seen.pending),
        ack_pending: small(seen.ack_pending),
        oldest_ms: seen.oldest_pending_ms.map(small),
        desired: parts.desired.get(),
        running,
        draining: alive.saturating_sub(running),
        shadow: workload
            .workload
            .shadow
            .as_ref()
            .and_then(|_| workload.history.shadowed().last)
            .map(|(count, _)| count),
        p50_us: quantile(&times, 0.5),
        p99_us: quantile(&times, 0.99),
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn rate(count: u64) -> f32 {
    count as f32
}

fn finite(rate: f64) -> f32 {
    if rate.is_finite() { rate as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::by_host::{Counts, HOSTS, ID};

    #[test]
    fn a_workload_takes_no_more_memory_than_the_documentation_says() {
        let samples = (MOST.0.next_power_of_two() + MOST.1.next_power_of_two()) * size_of::<Sample>();
        // A reason of characters of one byte; the rest of a decision beside it.
        let decisions = DECISIONS.next_power_of_two() * size_of::<Decided>() + DECISIONS * REASON;
        assert!(samples + decisions < 208 << 10, "{samples} {decisions}");
        let by_host = MOST.1.next_power_of_two() * size_of::<Sample<Counts>>() + HOSTS * ID;
        assert!(by_host < 26 << 10, "{by_host}");
    }
}
