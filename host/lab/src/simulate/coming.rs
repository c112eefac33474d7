//! What comes next: a message that arrives, or one that is delivered again. Times are nanoseconds.

use super::arrivals::{Arrivals, Cursor};
use super::random::{Attempt, RandomAttempts, RetryModel, ServiceTime};
use super::redeliveries::{Redeliveries, Redelivery};

/// A message that may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadyMessage {
    /// When it may begin.
    pub(super) ready: u64,
    /// Its number, from 0.
    pub(super) message: u64,
    /// When it arrived.
    pub(super) arrival: u64,
    /// Which attempt this is, from 1.
    pub(super) attempt: u32,
    /// How long the attempt takes, and whether it fails.
    pub(super) time: u64,
    pub(super) fails: bool,
}

/// What has not been given to workers or keys.
#[derive(Debug)]
pub(super) struct Coming<'a> {
    cursor: Cursor<'a>,
    attempts: RandomAttempts,
    /// How many have arrived.
    arrived: u64,
    pub(super) again: Redeliveries,
}

impl<'a> Coming<'a> {
    pub(super) fn new(arrivals: &'a Arrivals, (service, retry): (&ServiceTime, Option<RetryModel>), seed: u64) -> Self {
        let attempts = RandomAttempts::new(service, retry, seed);
        Self { cursor: Cursor::new(arrivals, seed), attempts, arrived: 0, again: Redeliveries::default() }
    }

    /// When the next message arrives.
    pub(super) fn arrival(&self) -> Option<u64> {
        self.cursor.peek()
    }

    /// The next message arrives.
    pub(super) fn take_new(&mut self) -> Option<ReadyMessage> {
        let arrival = self.cursor.peek()?;
        self.cursor.advance();
        let (message, Attempt { time, fails }) = (self.arrived, self.attempts.first());
        self.arrived += 1;
        Some(ReadyMessage { ready: arrival, message, arrival, attempt: 1, time, fails })
    }

    /// The next message is delivered again.
    pub(super) fn take_again(&mut self) -> Option<ReadyMessage> {
        let Redelivery { ready, message, arrival, delivered } = self.again.deliver()?;
        let attempt = delivered.saturating_add(1);
        let Attempt { time, fails } = self.attempts.again(message, attempt);
        Some(ReadyMessage { ready, message, arrival, attempt, time, fails })
    }

    /// When each message arrives that has not yet.
    pub(super) fn arrivals(mut self) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || {
            let arrival = self.cursor.peek();
            self.cursor.advance();
            arrival
        })
    }
}
