//! What the hosts of a fleet have written, as the bucket has stored it: its stream publishes each message again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream::stream::{self, Republish};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::rollout::new_calls;
use crate::ledger;
use crate::row::Report;
use crate::stage::Stage;

pub(super) const BUCKET: &str = "FLEET";
const AGAIN: &str = "seen";

/// A version of a key, and when it was stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) at: Instant,
    pub(super) key: String,
    /// Null where the key was deleted.
    pub(super) value: Value,
}

/// All that was stored so far. Ends when it is dropped.
pub(super) struct Seen {
    kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

/// What was stored, in its order. The rest follows from it, and is kept because it is looked at again and again, among
/// hundreds of entries a second.
#[derive(Default)]
struct Kept {
    all: Vec<Stored>,
    /// The last value of each key.
    last: BTreeMap<String, Value>,
    /// How many workers each host runs, as it has said last.
    running: BTreeMap<String, u64>,
}

impl Kept {
    fn push(&mut self, stored: Stored) {
        match stored.says_running() {
            Some((id, Some(count))) => drop(self.running.insert(id.to_owned(), count)),
            Some((id, None)) => drop(self.running.remove(id)),
            None => {}
        }
        self.last.insert(stored.key.clone(), stored.value.clone());
        self.all.push(stored);
    }

    /// What was stored of a key.
    fn of(&self, key: &str) -> impl DoubleEndedIterator<Item = &Stored> {
        self.all.iter().filter(move |stored| stored.key == key)
    }
}

/// A decision: who made it, how many there were, and how many calls the policy's own state has counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub(super) at: Instant,
    pub(super) by: String,
    pub(super) decisions: u64,
    pub(super) calls: u64,
}

