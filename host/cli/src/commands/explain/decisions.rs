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
        let mut kept = Kept { stored: millis(stored), end, ..Kept::default() };
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
        if time > self.end {
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
        // Where none from before is known, the first after it tells what was.
        let is_first = self.before.is_none() && self.after.is_empty();
        if decided.time < self.stored {
            self.before = Some(decided);
        } else if (changed || is_first) && self.after.len() < MOST {
            self.after.push(decided);
        } else if changed {
            self.left_out += 1;
        }
        ControlFlow::Continue(())
    }

    fn problem(&self) -> Option<String> {
        (self.unreadable > 0).then(|| format!("{} lines of the journal cannot be read", self.unreadable))
    }

    fn all(self) -> Vec<Decided> {
        self.before.into_iter().chain(self.after).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
