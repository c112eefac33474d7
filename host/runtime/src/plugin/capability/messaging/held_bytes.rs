//! What the host holds in its own memory for one call.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::refused::Refused;
use crate::plugin::limits::handler::REQUESTS_AT_ONCE;

/// Counts the bytes that the host holds for one call.
#[derive(Debug)]
pub(super) struct HeldBytes {
    held: Mutex<usize>,
    most: usize,
    /// The requests that may wait for their answers at once.
    pub(super) turns: Semaphore,
}

/// A part of them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    of: Arc<HeldBytes>,
    bytes: usize,
}

impl HeldBytes {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::new(0), most, turns: Semaphore::new(REQUESTS_AT_ONCE) })
    }

    /// A part without bytes.
    pub(super) fn nothing(self: &Arc<Self>) -> Part {
        Part { of: Arc::clone(self), bytes: 0 }
    }

    /// A part of so many bytes.
    pub(super) fn part(self: &Arc<Self>, bytes: usize) -> Result<Part, Refused> {
        let mut part = self.nothing();
        part.add(bytes)?;
        Ok(part)
    }
}

impl Part {
    /// Makes it larger.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Refused> {
        let most = self.of.most;
        let mut held = self.of.held.lock();
        let more = held.saturating_add(bytes);
        if more > most {
            return Err(Refused::TooLarge(format!(
                "more than the {most} bytes in one call that limits.response allows"
            )));
        }
        *held = more;
        self.bytes += bytes;
        Ok(())
    }

    /// Makes it smaller.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        *self.of.held.lock() -= bytes;
    }

    /// Counts it until the call has ended.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_call_holds_no_more_than_it_may_and_what_is_kept_counts_on() {
        let bytes = HeldBytes::new(100);
        bytes.part(60).unwrap().keep();
        let mut part = bytes.part(30).unwrap();
        assert!(part.add(11).is_err() && bytes.part(11).is_err());
        part.add(10).unwrap();
        part.give_back(25);
        bytes.part(25).unwrap();
        drop(part);
        bytes.part(40).unwrap();
        assert!(bytes.part(41).unwrap_err().to_string().contains("limits.response"));
    }
}
