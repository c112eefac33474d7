//! Whether every unsettled delivery of the consumer is with this host.
//!
//! A message that another host had, or that was lost on its way, is delivered again only when its ack wait is over.
//! Until then the server delivers later ones, and those of its key must not begin before it. Nobody knows which key it
//! has. So while a delivery may be elsewhere, nothing begins; what comes waits in its place.
//!
//! The consumer numbers its deliveries, so one that is missing shows in the next one's number. That all are here again
//! shows in the server's count of unsettled ones: it is no more than what is held here.
//!
//! A message that is held here and was delivered more than once may be settled by the host that had it before, as by
//! one that stood still and goes on. Then it would stand for one that is missing. But the server also counts unsettled
//! messages that it has delivered more than once: so many as are fewer than those held here are settled elsewhere. One
//! that was in a handler while this host stood still shows in neither count, so it is not counted as held until the
//! server delivers it again or it is settled.

use std::time::Duration;

use tokio::time::Instant;

/// What the consumer says of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsettled {
    /// Deliveries that are not settled, with whichever host.
    pub(crate) count: u64,
    /// Those among them that are not the first of their message.
    pub(crate) redelivered: u64,
    /// The number of its last delivery.
    pub(crate) last: u64,
}

/// What this host held when it asked the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Messages that were held.
    pub(crate) held: u64,
    /// Those among them that the server had delivered more than once.
    pub(crate) redelivered: u64,
    /// Messages that this host had begun to settle, ever.
    pub(crate) settled: u64,
}

/// Whether every unsettled delivery of the consumer is with this host.
#[derive(Debug)]
pub(crate) struct Completeness {
    is_complete: bool,
    since: Instant,
    /// The number of the last delivery, of whichever host, once it is known.
    last: Option<u64>,
    /// The first of those that came here one after the other until now.
    first: u64,
    /// What the server said last, with what is held here though it is settled elsewhere.
    unsettled: Option<u64>,
}

