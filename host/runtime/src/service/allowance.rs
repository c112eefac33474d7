//! How much may be answered, so that whoever asks without end costs a host little. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// Answers a second, each of up to [`BYTES`]. A larger one counts as several.
const EACH_SECOND: f64 = 200.0;
/// Answers at once after a pause.
const BURST: f64 = 400.0;
/// The bytes of one answer.
const BYTES: usize = 4096;

/// What may be answered now. It may be overdrawn by one answer.
#[derive(Debug)]
pub(super) struct Allowance {
    left: f64,
    at: Instant,
    /// Requests that were left unanswered, ever.
    unanswered: u64,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, at: now, unanswered: 0 }
    }

    /// Whether one more may be answered. Where it may not, it is counted, and to be told if the count says so.
    pub(super) fn allows(&mut self, now: Instant) -> Result<(), Option<u64>> {
        let since = now.saturating_duration_since(self.at);
        self.at = now;
        self.left = (self.left + since.min(Duration::from_secs(3600)).as_secs_f64() * EACH_SECOND).min(BURST);
        if self.left >= 1.0 {
            return Ok(());
        }
        self.unanswered += 1;
        Err(Some(self.unanswered).filter(|count| count.is_power_of_two()))
    }

    /// An answer of so many bytes is sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left -= 1.0 + (bytes / BYTES) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_answered_in_bounds_and_after_it_all_is_as_before() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(now);
        let mut answered = 0;
        let mut told = Vec::new();
        for _ in 0..10_000 {
            match allowance.allows(now) {
                Ok(()) => {
                    answered += 1;
                    allowance.spend(100);
                }
                Err(Some(count)) => told.push(count),
                Err(None) => {}
            }
            now += Duration::from_micros(100);
        }
        assert!((590..=610).contains(&answered), "{answered}");
        assert_eq!((told.first(), told.len()), (Some(&1), 14));
        now += Duration::from_secs(10);
        assert_eq!(allowance.allows(now), Ok(()));
        // A large answer is paid for later.
        allowance.spend(4 << 20);
        assert!(allowance.allows(now).is_err());
        now += Duration::from_secs(4);
        assert_eq!(allowance.allows(now), Ok(()));
    }
}
