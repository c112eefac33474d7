//! What asks a disk, and may wait without end, as on a mount whose server is gone.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// How long a disk may take before that is told.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// Waits for what asks a disk, however long that takes, and has it told once if it is not done within [`WITHIN`].
/// Nothing is asked anew meanwhile: what hangs keeps a thread.
pub(super) async fn tell_late<T>(asks: impl Future<Output = T>, tell: impl FnOnce()) -> T {
    let mut asks = pin!(asks);
    match timeout(WITHIN, &mut asks).await {
        Ok(done) => done,
        Err(_) => {
            tell();
            asks.await
        }
    }
}
