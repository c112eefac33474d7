//! The decisions around a message, from the journal in a stream.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use tidegate_runtime::duration::rfc3339_millis;
use tidegate_runtime::jetstream::{Client, DecisionsError};
use tidegate_runtime::journal::{Change, JournalEvent, JournalLine, Role, parse};

/// How many are kept. The first tell what was when the message came.
const MOST: usize = 20;
/// The last time that a journal can tell.
const LAST: &str = "9999-12-31T23:59:59.999Z";

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Decided {
    /// When, in UTC, to the millisecond.
    pub(super) time: String,
    /// Whose.
    pub(super) host: String,
    /// How the number of workers changed; none if it could not be decided.
    pub(super) workers: Option<Change>,
    /// The policy's reason, or why it did not answer.
    pub(super) reason: String,
}

/// What the journal has.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Around {
    /// The last decision before the message was stored, or the first that is known, and then those that changed the
    /// number or failed.
    pub(super) decisions: Vec<Decided>,
    /// How many more there are.
    pub(super) left_out: u64,
    /// Why there are none, or not all.
    pub(super) problem: Option<String>,
}

impl Around {
    /// Nothing, and why.
    pub(super) fn nothing(problem: &str) -> Self {
        Self { problem: Some(problem.to_owned()), ..Self::default() }
    }

    /// Reads those of a workload from `around` before the message was stored until `around` after `end`.
    pub(super) async fn read(
        client: &Client,
        stream: &str,
        workload: &str,
        (stored, end, around): (SystemTime, SystemTime, Duration),
    ) -> Self {
        let (since, end) = span(stored, end, around);
        let mut kept = Kept { since: millis(since), stored: millis(stored), end, ..Kept::default() };
        let read = async {
            let decisions = client.decisions(stream).await?;
            decisions.scan(Some(workload), Some(since), |_, text| kept.line(&text)).await
        };
        let problem = read.await.err().map(|error| match error {
            DecisionsError::NoStream { stream } => format!("stream {stream} of the journal is not there"),
            error => error.to_string(),
        });
        Self { problem: problem.or(kept.problem()), left_out: kept.left_out, decisions: kept.all() }
    }
}

/// From when to read, and the time of the last line that counts: as far as there are times, however long `around` is.
fn span(stored: SystemTime, end: SystemTime, around: Duration) -> (SystemTime, String) {
    let since = stored.checked_sub(around).map_or(SystemTime::UNIX_EPOCH, |since| since.max(SystemTime::UNIX_EPOCH));
    (since, end.checked_add(around).map_or_else(|| LAST.to_owned(), millis))
}

/// Times compare as their texts do: all are UTC, to the millisecond.
fn millis(time: SystemTime) -> String {
    rfc3339_millis(time).unwrap_or_else(|| LAST.to_owned())
}

/// What is kept of the lines.
#[derive(Debug, Default)]
struct Kept {
    since: String,
    stored: String,
    end: String,
    before: Option<Decided>,
    after: Vec<Decided>,
    left_out: u64,
    unreadable: u64,
}

impl Kept {
    fn line(&mut self, text: &Bytes) -> ControlFlow<()> {
        // A message is a line without its end.
        let Ok(JournalLine { time, host, event, .. }) = parse(&[&text[..], b"\n"].concat()) else {
            self.unreadable += 1;
            return ControlFlow::Continue(());
        };
        let is_after = time > self.end;
        if is_after && self.has_any() {
            return ControlFlow::Break(());
        }
        let JournalEvent::Decide(line) = event else { return ControlFlow::Continue(()) };
        if line.role != Role::Live {
            return ControlFlow::Continue(());
        }
        let changed = line.workers.is_none_or(|change| change.from != change.to);
        let reason = match (line.decision, line.fault) {
            (Some(decision), _) => decision.reason,
            (None, fault) => fault.map(|fault| fault.text).unwrap_or_default(),
        };
        let decided = Decided { time, host, workers: line.workers, reason };
        // Where none from before is known, the first after it tells what was, however long after.
        let is_first = !self.has_any();
        if decided.time < self.stored {
            self.before = Some(decided);
        } else if (changed || is_first) && self.after.len() < MOST {
            self.after.push(decided);
        } else if changed {
            self.left_out += 1;
        }
        if is_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn has_any(&self) -> bool {
        self.before.is_some() || !self.after.is_empty()
    }

    fn problem(&self) -> Option<String> {
        match (self.unreadable, self.has_any()) {
            (0, true) => None,
            (0, false) => Some(format!("it has no decision of the workload from {} on", self.since)),
            (unreadable, _) => Some(format!("{unreadable} lines of the journal cannot be read")),
        }
    }

    fn all(self) -> Vec<Decided> {
        self.before.into_iter().chain(self.after).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use serde_json::json;

    /// A decision at a second of a minute.
    fn line(second: u64, role: &str, to: u32) -> Bytes {
        let line = json!({
            "journal": 1, "time": at(second), "host": "h", "event": "decide", "workload": "w", "role": role,
            "policy": { "name": "p", "generation": "g" }, "settings": {}, "arrivals": 0,
            "limits": tidegate_runtime::journal::PolicyBounds {
                fuel: 1, memory: 1, table_elements: 1, instances: 1, response: 1,
            },
            "observation": tidegate_runtime::contract::Observation::default(),
            "state": { "digest": "d" },
            "decision": { "desired": to, "reason": format!("at {second}"), "state": { "digest": "d" } },
            "workers": { "from": 1, "to": to },
        });
        line.to_string().into()
    }

    fn at(second: u64) -> String {
        millis(SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800 + second))
    }

    /// The reasons that are kept of the lines from second 10 to 40 of a message that was stored in second 20, and why
    /// there are no more.
    fn kept(lines: &[Bytes]) -> (Vec<String>, Option<String>) {
        let mut kept = Kept { since: at(10), stored: at(20), end: at(40), ..Kept::default() };
        let _ = lines.iter().try_for_each(|line| kept.line(line));
        let problem = kept.problem();
        (kept.all().into_iter().map(|decided| decided.reason).collect(), problem)
    }

    #[test]
    fn the_first_decision_that_is_known_is_kept_where_it_is_long_after_and_where_there_is_none_that_is_told() {
        let live = |second, to| line(second, "live", to);
        let reasons = |lines: &[Bytes]| kept(lines).0;
        assert_eq!(reasons(&[live(12, 1), live(14, 1), live(21, 1), live(30, 2), live(41, 3)]), ["at 14", "at 30"]);
        assert_eq!(reasons(&[live(25, 1), live(26, 1), live(41, 3)]), ["at 25"]);
        assert_eq!(reasons(&[line(50, "shadow", 1), live(1000, 1), live(1001, 2)]), ["at 1000"]);
        let none = Some(format!("it has no decision of the workload from {} on", at(10)));
        assert_eq!(kept(&[line(50, "shadow", 1)]), (vec![], none));
    }

    #[test]
    fn a_span_ends_where_there_are_no_times_any_more() {
        let stored = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800);
        let (since, end) = span(stored, stored, Duration::from_secs(60));
        assert_eq!(stored.duration_since(since).unwrap_or_default().as_secs(), 60);
        assert_eq!(end, "2026-01-31T12:01:00.000Z");
        // Ten thousand years, and all the time there is.
        for around in [Duration::from_secs(10_000 * 31_557_600), Duration::MAX] {
            assert_eq!(span(stored, stored, around), (SystemTime::UNIX_EPOCH, LAST.to_owned()));
        }
    }
}
