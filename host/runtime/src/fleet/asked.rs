//! What a person asks of all hosts of a fleet by one of them: it is written into the bucket, where the leader sees it,
//! and the next leader too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::entries::{text, verdict_key, workers_key};
use super::host::Fleet;
use super::set_workers::SetWorkers;
use crate::clock::time_of_day;
use crate::digest::Digest;
use crate::duration::{millis, unix_millis};
use crate::ports::KvError;
use crate::rollout::follow::Plans;
use crate::rollout::seen::Ending;
use crate::rollout::together::entries::{RolloutPlan, Verdict};

/// How long it is waited for the leader to act.
const ACTS: Duration = Duration::from_secs(25);

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    /// There is no generation that it could be about.
    #[error("no new generation is tried by the fleet now, and none was rolled back that a host's file still has")]
    NoCandidate,
    /// The bucket does not take it.
    #[error("the fleet's bucket does not take it: {0}")]
    NotWritten(#[from] KvError),
    /// No leader has acted upon it so far.
    #[error("it is written into the fleet's bucket, but no leader has acted upon it so far; see `fleet` in /status")]
    NoLeader,
}

impl Fleet {
    /// All hosts together are to run so many workers of a workload, for a time or until that is ended.
    pub(crate) async fn set_workers(
        &self,
        workload: &str,
        count: u32,
        last: Option<Duration>,
    ) -> Result<SetWorkers, NotDone> {
        let for_ms = last.map(millis);
        let until_ms = for_ms.map(|for_ms| unix_millis(time_of_day()).saturating_add(for_ms));
        let set = SetWorkers { count, for_ms, until_ms };
        let revision = self.bucket.put(&workers_key(workload), text(&set).into(), None).await?;
        // The watch brings it too; who looks at once is to see it.
        self.view.lock().note_set_workers(workload, Some((revision, set)));
        Ok(set)
    }

    /// The policy decides again.
    pub(crate) async fn free_workers(&self, workload: &str) -> Result<(), NotDone> {
        self.bucket.delete(&workers_key(workload), None).await?;
        self.view.lock().note_set_workers(workload, None);
        Ok(())
    }

    /// Puts the generation that is tried, or was rolled back last, into use for all workers of all hosts, or ends its
    /// trial. Returns when the leader has done so.
    pub(crate) async fn judge(&self, workload: &str, promote: bool) -> Result<Digest, NotDone> {
        let mut planned = self.planned.subscribe();
        let before = self.rollout_plan(workload).ok_or(NotDone::NoCandidate)?;
        let tried = before.tried.as_ref().map(|tried| &tried.generation);
        let candidate = tried.or(before.rejected.as_ref().filter(|_| promote)).cloned();
        let candidate = candidate.ok_or(NotDone::NoCandidate)?;
        let verdict = Verdict { number: before.number, promote };
        self.bucket.put(&verdict_key(workload), text(&verdict).into(), None).await?;
        let acted = async {
            loop {
                match self.rollout_plan(workload) {
                    Some(plan) if plan.ended != before.ended || plan.number != before.number => return plan.last,
                    // An error would mean that this is gone.
                    _ => drop(planned.changed().await),
                }
            }
        };
        let last = timeout(ACTS, acted).await.map_err(|_| NotDone::NoLeader)?;
        // It may have ended otherwise just before.
        let wanted = if promote { Ending::Promoted } else { Ending::Aborted };
        let is_it = last.is_some_and(|last| last.generation == candidate && last.ending == wanted);
        if is_it { Ok(candidate) } else { Err(NotDone::NoCandidate) }
    }

    fn rollout_plan(&self, workload: &str) -> Option<RolloutPlan> {
        self.view.lock().plan(workload)?.rollout.clone()
    }

    /// The plans of a workload, for the rollouts of its handler.
    pub(crate) fn plans(self: &Arc<Self>, workload: &str) -> impl Plans + use<> {
        let (host, planned) = (self.view.lock().me().id.clone(), self.planned.subscribe());
        PlansOf { fleet: self.clone(), workload: workload.to_owned(), host, planned }
    }
}

struct PlansOf {
    fleet: Arc<Fleet>,
    workload: String,
    host: String,
    planned: tokio::sync::watch::Receiver<u64>,
}

impl Plans for PlansOf {
    fn host(&self) -> &str {
        &self.host
    }

    fn now(&self) -> Option<RolloutPlan> {
        self.fleet.rollout_plan(&self.workload)
    }

    async fn changed(&mut self) {
        if self.planned.changed().await.is_err() {
            std::future::pending().await
        }
    }

    fn tell(&self) {
        self.fleet.news.notify_one();
    }
}
