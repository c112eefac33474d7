//! Conditions that are awaited. The only place in the tests that sleeps.

use std::time::Duration;

/// How long anything may take before a test fails: far longer than it takes, for a loaded machine is no fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Awaits that `condition` holds. Panics with `what` if it does not within [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until(what, async || condition().await.then_some(())).await;
}

/// Awaits that `attempt` gives a value, and gives it. Panics with `what` if it does not within [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
