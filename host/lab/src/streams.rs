//! What the benchmark and live runs need of JetStream beside a host: a filled stream, and the loop of the Auto-Scaler.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream;
use bytes::Bytes;
use futures_util::StreamExt;

use tidegate_runtime::jetstream::Client;

/// How many messages the example fetches at once.
const FETCH: usize = 5;

/// Makes a stream on disk with `count` messages of `size` bytes on `subject`.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn fill(client: &Client, name: &str, subject: &str, count: usize, size: usize) -> anyhow::Result<()> {
    fill_many(client, name, subject, count, size, |_| subject.to_owned()).await
}

/// The same with a subject for each message by its number, from 0.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn fill_many(
    client: &Client,
    name: &str,
    subjects: &str,
    count: usize,
    size: usize,
    subject: impl Fn(usize) -> String,
) -> anyhow::Result<()> {
    let (name, subjects) = (name.to_owned(), vec![subjects.to_owned()]);
    client.jetstream().create_stream(stream::Config { name, subjects, ..stream::Config::default() }).await?;
    let payload = Bytes::from(vec![b'x'; size]);
    let mut last = None;
    for number in 0..count {
        last = Some(client.jetstream().publish(subject(number), payload.clone()).await?);
    }
    if let Some(last) = last {
        last.await?;
    }
    Ok(())
}

/// Publishes, and returns what waits until the message is stored.
///
/// # Errors
/// If it cannot be sent; and of what is returned, if it is not stored.
pub(crate) async fn send(
    client: &Client,
    subject: &str,
    payload: Bytes,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
    let stored = client.jetstream().publish(subject.to_owned(), payload).await?;
    Ok(async move {
        stored.await?;
        Ok(())
    })
}

/// Removes what a stream has.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn purge(client: &Client, stream: &str) -> anyhow::Result<()> {
    client.jetstream().get_stream(stream).await?.purge().await?;
    Ok(())
}

/// How many messages of the stream a consumer has not delivered; all of them before there is such a consumer.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn pending(client: &Client, stream: &str, consumer: &str) -> anyhow::Result<u64> {
    let stream = client.jetstream().get_stream(stream).await?;
    Ok(match stream.consumer_info(consumer).await {
        Ok(info) => info.num_pending,
        Err(_) => stream.cached_info().state.messages,
    })
}

/// Deletes a consumer.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn forget(client: &Client, stream: &str, consumer: &str) -> anyhow::Result<()> {
    client.jetstream().delete_consumer_from_stream(consumer, stream).await?;
    Ok(())
}

/// Works off a stream the example's way: `workers` loops, each fetches five messages with a time-out of 1 s and
/// acknowledges one after the other before it fetches again.
///
/// # Errors
/// If the server refuses.
#[expect(clippy::disallowed_methods, reason = "it is the example's loop and not a worker")]
pub(crate) async fn work_off_as_the_example(
    client: &Client,
    stream: &str,
    consumer: &str,
    workers: usize,
) -> anyhow::Result<()> {
    let config = pull::Config {
        durable_name: Some(consumer.to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 10_000,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = client.jetstream().create_consumer_on_stream(config, stream).await?;
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let consumer = consumer.clone();
        loops.spawn(async move {
            loop {
                let mut left = FETCH;
                let mut batch = consumer.batch().max_messages(FETCH).expires(Duration::from_secs(1)).messages().await?;
                while let Some(message) = batch.next().await {
                    message.map_err(anyhow::Error::from_boxed)?.ack().await.map_err(anyhow::Error::from_boxed)?;
                    left -= 1;
                }
                if left > 0 {
                    return anyhow::Ok(());
                }
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}
