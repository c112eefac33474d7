//! When calls began, and whether a rate allows that.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// The calls of each host.
#[derive(Default)]
pub(super) struct Pace {
    begun: Vec<(usize, Instant)>,
}

impl Pace {
    /// So many begin at a host. Returns what breaks its rate: so many in a time.
    pub(super) fn begin(&mut self, host: usize, count: usize, rate: Option<Rate>) -> Option<(u128, Duration)> {
        let (now, Rate { every, burst }) = (Instant::now(), rate?);
        self.begun.extend(std::iter::repeat_n((host, now), count));
        let own = self.begun.iter().rev().filter(|(of, _)| *of == host).map(|(_, at)| now - *at);
        let counted = (1..).zip(own);
        let allowed = |time: Duration| u128::from(burst) + time.as_nanos() / every.as_nanos();
        counted.into_iter().find(|(count, time)| *count > allowed(*time))
    }
}