impl Completeness {
    /// Of a host that has just begun: what the one before it had may still be to come.
    pub(crate) fn new(now: Instant) -> Self {
        Self { is_complete: false, since: now, last: None, first: 0, unsettled: None }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// For how long it has not been complete.
    pub(crate) fn missing_for(&self, now: Instant) -> Option<Duration> {
        (!self.is_complete).then(|| now.saturating_duration_since(self.since))
    }

    /// How many deliveries are known to be elsewhere, if so many are held here; `None` before the server has answered.
    pub(crate) fn missing(&self, held: u64) -> Option<u64> {
        self.unsettled.filter(|_| !self.is_complete).map(|unsettled| unsettled.saturating_sub(held))
    }

    /// A delivery came that has this number; 0 if that is not known.
    pub(crate) fn arrived(&mut self, number: u64, now: Instant) {
        if number == 0 {
            return;
        }
        let before = self.last.replace(number);
        if before.is_none_or(|last| number != last + 1) {
            self.first = number;
        }
        if before.is_some_and(|last| number != last + 1) {
            self.lost(now);
        }
    }

    /// A delivery is unsettled and not here any more.
    pub(crate) fn lost(&mut self, now: Instant) {
        if self.is_complete {
            self.unknown(now);
        }
    }

    /// What the server said does not count any more: another host was given messages.
    pub(crate) fn unknown(&mut self, now: Instant) {
        (self.is_complete, self.since, self.unsettled) = (false, now, None);
    }

    /// The server has answered. `settled` counts what this host has begun to settle until now: what it has settled
    /// since it asked may have been counted there or not. `is_patient` is whether there is still time for what is not
    /// as it seems: a server that has crashed may not know any more what it has delivered more than once.
    ///
    /// An answer that is older than a delivery elsewhere does not count: this host may have stood still before it read
    /// it. Of what was delivered since, all has to have come here.
    pub(crate) fn answered(&mut self, asked: Asked, unsettled: Unsettled, settled: u64, is_patient: bool) {
        if self.last.is_some() && self.first > unsettled.last.saturating_add(1) {
            return;
        }
        self.last.get_or_insert(unsettled.last);
        let elsewhere = if is_patient { asked.redelivered.saturating_sub(unsettled.redelivered) } else { 0 };
        let count = unsettled.count.saturating_add(elsewhere);
        let surely_held = asked.held.saturating_sub(settled.saturating_sub(asked.settled));
        self.is_complete |= count <= surely_held;
        self.unsettled = Some(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(held: u64, settled: u64) -> Asked {
        Asked { held, redelivered: 0, settled }
    }

    fn unsettled(count: u64, last: u64) -> Unsettled {
        Unsettled { count, redelivered: 0, last }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_host_before_had_is_waited_for() {
        let now = Instant::now();
        let mut here = Completeness::new(now);
        assert_eq!((here.is_complete(), here.missing(0)), (false, None));
        here.answered(asked(0, 0), unsettled(3, 20), 0, true);
        assert_eq!((here.is_complete(), here.missing(1)), (false, Some(2)));
        here.answered(asked(3, 0), unsettled(3, 23), 0, true);
        assert_eq!((here.is_complete(), here.missing(3), here.missing_for(now)), (true, None, None));
        let mut first = Completeness::new(now);
        first.answered(asked(0, 0), unsettled(0, 20), 0, true);
        first.arrived(21, now);
        assert!(first.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_that_is_missing_shows_in_the_next_ones_number() {
        let now = Instant::now();
        let mut here = Completeness::new(now);
        here.answered(asked(0, 0), unsettled(0, 0), 0, true);
        (1..5).for_each(|number| here.arrived(number, now));
        assert!(here.is_complete());
        here.arrived(6, now);
        assert!(!here.is_complete());
        here.answered(asked(5, 0), unsettled(6, 6), 0, true);
        assert_eq!((here.is_complete(), here.missing(5)), (false, Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_settled_while_the_server_was_asked_does_not_stand_for_what_is_missing() {
        let mut here = Completeness::new(Instant::now());
        here.answered(asked(3, 7), unsettled(3, 9), 8, true);
        assert!(!here.is_complete());
        here.answered(asked(3, 8), unsettled(3, 9), 8, true);
        assert!(here.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_older_than_a_delivery_elsewhere_does_not_count() {
        let now = Instant::now();
        let mut here = Completeness::new(now);
        here.answered(asked(0, 0), unsettled(1, 20), 0, true);
        // It asks again and stands still. All is settled when the server answers; then another host gets the 21st.
        here.arrived(22, now);
        here.answered(asked(0, 0), unsettled(0, 20), 0, true);
        assert!(!here.is_complete());
        here.answered(asked(1, 0), unsettled(2, 22), 0, true);
        assert_eq!((here.is_complete(), here.missing(1)), (false, Some(1)));
        // What has come since the answer is no reason to ask again, where all of it has come here.
        here.arrived(23, now);
        here.arrived(24, now);
        here.answered(asked(1, 0), unsettled(1, 22), 0, true);
        assert!(here.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_host_has_settled_though_it_is_held_here_does_not_stand_for_what_is_missing() {
        let mut here = Completeness::new(Instant::now());
        // Three were with a host that stood still, and two have come here since. It goes on and settles one of these.
        let asked = Asked { held: 2, redelivered: 2, settled: 0 };
        let unsettled = Unsettled { count: 2, redelivered: 1, last: 9 };
        here.answered(asked, unsettled, 0, true);
        assert_eq!((here.is_complete(), here.missing(2)), (false, Some(1)));
        // The third has come.
        let asked = Asked { held: 3, redelivered: 3, settled: 0 };
        here.answered(asked, Unsettled { count: 2, redelivered: 2, last: 10 }, 0, true);
        assert!(here.is_complete());
        // For ever it does not wait.
        let mut here = Completeness::new(Instant::now());
        here.answered(Asked { held: 2, redelivered: 2, settled: 0 }, unsettled, 0, false);
        assert!(here.is_complete());
    }
}
