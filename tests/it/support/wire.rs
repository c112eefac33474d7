//! What goes over the wire, in its order.

use std::ops::ControlFlow;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;

/// One subscription: what one connection says is heard in the order it was said.
pub(crate) struct Wire(Subscriber);

impl Wire {
    pub(crate) async fn new(client: &async_nats::Client, subject: &str) -> Self {
        let all = client.subscribe(subject.to_owned()).await.unwrap();
        client.flush().await.unwrap();
        Self(all)
    }

    /// The next message that `wanted` takes. Those before it are gone.
    pub(crate) async fn next(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        let found = async {
            loop {
                let message = self.0.next().await.expect("the connection is there");
                if wanted(&message) {
                    return message;
                }
            }
        };
        tokio::time::timeout(super::PATIENCE, found).await.expect("a message that is wanted")
    }

    /// Reads until `each` says that it has what it needs.
    pub(crate) async fn read<T>(&mut self, mut each: impl FnMut(Message) -> ControlFlow<T>) -> T {
        let found = async {
            loop {
                if let ControlFlow::Break(found) = each(self.0.next().await.expect("the connection is there")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(super::PATIENCE, found).await.expect("what is awaited on the wire")
    }

    /// The next settlement of a delivery from `stream` (`+ACK`, `-NAK ...`, `+TERM ...`).
    pub(crate) async fn settlement(&mut self, stream: &str) -> String {
        let message = self.next(|message| is_settlement(message, stream)).await;
        String::from_utf8(message.payload.to_vec()).unwrap()
    }

    /// Awaits so many samples of the state of a workload's consumer.
    pub(crate) async fn samples(&mut self, workload: &str, count: usize) {
        let subject = format!("$JS.API.CONSUMER.INFO.{workload}.{workload}-workers");
        for _ in 0..count {
            self.next(|message| message.subject.as_str() == subject).await;
        }
    }
}

/// Whether a message settles a delivery from `stream`; to say that it is in progress does not.
pub(crate) fn is_settlement(message: &Message, stream: &str) -> bool {
    is_ack(message, stream) && message.payload != "+WPI"
}

/// Whether a message says something about a delivery from `stream`.
pub(crate) fn is_ack(message: &Message, stream: &str) -> bool {
    message.subject.starts_with(&format!("$JS.ACK.{stream}."))
}
