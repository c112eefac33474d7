//! For how long limits kept messages waiting. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// For how long limits bound since it was asked last.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldBack {
    asked: Instant,
    /// Since when a limit binds, if one does.
    since: Option<Instant>,
    total: Duration,
}

impl HeldBack {
    /// No limit binds.
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: now, since: None, total: Duration::ZERO }
    }

    /// Notes whether a limit binds from now on.
    pub(super) fn note(&mut self, binds: bool, now: Instant) {
        match (binds, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.total += now.saturating_duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// The share of the time since this was called last in which a limit bound, from 0 to 1.
    pub(super) fn share(&mut self, now: Instant) -> f64 {
        let binds = self.since.is_some();
        self.note(false, now);
        let (total, time) = (self.total, now.saturating_duration_since(self.asked));
        *self = Self { asked: now, since: binds.then_some(now), total: Duration::ZERO };
        if time.is_zero() { f64::from(u8::from(binds)) } else { total.as_secs_f64() / time.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_time_since_it_was_asked_last() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut held = HeldBack::new(now);
        held.note(true, now + second * 3);
        assert_eq!(held.share(now + second * 4), 0.25);
        assert_eq!(held.share(now + second * 5), 1.0);
        held.note(false, now + second * 6);
        held.note(false, now + second * 7);
        assert_eq!(held.share(now + second * 9), 0.25);
        assert_eq!(held.share(now + second * 10), 0.0);
    }
}
