//! What the demo found out, as an object for programs and as lines for a person.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::load::RequestBatch;
use super::record::{DesiredChange, Record};
use tidegate_runtime::duration::micros;

/// The numbers of a run. Its JSON is what `tidegate demo --output json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The version of the nats-server.
    pub server: String,
    /// Requests, each counted once.
    pub sent: u64,
    /// Requests that got a reply.
    pub replied: u64,
    /// Deliveries that workers acknowledged; more than `replied` if some were delivered twice.
    pub handled: u64,
    /// Times a request was sent again.
    pub retried: u64,
    /// Requests that neither got a reply nor became a dead letter, and messages that the consumer still had to
    /// settle at the end.
    pub lost: u64,
    /// Messages that became dead letters.
    pub dead: u64,
    /// The most workers that ran at once.
    pub peak_workers: u32,
    /// Changes of the desired number of workers.
    pub scalings: Vec<DesiredChange>,
    /// Every worker that ran.
    pub workers: Vec<WorkerSummary>,
    /// Every batch.
    pub batches: Vec<BatchSummary>,
}

/// What one worker did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerSummary {
    /// Its number.
    pub id: u64,
    /// Deliveries that it acknowledged.
    pub handled: u64,
}

/// How one batch went. Latencies are from sending a request for the first time to its reply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchSummary {
    /// From the first request to the last reply.
    pub seconds: f64,
    /// Half of the replies came within this time, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 replies came within this time, in microseconds.
    pub p99_us: u64,
    /// The slowest reply, in microseconds.
    pub max_us: u64,
    /// The reply to the first request, in microseconds; 0 if there was none.
    pub first_us: u64,
    /// How many requests were replied to.
    #[serde(skip)]
    pub replied: u64,
}

impl Summary {
    /// Adds up a run. `unsettled` is what the consumer still had to settle at the end.
    pub(super) fn new(server: String, batches: &[RequestBatch], record: &Record, unsettled: u64) -> Self {
        let sum = |of: fn(&RequestBatch) -> u64| batches.iter().map(of).fold(0, u64::saturating_add);
        let unanswered = batches.iter().flat_map(|batch| &batch.unanswered);
        let dead = |sequences: &[u64]| sequences.iter().any(|sequence| record.dead.contains(sequence));
        let lost = unanswered.filter(|request| !dead(&request.sequences)).count();
        let workers: Vec<WorkerSummary> = record
            .workers
            .iter()
            .map(|(id, handled)| WorkerSummary { id: *id, handled: handled.unwrap_or(0) })
            .collect();
        Self {
            server,
            sent: sum(|batch| batch.sent),
            replied: sum(|batch| batch.replied),
            handled: workers.iter().map(|worker| worker.handled).fold(0, u64::saturating_add),
            retried: sum(|batch| batch.retried),
            lost: (lost as u64).saturating_add(unsettled),
            dead: record.dead.len() as u64,
            peak_workers: record.timeline.peak_workers(),
            scalings: record.scalings.clone(),
            workers,
            batches: batches.iter().map(BatchSummary::new).collect(),
        }
    }
}

impl BatchSummary {
    fn new(batch: &RequestBatch) -> Self {
        Self {
            seconds: batch.elapsed.as_secs_f64(),
            p50_us: batch.latency.value_at_quantile(0.5),
            p99_us: batch.latency.value_at_quantile(0.99),
            max_us: batch.latency.max(),
            first_us: batch.first.map_or(0, micros),
            replied: batch.replied,
        }
    }

