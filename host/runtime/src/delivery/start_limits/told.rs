//! What a call says about what is behind the handler. Pure.

use crate::contract::{Answer, Failure, Fault, Outcome};

/// What a call says about what is behind the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It works: the handler has come to an end with the delivery.
    Works,
    /// It does not: the handler asked to retry, or ran out of time.
    Fails,
    /// Nothing.
    Nothing,
}

impl Told {
    /// What a handler's answer says. A rejection is the handler's own verdict on the message.
    pub(crate) fn by_answer(answer: &Answer) -> Self {
        match answer {
            Ok(_) | Err(Failure::Reject(_)) => Self::Works,
            Err(Failure::Retry(_) | Failure::Failed(_)) => Self::Fails,
        }
    }

    /// What a call without an answer says. A trap and a fault of memory are of the code and not of what is behind it.
    pub(crate) fn by_fault(fault: &Fault) -> Self {
        if matches!(fault, Fault::Time(_)) { Self::Fails } else { Self::Nothing }
    }

    /// What the outcome of a call says.
    pub(crate) fn by(outcome: &Outcome) -> Self {
        match outcome {
            Ok(answer) => Self::by_answer(answer),
            Err(fault) => Self::by_fault(fault),
        }
    }
}