impl Seen {
    /// Makes the bucket, and begins to look.
    pub(super) async fn of(stage: &Stage) -> Result<Self> {
        let (source, destination) = (format!("$KV.{BUCKET}.>"), format!("{AGAIN}.>"));
        let again = Republish { source: source.clone(), destination, headers_only: false };
        // All versions are kept, for what is published again is not told to a client whose server is killed.
        let bucket = stream::Config {
            allow_rollup: true,
            discard: stream::DiscardPolicy::New,
            republish: Some(again),
            ..stage.kept(&format!("KV_{BUCKET}"), &source)
        };
        let client = stage.servers.client().await?;
        let mut messages = client.subscribe(format!("{AGAIN}.>")).await?;
        client.flush().await?;
        stage.stream(bucket).await?;
        let kept = Arc::new(Mutex::new(Kept::default()));
        let into = kept.clone();
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let key = message.subject.as_str().trim_start_matches("seen.").to_owned();
                let value = serde_json::from_slice(&message.payload).unwrap_or_default();
                into.lock().push(Stored { at: Instant::now(), key, value });
            }
            drop(client);
        });
        Ok(Self { kept, task })
    }

    pub(super) fn all(&self) -> Vec<Stored> {
        self.kept.lock().all.clone()
    }

    fn last(&self, key: &str) -> Value {
        self.kept.lock().last.get(key).cloned().unwrap_or_default()
    }

    /// Who leads; empty while nobody does.
    pub(super) fn leader(&self) -> String {
        self.last("leader.work")["holder"]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// What the lease says of new generations of the handler.
    pub(super) fn rollout(&self) -> Value {
        self.last("leader.work")["rollout"].clone()
    }

    /// Each version of that.
    pub(super) fn rollouts(&self) -> Vec<Value> {
        let kept = self.kept.lock();
        kept.of("leader.work").map(|stored| stored.value["rollout"].clone()).filter(Value::is_object).collect()
    }

    /// Calls of the generation that is tried, as they are counted so far.
    pub(super) fn calls_tried(&self) -> u64 {
        new_calls(&self.rollout()).unwrap_or_default()
    }

    /// The shares of the last plan.
    pub(super) fn shares(&self) -> BTreeMap<String, u64> {
        shares(&self.last("plan.work"))
    }

    /// How many workers each host runs, as it has said last.
    pub(super) fn running(&self) -> BTreeMap<String, u64> {
        self.kept.lock().running.clone()
    }

    /// The number of the plan in the lease that was stored next after the last one of this host, if there is one yet.
    pub(super) fn leads_after(&self, id: &str) -> Option<u64> {
        let kept = self.kept.lock();
        let leases: Vec<&Value> = kept.of("leader.work").map(|of| &of.value).collect();
        let last = leases.iter().rposition(|lease| lease["holder"]["id"] == id)?;
        leases.get(last + 1)?["epoch"].as_u64()
    }

    /// The plans that were stored since a moment.
    pub(super) fn plans_since(&self, from: Instant) -> Vec<Value> {
        let kept = self.kept.lock();
        kept.of("plan.work").filter(|stored| stored.at > from).map(|stored| stored.value.clone()).collect()
    }

    /// The most workers that plans of so long together gave to hosts that had fewer before.
    pub(super) fn moved_within(&self, time: Duration) -> u64 {
        let kept = self.kept.lock();
        let plans: Vec<(Instant, BTreeMap<String, u64>)> =
            kept.of("plan.work").map(|plan| (plan.at, shares(&plan.value))).collect();
        let gained = |pair: &[(Instant, BTreeMap<String, u64>)]| {
            let before = |id: &String| pair[0].1.get(id).copied().unwrap_or(0);
            pair[1].1.iter().map(|(id, share)| share.saturating_sub(before(id))).sum::<u64>()
        };
        let moves: Vec<(Instant, u64)> = plans.windows(2).map(|pair| (pair[1].0, gained(pair))).collect();
        let until = |end: Instant| moves.iter().filter(move |(at, _)| *at <= end && end - *at < time);
        moves.iter().map(|(end, _)| until(*end).map(|(_, gained)| gained).sum::<u64>()).max().unwrap_or(0)
    }

    /// All decisions, in their order, each when it was stored first.
    pub(super) fn decisions(&self) -> Vec<Made> {
        decisions(&self.kept.lock().all)
    }

    /// The first decision after a moment that another host than this has made, if there is one yet.
    pub(super) fn decided_after(&self, from: Instant, but_for: &str) -> Option<Duration> {
        let made = self.decisions();
        let first = made.iter().find(|made| made.at > from && made.by != but_for && !made.by.is_empty())?;
        Some(first.at - from)
    }

    /// The longest time without a decision after a moment.
    pub(super) fn longest_undecided(&self, from: Instant) -> Duration {
        let at: Vec<Instant> = self.decisions().iter().map(|made| made.at).filter(|at| *at > from).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// What must hold whatever happens, of all that was seen.
    pub(super) fn check(&self, report: &mut Report) {
        check(&self.kept.lock().all, report);
    }

    /// The same of all that the bucket holds, where it has lost nothing and something may not have been seen.
    pub(super) async fn check_stored(&self, stage: &Stage, report: &mut Report) -> Result<()> {
        let mut stored = Vec::new();
        for key in ["plan.work", "leader.work"] {
            ledger::read(&stage.js, &format!("KV_{BUCKET}"), &format!("$KV.{BUCKET}.{key}"), |message| {
                let value = serde_json::from_slice(&message.payload).unwrap_or_default();
                stored.push(Stored { at: Instant::now(), key: key.to_owned(), value });
            })
            .await?;
        }
        check(&stored, report);
        Ok(())
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn shares(plan: &Value) -> BTreeMap<String, u64> {
    let shares = plan["shares"].as_object().into_iter().flatten();
    shares.map(|(id, share)| (id.clone(), share.as_u64().unwrap_or_default())).collect()
}

/// How many calls the state of `probe-policy` has counted.
fn calls(lease: &Value) -> u64 {
    let state =
        lease["fold"]["state"].as_str().and_then(|state| BASE64_STANDARD.decode(state).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&state).into_owned();
    text.split(' ').find_map(|word| word.strip_prefix("calls=")?.parse().ok()).unwrap_or_default()
}

impl Stored {
    /// The host that says here how many workers it runs, and how many; none if it is gone or has no such workload.
    pub(super) fn says_running(&self) -> Option<(&str, Option<u64>)> {
        let report = &self.value["workloads"]["work"];
        let running = report.is_object().then(|| report["running"].as_u64().unwrap_or_default());
        match self.key.split_once('.')? {
            // It is only a sign of life.
            ("host", _) if self.value["apart"] == true => None,
            ("host", id) => Some((id, running)),
            ("figures", id) if !self.value.is_null() => Some((id, running)),
            _ => None,
        }
    }
}

fn decisions(all: &[Stored]) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for Stored { at, value, .. } in all.iter().filter(|stored| stored.key == "leader.work") {
        let Some(decisions) = value["fold"]["decisions"].as_u64() else { continue };
        if made.last().is_some_and(|last| last.decisions == decisions) {
            continue;
        }
        let by = value["holder"]["id"].as_str().unwrap_or_default().to_owned();
        made.push(Made { at: *at, by, decisions, calls: calls(value) });
    }
    made
}

/// No two plans of one epoch, no decision skipped or repeated, and no clock of a policy that goes back.
fn check(all: &[Stored], report: &mut Report) {
    let mut plans: BTreeMap<(String, u64), &Value> = BTreeMap::new();
    for Stored { value, .. } in all.iter().filter(|stored| stored.key == "plan.work") {
        let row = (value["lineage"].to_string(), value["epoch"].as_u64().unwrap_or_default());
        let same = *plans.entry(row).or_insert(value) == value;
        report.must(same, format!("two plans of one epoch: {value}"));
    }
    let made = decisions(all);
    for pair in made.windows(2) {
        let by = pair[1].decisions.wrapping_sub(pair[0].decisions);
        let by_policy = pair[1].calls.wrapping_sub(pair[0].calls);
        report.must(by == 1 && by_policy == 1, format!("after {:?} came {:?}", pair[0], pair[1]));
    }
    let leases = all.iter().filter(|stored| stored.key == "leader.work");
    let told: Vec<u64> = leases.filter_map(|stored| stored.value["watched"]["now-ms"].as_u64()).collect();
    report.must(told.is_sorted(), format!("the policy's clock went back: {told:?}"));
    report.note(format!("{} decisions, {} plans, no two of one epoch", made.len(), plans.len()));
}
