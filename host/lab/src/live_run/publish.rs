//! Sends each message at its time.

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::begun::WaitRecorder;
use super::options::{LiveRunOptions, NAME};
use crate::streams::send;
use crate::terminal::Bar;
use tidegate_runtime::duration::micros;
use tidegate_runtime::jetstream::Client;

/// Acknowledgements that may be outstanding before sending waits for them.
const UNSTORED: usize = 4096;

/// Sends all messages, and returns by how many microseconds each was late.
///
/// # Errors
/// If one is not stored.
pub(super) async fn all(
    options: &LiveRunOptions,
    client: &Client,
    start: Instant,
    recorder: &WaitRecorder,
    bar: &Bar,
) -> anyhow::Result<Histogram<u64>> {
    let subject = format!("{NAME}.message");
    let mut late = Histogram::new(3)?;
    let (stored, mut to_be_stored) = mpsc::channel(UNSTORED);
    let send = async {
        // Closed when the last is sent.
        let stored = stored;
        for (index, message) in options.messages.iter().enumerate() {
            let at = start + options.real(message.at);
            sleep_until(at).await;
            late.record(micros(at.elapsed()))?;
            recorder.sent(index);
            let payload = Bytes::from(format!("{}us", options.real(message.service).as_micros()));
            let Ok(()) = stored.send(send(client, &subject, payload).await?).await else { break };
            bar.advance();
        }
        anyhow::Ok(())
    };
    let confirm = async {
        while let Some(stored) = to_be_stored.recv().await {
            stored.await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(send, confirm)?;
    Ok(late)
}
