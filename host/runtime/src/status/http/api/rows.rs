//! The overview: a row for each workload, made at most once a second for all who look, and sent when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::cut::cut;
use crate::contract::Observation;
use crate::digest::Digest;
use crate::duration::unix_millis;
use crate::rollout::seen::{Ended, Ending, RolloutSeen, TrialSeen};
use crate::scaling::history::Decided;
use crate::status::recorder::Recorder;
use crate::status::samples::Numbers;
use crate::status::workload::WorkloadState;

/// The most problems that are told, and the most characters of one.
pub(super) const PROBLEMS: (usize, usize) = (50, 500);
/// The most characters of a policy's reason.
pub(super) const REASON: usize = 300;

/// One workload. What changes with each second though nothing happens is not in it.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    stream: &'a str,
    consumer: &'a str,
    handler: &'a str,
    policy: &'a str,
    shadow: Option<&'a str>,
    runs: bool,
    paused: bool,
    limited: bool,
    problems: BTreeMap<&'static str, String>,
    min: u32,
    max: u32,
    /// Workers that a person has set in place of the policy.
    set: Option<u32>,
    now: &'a Numbers,
    acked: u64,
    dead: u64,
    decision: Option<DecisionRow>,
    generations: [Option<GenerationRow>; 2],
    /// What is to be said of a new generation of the handler that is not in use; null if there is none.
    rollout: Option<String>,
}

#[derive(Serialize)]
struct GenerationRow {
    digest: String,
    since_ms: u64,
}

/// A decision.
#[derive(Serialize)]
pub(super) struct DecisionRow {
    pub(super) number: u64,
    at_ms: u64,
    desired: u32,
    count: u32,
    reason: String,
    /// What led to it, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Observation>,
}

impl DecisionRow {
    /// With what led to it.
    pub(super) fn whole(decided: &Decided) -> Self {
        let Decided { number, at, desired, count, ref reason, seen, .. } = *decided;
        Self { number, at_ms: unix_millis(at), desired, count, reason: cut(reason, REASON), seen }
    }

    fn short(decided: &Decided) -> Self {
        Self { seen: None, ..Self::whole(decided) }
    }
}

/// All rows as JSON, each with the look that changed it last.
#[derive(Default)]
pub(super) struct Rows(Mutex<Made>);

#[derive(Default)]
struct Made {
    look: u64,
    rows: Vec<(u64, Arc<str>)>,
    /// The workloads that the rows are of, and the look that found other ones last.
    names: Vec<String>,
    renamed: u64,
}

impl Rows {
    /// The rows that have changed after the look of this number, and whether these are all that there are: for 0, and
    /// where workloads have come or gone since.
    pub(super) fn after(&self, recorder: &Recorder, since: u64, now: u64) -> (Vec<Arc<str>>, bool) {
        let mut made = self.0.lock();
        if made.look < now {
            made.make(recorder, now);
        }
        let all = since < made.renamed;
        let rows = made.rows.iter().filter(|(changed, _)| all || *changed > since).map(|(_, row)| row.clone());
        (rows.collect(), all)
    }
}

impl Made {
    fn make(&mut self, recorder: &Recorder, now: u64) {
        let generations = recorder.generations();
        let workloads = recorder.workloads();
        let new = workloads.iter().filter_map(|workload| {
            let of = recorder.newest(&workload.workload.name).unwrap_or_default().of;
            serde_json::to_string(&row(workload, &of, &generations)).ok()
        });
        let new: Vec<_> = new.collect();
        let mut before = std::mem::take(&mut self.rows).into_iter();
        self.rows = new
            .into_iter()
            .map(|row| match before.next() {
                Some((changed, same)) if *same == *row => (changed, same),
                _ => (now, Arc::from(row)),
            })
            .collect();
        self.look = now;
        if !workloads.iter().map(|workload| &workload.workload.name).eq(&self.names) {
            self.names = workloads.iter().map(|workload| workload.workload.name.clone()).collect();
            self.renamed = now;
        }
    }
}

fn row<'a>(workload: &'a WorkloadState, now: &'a Numbers, generations: &BTreeMap<String, (Digest, u64)>) -> Row<'a> {
    let of = &workload.workload;
    let parts = workload.running();
    let tally = parts.as_ref().map(|parts| parts.workers.tally()).unwrap_or_default();
    let problems = workload.conditions.all().into_iter();
    let generation = |plugin: &str| {
        let (digest, since_ms) = generations.get(plugin)?;
        Some(GenerationRow { digest: digest.whole().to_owned(), since_ms: *since_ms })
    };
    Row {
        name: &of.name,
        stream: &of.queue.stream,
        consumer: &of.queue.consumer,
        handler: &of.handler,
        policy: &of.policy,
        shadow: of.shadow.as_ref().map(|shadow| shadow.policy.as_str()),
        runs: parts.is_some(),
        paused: parts.as_ref().is_some_and(|parts| parts.is_paused()),
        limited: parts.is_some() && workload.history.seen().is_some_and(|seen| seen.limited),
        problems: problems.map(|(part, problem)| (part.as_str(), cut(&problem, PROBLEMS.1))).collect(),
        min: of.scale.min,
        max: of.scale.max,
        set: workload.set_workers().map(|set| set.count),
        now,
        acked: tally.acked,
        dead: tally.dead.iter().sum(),
        decision: workload.history.last().as_ref().map(DecisionRow::short),
        generations: [generation(&of.handler), generation(&of.policy)],
        rollout: workload.rollouts().and_then(|rollouts| told(rollouts.seen())),
    }
}

/// Of a generation that is tried, or is not in use though its file is there. Nothing in it changes all the time.
fn told(RolloutSeen { generation, trial, last, together, .. }: RolloutSeen) -> Option<String> {
    let in_use = generation.map(|digest| format!("{digest} is in use")).unwrap_or_default();
    if let Some(TrialSeen { generation, workers, .. }) = trial {
        let by = match together {
            Some(together) => format!("{} workers of its fleet", together.workers.values().sum::<u32>()),
            None => format!("{} workers", workers.len()),
        };
        return Some(format!("{in_use}; {generation} is tried by {by}"));
    }
    let Ended { generation, ending, reason, .. } = last?;
    let is_rejected = matches!(ending, Ending::RolledBack | Ending::Aborted);
    is_rejected.then(|| cut(&format!("{in_use}; {generation} was rolled back: {reason}"), REASON))
}
