//! Keeps the server from deleting a consumer that a host works on and asks for nothing.
//!
//! A consumer with an inactive threshold is deleted so long after the last pull or ack, and a host may ask for nothing
//! for longer than that: it waits for its rate, its plugin, a worker, or for somebody to mend the consumer. A pull says
//! that the consumer is in use, but brings a message, or has the server drop one that is past a `max_deliver`. An
//! in-progress signal that names no delivery says it too, and changes nothing.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connect::Client;
use super::probe::NO_DELIVERY;
use crate::delivery::consumer_settings::Effective;

/// Says that consumers are in use, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct InUse(JoinSet<()>);

impl InUse {
    /// Says it of one more, as often as its settings of that moment want.
    pub(super) fn add(&mut self, client: &Client, stream: &str, consumer: &str, effective: &Arc<Effective>) {
        let (client, effective) = (client.clone(), effective.clone());
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.0.spawn(async move {
            loop {
                // Armed before the threshold is read, so that an edit in between is not missed.
                let edited = effective.edited();
                let Some(every) = effective.tell_in_use_every() else {
                    edited.await;
                    continue;
                };
                tokio::select! {
                    () = sleep(every) => client.tell_in_use(&stream, &consumer).await,
                    () = edited => {}
                }
            }
        });
    }
}

impl Client {
    /// Says that a consumer is in use. Without a connection nothing is said: the client library would keep it, and send
    /// it late.
    pub(super) async fn tell_in_use(&self, stream: &str, consumer: &str) {
        if self.is_connected() {
            let subject = format!("$JS.ACK.{stream}.{consumer}.{NO_DELIVERY}");
            if let Err(error) = self.nats.publish(subject, "+WPI".into()).await {
                tracing::debug!(stream, consumer, %error, "not told that the consumer is in use");
            }
        }
    }
}
