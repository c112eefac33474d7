//! Conditions that are awaited.

use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Awaits that `attempt` gives a value; none if it does not within `limit`.
pub(crate) async fn within<T>(limit: Duration, mut attempt: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let found = async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(limit, found).await.ok()
}
