//! Conditions that are awaited.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::shared::wait;

/// Awaits that `condition` holds, and says how long that took. An error with `what` if it does not within `limit`.
pub(crate) async fn within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) -> Result<Duration> {
    let start = Instant::now();
    until(limit, what, async || condition().await.then_some(())).await?;
    Ok(start.elapsed())
}

/// Awaits that `attempt` gives a value. An error with `what` if it does not within `limit`.
pub(crate) async fn until<T>(limit: Duration, what: &str, attempt: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    wait::within(limit, attempt).await.with_context(|| format!("not within {limit:?}: {what}"))
}

/// The part of all `values` below which `share` (0 to 1) of them are.
pub(crate) fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort();
    let index = (values.len() as f64 * share).ceil() as usize;
    values.get(index.saturating_sub(1)).copied().unwrap_or_default()
}
