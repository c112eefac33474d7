//! What goes over the connection.

use std::time::Duration;

use tokio::sync::oneshot;

/// What a host says.
pub(super) enum ClientMessage {
    Pull {
        count: usize,
        expires: Duration,
    },
    Ack(u64),
    Nak(u64, Duration),
    Term(u64),
    InProgress(u64),
    /// A publication of a message, by its index, and who waits for the server's word.
    Publication(u64, usize, oneshot::Sender<bool>),
    DeadLetter(u64, oneshot::Sender<bool>),
}

/// What the server says.
pub(super) enum ServerMessage {
    Delivery {
        sequence: u64,
        attempt: u32,
        /// The consumer's number of the delivery.
        number: u64,
    },
    /// A pull ended with so many deliveries that did not come.
    Ended(usize),
    Stored(oneshot::Sender<bool>, bool),
}
