//! Looks after the order of a workload that keeps one: begins what is due, asks the server whether all deliveries are
//! here, and says what holds the order up. Of one that handles few of a key at once, it says what holds that up.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::conditions::{Conditions, Part};
use crate::contract::Delivery;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::inbox::{Blocks, FullBuffer, Inbox};
use crate::delivery::order::{Asked, Unsettled};
use crate::ports::Held;
use crate::subject::shown;

/// How often the server is asked while deliveries are elsewhere, and how often it is looked whether a key is stuck.
const LOOK: Duration = Duration::from_secs(1);

/// For how long one message may hold up all others of a full buffer before it is told.
const STUCK: Duration = Duration::from_secs(5);

/// What is told where deliveries stay elsewhere.
const ELSEWHERE: &str = "nothing begins, for deliveries of the consumer are unsettled and not with this host: another \
                         host works on it too, and with order-key one host at a time may; stop the other, give each a \
                         consumer of its own, or make the consumer anew so that the server sees to it (a priority \
                         group with a pinned client, as hosts with manage = \"create\" make it on servers of 2.11 and \
                         newer)";

/// Keeps the order of an inbox for ever. `ask` asks the server what is unsettled.
pub(crate) async fn keep_order<D: Held, A: Future<Output = anyhow::Result<Unsettled>>>(
    inbox: &Inbox<D>,
    consumer: &Effective,
    conditions: &Conditions,
    ask: impl Fn() -> A,
) -> Infallible {
    let mut report = Report::new(conditions, Part::Order);
    let mut look_at = Instant::now();
    let mut was_standby = false;
    loop {
        let standby = consumer.is_standby();
        if standby {
            report.missing(None, consumer.ack_wait());
        } else if was_standby {
            tracing::info!("this host is given the messages from now on");
            inbox.is_pinned();
        }
        was_standby = standby;
        for held in inbox.take_settled() {
            let Delivery { stream_sequence, attempt, .. } = *held.delivery();
            tracing::debug!(stream_sequence, attempt, "settled, or with another host by now: given back");
            consumer.gave_back(stream_sequence, attempt);
            held.nak(Duration::ZERO).await;
        }
        let Some(next) = inbox.begin_due() else { return std::future::pending().await };
        let now = Instant::now();
        if let Some(asked) = next.asks.filter(|_| !standby && (next.at_once || look_at <= now)) {
            look_at = now + LOOK;
            let elsewhere = settle(inbox, asked, ask().await);
            report.missing(elsewhere, consumer.ack_wait());
            // Arrivals may have changed what is to be done.
            continue;
        }
        if look_at <= now {
            look_at = now + LOOK;
            report.full(inbox.full_buffer(), now);
        }
        let looks = next.asks.is_some() && !standby || next.waits || report.has_told();
        let until = next.due.into_iter().chain(looks.then_some(look_at)).min();
        tokio::select! {
            () = inbox.order_changed() => {}
            () = sleep_until(until.unwrap_or(now)), if until.is_some() => {}
        }
    }
}

/// Says for ever which key keeps anything from being fetched, where few of a key are handled at once.
pub(crate) async fn watch_places<D: Held>(inbox: &Inbox<D>, conditions: &Conditions) -> Infallible {
    let mut report = Report::new(conditions, Part::PerKey);
    loop {
        if !report.has_told() {
            inbox.key_waits().await;
        }
        sleep(LOOK).await;
        report.full(inbox.full_places(), Instant::now());
    }
}

/// How many deliveries are elsewhere, and for how long; `None` if none are, or that is not known.
fn settle<D: Held>(inbox: &Inbox<D>, asked: Asked, answer: anyhow::Result<Unsettled>) -> Option<(u64, Duration)> {
    match answer {
        Ok(unsettled) => inbox.unsettled(asked, unsettled),
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "not known whether deliveries are elsewhere");
            None
        }
    }
}

/// Says what holds the order up.
struct Report<'a> {
    conditions: &'a Conditions,
    /// As what it is told.
    part: Part,
    /// Whether it was told that deliveries are elsewhere, and whether that is a problem by now.
    missing: Option<bool>,
    /// Since when this is why nothing more is fetched, and as what it is told by now.
    stuck: Option<(FullBuffer, Instant, Option<String>)>,
}

impl<'a> Report<'a> {
    fn new(conditions: &'a Conditions, part: Part) -> Self {
        Self { conditions, part, missing: None, stuck: None }
    }

    /// Tells what is a problem now. Where both are, nothing begins, and so that comes first.
    fn tell(&self) {
        let stuck = self.stuck.as_ref().and_then(|(.., told)| told.as_deref());
        match (self.missing, stuck) {
            (Some(true), _) => self.conditions.raise(self.part, ELSEWHERE),
            (_, Some(stuck)) => self.conditions.raise(self.part, stuck),
            _ => self.conditions.clear(self.part),
        }
    }

    fn has_told(&self) -> bool {
        self.missing.is_some() || self.stuck.is_some()
    }

    fn missing(&mut self, elsewhere: Option<(u64, Duration)>, ack_wait: Duration) {
        let Some((count, since)) = elsewhere.filter(|(count, _)| *count > 0) else {
            if self.missing.take() == Some(true) {
                self.tell();
            }
            return;
        };
        if self.missing.is_none() {
            tracing::info!(
                count,
                ?ack_wait,
                "deliveries are unsettled and not with this host, as after a crash: \
                to keep the order, nothing begins before they are here, when their ack wait is over"
            );
            self.missing = Some(false);
        }
        // They come when their ack wait is over, unless somebody extends it.
        if since > ack_wait * 2 && self.missing == Some(false) {
            self.missing = Some(true);
            self.tell();
        }
    }

