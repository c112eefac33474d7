//! Several calls of one handler instance at a time.

use tokio::sync::{mpsc, oneshot};

use crate::contract::{Answer, Delivery};

/// A call that an instance is to run beside others.
#[derive(Debug)]
pub struct ConcurrentCall {
    /// What it is called with.
    pub delivery: Delivery,
    /// Where its answer goes. It is dropped without one if the instance ends.
    pub answer: oneshot::Sender<Answer>,
}

/// The calls of an instance, as they come.
pub type ConcurrentCalls = mpsc::UnboundedReceiver<ConcurrentCall>;
