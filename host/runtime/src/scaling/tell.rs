//! What is told of another number of workers.

use std::sync::Arc;

use crate::events::{Event, Observer};
use crate::scaling::history::WOKEN;
use crate::scaling::workers::Desired;

/// Tells that another number of workers is wanted, and why.
pub(super) fn tell_scaled(events: &Observer, workload: &Arc<str>, (from, to): (u32, u32), reason: &str) {
    tracing::info!(workload = %workload, reason, "scaling {from} -> {to}");
    events.tell(Event::Scaled { workload: workload.clone(), from, to, reason: reason.to_owned() });
}

/// Tells that a message has started the first worker, if nobody has yet.
pub(super) fn tell_woken(desired: &Desired, events: &Observer, workload: &Arc<str>) {
    if desired.take_untold() {
        tell_scaled(events, workload, (0, 1), WOKEN);
    }
}
