//! Publishes the messages of a load, as fast as the server takes them or at a rate.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;

use super::deal::Load;
use tidegate_runtime::jetstream::Client;

/// How often a rate is kept up with.
const BEAT: Duration = Duration::from_millis(5);

/// Publishes all, and returns when the last is stored.
///
/// # Errors
/// If the server refuses.
pub(super) async fn publish(client: &Client, stream: &str, load: &Load) -> anyhow::Result<()> {
    let payload = Bytes::from(vec![b'x'; load.payload]);
    let mut headers = HeaderMap::new();
    for header in 0..load.headers {
        headers.append(format!("Bench-{header}"), "as long as many are");
    }
    let (began, mut last) = (Instant::now(), None);
    for number in 0..load.messages {
        while load.rate.is_some_and(|rate| number as f64 > began.elapsed().as_secs_f64() * rate) {
            tokio::time::sleep(BEAT).await;
        }
        let (subject, payload) = (load.subject(stream, number), payload.clone());
        last = Some(if load.headers == 0 {
            client.jetstream().publish(subject, payload).await?
        } else {
            client.jetstream().publish_with_headers(subject, headers.clone(), payload).await?
        });
    }
    if let Some(last) = last {
        last.await?;
    }
    Ok(())
}
