//! Which part of a workload's limits a host has, also where nobody can give it one.

use super::View;
use crate::fleet::limits::alone;

/// Entries of its own that a host writes and sees without a sign of anybody who leads, until it takes it that nobody
/// can: a host that could has taken over long before.
pub(crate) const UNLED: usize = 16;

/// Hosts that share a workload, as far as it matters here, where there is no plan to tell how many.
const MANY: usize = 100;

/// Whether a host can use the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketState {
    /// As far as it knows.
    Usable,
    /// Not now.
    Unusable,
    /// Not for so long that a leader has become another one, and shares have moved.
    Lost,
}

impl View {
    /// Whether nobody has led a workload for so long that nobody can.
    pub(crate) fn is_unled(&self, workload: &str) -> bool {
        let entries = match self.plans.get(workload) {
            None => self.entries_since(0),
            Some((revision, plan)) if plan.holder.id.is_empty() => self.entries_since(*revision),
            Some((revision, plan)) => self.silent_for(&plan.holder, *revision).unwrap_or(0),
        };
        entries >= UNLED
    }

    /// The part of a workload's limits that this host has: so many of so many parts, or all of them where they are not
    /// divided. `of` is how many there are where no plan says it. A host without a part has a small one while nobody
    /// can give it one: the host that has them all may be gone.
    pub(crate) fn part(&self, workload: &str, of: u32, bucket: BucketState) -> Option<(u32, u32)> {
        let on_its_own = bucket == BucketState::Lost || self.is_unled(workload);
        let Some(plan) = self.plan(workload) else {
            let part = if on_its_own { alone(of, MANY) } else { 0 };
            return (bucket == BucketState::Usable).then_some((part, of));
        };
        let limit = plan.limit.as_ref()?;
        match limit.hosts.get(&self.me.id).copied().unwrap_or(0) {
            0 if on_its_own => Some((alone(limit.of, limit.hosts.len()), limit.of)),
            part => Some((part, limit.of)),
        }
    }
}