    fn rate(&self) -> u64 {
        if self.seconds > 0.0 { (self.replied as f64 / self.seconds).round() as u64 } else { 0 }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let n = thousands;
        writeln!(
            f,
            "sent {}   replied {}   handled {}   retried {}   lost {}   dead {}",
            n(self.sent),
            n(self.replied),
            n(self.handled),
            n(self.retried),
            n(self.lost),
            n(self.dead)
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "{:>8}{:>10}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}",
            "batch", "replied", "time", "rate", "first", "p50", "p99", "max"
        )?;
        for (index, batch) in self.batches.iter().enumerate() {
            let cells = [batch.first_us, batch.p50_us, batch.p99_us, batch.max_us].map(latency);
            write!(f, "{:>8}{:>10}{:>10}", index.saturating_add(1), n(batch.replied), seconds(batch.seconds))?;
            write!(f, "{:>12}", format!("{}/s", n(batch.rate())))?;
            cells.iter().try_for_each(|cell| write!(f, "{cell:>10}"))?;
            writeln!(f)?;
        }
        writeln!(f)?;
        writeln!(f, "{:>8}{:>10}   share (at most {} at once)", "worker", "handled", self.peak_workers)?;
        for worker in &self.workers {
            let share = if self.handled > 0 { worker.handled as f64 / self.handled as f64 } else { 0.0 };
            writeln!(f, "{:>8}{:>10}   {}", worker.id, n(worker.handled), bar(share, 40))?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds in the unit that gives two or three digits.
fn latency(us: u64) -> String {
    match us {
        0 => "-".to_owned(),
        1..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => seconds(Duration::from_micros(us).as_secs_f64()),
    }
}

fn seconds(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.2} s") } else { format!("{seconds:.0} s") }
}

/// A bar of eighths of characters; a share of more than nothing is always seen.
fn bar(share: f64, width: u32) -> String {
    let eighths = (share.clamp(0.0, 1.0) * f64::from(width) * 8.0).ceil() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(" ▏▎▍▌▋▊▉".chars().nth(eighths % 8).filter(|_| !eighths.is_multiple_of(8)));
    bar
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::demo::load::Unanswered;
    use hdrhistogram::Histogram;
    use std::collections::{BTreeMap, BTreeSet};

    fn batch(unanswered: Vec<Unanswered>) -> RequestBatch {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        latency.record_n(200, 98).unwrap();
        latency.record_n(900, 2).unwrap();
        let (elapsed, first) = (Duration::from_millis(2100), Some(Duration::from_micros(850)));
        RequestBatch { elapsed, latency, first, sent: 101, replied: 100, retried: 5, unanswered }
    }

    fn record() -> Record {
        let workers = BTreeMap::from([(1, Some(150)), (2, Some(50)), (3, None)]);
        Record { workers, dead: BTreeSet::from([77]), ..Record::default() }
    }

    #[test]
    fn a_request_is_lost_if_it_got_no_reply_and_is_no_dead_letter() {
        let lost = Unanswered { id: "a".to_owned(), sequences: vec![1, 2] };
        let dead = Unanswered { id: "b".to_owned(), sequences: vec![76, 77] };
        let never_stored = Unanswered { id: "c".to_owned(), sequences: vec![] };
        let of = |unanswered: &[&Unanswered], unsettled| {
            let batch = batch(unanswered.iter().copied().cloned().collect());
            Summary::new("2.15.1".to_owned(), &[batch], &record(), unsettled).lost
        };
        assert_eq!(of(&[], 0), 0);
        assert_eq!(of(&[&dead], 0), 0);
        assert_eq!(of(&[&lost, &dead, &never_stored], 0), 2);
        assert_eq!(of(&[&lost], 3), 4);
    }

    #[test]
    fn the_object_has_exactly_the_promised_keys() {
        let mut record = record();
        record.scalings.push(DesiredChange { at_ms: 1, from: 0, to: 1, reason: "first".to_owned() });
        let summary = Summary::new("2.15.1".to_owned(), &[batch(vec![])], &record, 0);
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(keys(&json), "batches dead handled lost peak_workers replied retried scalings sent server workers");
        assert_eq!(keys(&json["batches"][0]), "first_us max_us p50_us p99_us seconds");
        assert_eq!(keys(&json["scalings"][0]), "at_ms from reason to");
        assert_eq!(keys(&json["workers"][0]), "handled id");
        assert_eq!(json["handled"], 200);
        assert_eq!(json["batches"][0]["first_us"], 850);
    }

    #[test]
    fn a_person_reads_numbers_with_units() {
        let text = Summary::new("2.15.1".to_owned(), &[batch(vec![])], &record(), 0).to_string();
        assert!(text.starts_with("sent 101   replied 100   handled 200   retried 5   lost 0   dead 1\n"), "{text}");
        assert!(text.contains("2.10 s") && text.contains("48/s") && text.contains("850 µs"), "{text}");
        assert!(text.contains("       1       150   ██████████████████████████████\n"), "{text}");
    }

    #[test]
    fn units_follow_the_size() {
        let texts = [0, 7, 999, 1_000, 9_994, 10_000, 999_999, 1_500_000].map(latency);
        assert_eq!(texts, ["-", "7 µs", "999 µs", "1.00 ms", "9.99 ms", "10 ms", "1000 ms", "1.50 s"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.0001, 0.5, 1.0].map(|share| bar(share, 4)), ["", "▏", "██", "████"]);
    }
}