    fn full(&mut self, full: Option<FullBuffer>, now: Instant) {
        let Some(full) = full else {
            if self.stuck.take().is_some_and(|(.., told)| told.is_some()) {
                self.tell();
            }
            return;
        };
        let same = |(before, ..): &&mut (FullBuffer, Instant, Option<String>)| {
            (&before.key, before.sequence) == (&full.key, full.sequence)
        };
        let Some((before, since, told)) = self.stuck.as_mut().filter(same) else {
            let before = self.stuck.replace((full, now, None));
            if before.is_some_and(|(.., told)| told.is_some()) {
                self.tell();
            }
            return;
        };
        *before = full;
        if now.saturating_duration_since(*since) >= STUCK && told.is_none() {
            *told = Some(stuck(before));
            self.tell();
        }
    }
}

fn stuck(FullBuffer { key, sequence, blocks, messages }: &FullBuffer) -> String {
    let key = if key.is_empty() { "one message".to_owned() } else { format!("key `{}`", shown(key)) };
    let why = match blocks {
        Blocks::Failed => "failed and is tried again after its backoff",
        Blocks::Handled => "is still being handled",
        Blocks::Places(begun) => {
            return format!(
                "nothing more is fetched, for per-key.buffer is full ({messages} messages, or its bytes): most wait \
                 for one of the {begun} of {key} that are being handled, message {sequence} first. Mend what holds \
                 them up, lower limits.time so that they end sooner, or raise per-key.max-in-flight or per-key.buffer"
            );
        }
    };
    format!(
        "nothing more is fetched, for order-buffer is full ({messages} messages, or its bytes): most wait for message \
         {sequence} of {key}, which {why}. Mend what holds it up, lower retry.max-attempts or limits.time so that it \
         ends sooner, or raise order-buffer"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(conditions: &Conditions) -> Option<String> {
        conditions.all().into_iter().find(|(part, _)| *part == Part::Order).map(|(_, problem)| problem)
    }

    fn full(sequence: u64, failed: bool) -> Option<FullBuffer> {
        let blocks = if failed { Blocks::Failed } else { Blocks::Handled };
        Some(FullBuffer { key: "orders.eu.7".into(), sequence, blocks, messages: 100 })
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_blamed_once_one_message_has_filled_the_buffer_for_long() {
        let conditions = Conditions::new("orders".into());
        let mut report = Report::new(&conditions, Part::Order);
        let begin = Instant::now();
        report.full(full(7, false), begin);
        report.full(full(8, false), begin + STUCK);
        assert_eq!(problem(&conditions), None);
        report.full(full(8, true), begin + STUCK * 2);
        let told = problem(&conditions).unwrap();
        for part in ["message 8 of key `orders.eu.7`", "failed and is tried again", "100 messages", "order-buffer"] {
            assert!(told.contains(part), "no {part} in {told}");
        }
        // The next message is another matter.
        report.full(full(9, false), begin + STUCK * 2);
        assert_eq!(problem(&conditions), None);
        report.full(full(9, false), begin + STUCK * 3);
        assert!(problem(&conditions).unwrap().contains("is still being handled"));
        report.full(None, begin + STUCK * 3);
        assert!(problem(&conditions).is_none() && !report.has_told());
    }

    #[tokio::test(start_paused = true)]
    async fn another_host_is_blamed_once_deliveries_have_been_elsewhere_for_two_ack_waits() {
        let conditions = Conditions::new("orders".into());
        let mut report = Report::new(&conditions, Part::Order);
        let ack_wait = Duration::from_secs(30);
        report.missing(Some((3, Duration::ZERO)), ack_wait);
        report.missing(Some((3, ack_wait * 2)), ack_wait);
        assert!(problem(&conditions).is_none() && report.has_told());
        report.missing(Some((3, ack_wait * 2 + LOOK)), ack_wait);
        assert!(problem(&conditions).unwrap().contains("another host works on it too"));
        // That the buffer is full as well, and then is not, changes nothing.
        report.full(full(7, false), Instant::now());
        report.full(None, Instant::now());
        assert!(problem(&conditions).is_some());
        report.missing(None, ack_wait);
        assert!(problem(&conditions).is_none() && !report.has_told());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_hold_the_order_up_the_one_that_is_left_is_told() {
        let conditions = Conditions::new("orders".into());
        let mut report = Report::new(&conditions, Part::Order);
        let (begin, ack_wait) = (Instant::now(), Duration::from_secs(30));
        report.full(full(7, false), begin);
        report.full(full(7, false), begin + STUCK);
        report.missing(Some((3, ack_wait * 3)), ack_wait);
        assert!(problem(&conditions).unwrap().contains("another host works on it too"));
        report.missing(None, ack_wait);
        assert!(problem(&conditions).unwrap().contains("message 7 of key"));
        report.missing(Some((3, ack_wait * 3)), ack_wait);
        report.full(full(8, false), begin + STUCK);
        assert!(problem(&conditions).unwrap().contains("another host works on it too"));
    }
}
