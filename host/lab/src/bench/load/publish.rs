//! Publishes the messages of a load, as fast as the server takes them or at a rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;

use super::deal::Load;
use tidegate_runtime::jetstream::Client;

/// How often a rate is kept up with.
const BEAT: Duration = Duration::from_millis(5);

/// Messages that may wait for the server to say that they are stored.
const WINDOW: usize = 4_096;

/// How long a server is left alone that has more waiting for its disk than it holds.
const PAUSE: Duration = Duration::from_millis(50);

/// Publishes all, and returns when all are stored.
///
/// # Errors
/// If the server refuses.
pub(super) async fn publish(client: &Client, stream: &str, load: &Load) -> anyhow::Result<()> {
    let payload = Bytes::from(vec![b'x'; load.payload]);
    let mut headers = HeaderMap::new();
    for header in 0..load.headers {
        headers.append(format!("Bench-{header}"), "as long as many are");
    }
    let send = async |number| {
        let (subject, payload) = (load.subject(stream, number), payload.clone());
        if load.headers == 0 {
            client.jetstream().publish(subject, payload).await
        } else {
            client.jetstream().publish_with_headers(subject, headers.clone(), payload).await
        }
    };
    let stored = async |(number, mut sent): (_, PublishAckFuture)| loop {
        match sent.await {
            Ok(_) => return anyhow::Ok(()),
            Err(error) if is_busy(&error) => {
                tokio::time::sleep(PAUSE).await;
                sent = send(number).await?;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let (began, mut waiting) = (Instant::now(), VecDeque::new());
    for number in 0..load.messages {
        while load.rate.is_some_and(|rate| number as f64 > began.elapsed().as_secs_f64() * rate) {
            tokio::time::sleep(BEAT).await;
        }
        if waiting.len() == WINDOW
            && let Some(first) = waiting.pop_front()
        {
            stored(first).await?;
        }
        waiting.push_back((number, send(number).await?));
    }
    for one in waiting {
        stored(one).await?;
    }
    Ok(())
}

fn is_busy(error: &PublishError) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|error| error.downcast_ref::<jetstream::Error>())
        .is_some_and(|error| error.error_code() == ErrorCode::STREAM_TOO_MANY_REQUESTS)
}
