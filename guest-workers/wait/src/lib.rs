//! Waits as long as the payload says: work that takes time and no processor.
//!
//! A host wakes its guests a little late, by up to a millisecond. What a wait took too long is taken off the next one,
//! so that the mean of many is right.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tidegate_guest::handler::{Delivery, Failure, Response};

tidegate_guest::handler!(handle);

thread_local! {
    /// What the waits before took too long and nothing has been taken off for.
    static TOO_LONG: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn handle(delivery: Delivery) -> Result<Response, Failure> {
    let time = time(&delivery.payload).map_err(Failure::Reject)?;
    TOO_LONG.set(wait(time, TOO_LONG.get(), std::thread::sleep));
    Ok(Response::reply(""))
}

fn time(payload: &[u8]) -> Result<Duration, String> {
    let shown = String::from_utf8_lossy(payload);
    humantime::parse_duration(shown.trim())
        .map_err(|_| format!("the payload `{shown}` is no time to wait: write one such as 250ms, 20500us or 1s 500ms"))
}

/// Waits for `time`, less what was waited too long before, and returns what is too long now.
fn wait(time: Duration, too_long: Duration, sleep: impl FnOnce(Duration)) -> Duration {
    let start = Instant::now();
    if let Some(left) = time.checked_sub(too_long).filter(|left| !left.is_zero()) {
        sleep(left);
    }
    (too_long + start.elapsed()).saturating_sub(time)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_payload_is_a_time_as_people_write_it() {
        assert_eq!(time(b"20500us"), Ok(Duration::from_micros(20_500)));
        assert_eq!(time(b" 1s 500ms\n"), Ok(1500 * MS));
        assert!(time(b"soon").unwrap_err().starts_with("the payload `soon` is no time to wait: write one such as"));
        assert!(time(b"20").is_err() && time(&[0xff]).is_err());
    }

    #[test]
    fn what_was_too_long_is_taken_off_the_next_wait() {
        let mut slept = None;
        wait(10 * MS, 3 * MS, |time| slept = Some(time));
        assert_eq!(slept, Some(7 * MS));
        // A debt longer than the wait goes on to the one after.
        let left = wait(2 * MS, 3_600_000 * MS, |_| panic!("there is nothing to wait for"));
        assert!(left >= 3_599_998 * MS && left < 3_600_000 * MS, "{left:?}");
    }
}
