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
    Publication {
        /// Its message, and its index in the response.
        place: (u64, usize),
        /// Its message id.
        id: String,
        /// What is in it: messages that it stands for too.
        content: String,
        /// Who waits for the server's word.
        answer: oneshot::Sender<bool>,
    },
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
