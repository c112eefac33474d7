//! Conditions that are awaited, and what fails where they do not hold.

use std::time::Duration;

use crate::shared::wait::within;

/// How long anything may take before a test fails: far longer than it takes, for a loaded machine is no fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits that `condition` holds. Panics with `what` if it does not within [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until(what, async || condition().await.then_some(())).await;
}

/// Awaits that `attempt` gives a value, and gives it. Panics with `what` if it does not within [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, attempt: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, attempt).await.unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}
