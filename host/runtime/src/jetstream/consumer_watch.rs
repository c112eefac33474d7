//! Follows the settings of a consumer while a workload works on it, and acts upon each change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::binding::WorkloadBinding;
use super::settings::{
    ConsumerConfig, ConsumerState, ConsumerVerdict, Reserved, StreamConfig, StreamState, inactive_by_edit, judge,
};
use crate::config::Workload;
use crate::delivery::consumer_settings::{ConsumerFlow, Effective};

/// After how many readings in a row a consumer counts as ahead of its stream. It may seem ahead for a moment while a
/// cluster elects a leader.
const AHEAD: u32 = 2;

/// How long an edit of an idle consumer may go unseen.
const LONGEST: Duration = Duration::from_secs(5);

/// What [`Reserved`] says, for as long as the workload runs.
#[derive(Debug, Clone)]
pub(super) struct OwnPlaces {
    inbox: String,
    letters: String,
    journal: Option<String>,
}

impl OwnPlaces {
    pub(super) fn of(Reserved { inbox, letters, journal }: Reserved<'_>) -> Self {
        Self { inbox: inbox.to_owned(), letters: letters.to_owned(), journal: journal.map(str::to_owned) }
    }

    fn reserved(&self) -> Reserved<'_> {
        Reserved { inbox: &self.inbox, letters: &self.letters, journal: self.journal.as_deref() }
    }
}

/// Stream, consumer and verdict as they were when the workload was set up.
#[derive(Debug, Clone)]
pub(super) struct FoundAtSetup {
    pub(super) workload: Workload,
    pub(super) own: OwnPlaces,
    pub(super) consumer: ConsumerState,
    pub(super) stream: StreamState,
    pub(super) verdict: ConsumerVerdict,
}

/// Compares what the server says of a consumer now with what it said before.
#[derive(Debug)]
pub(super) struct Follow {
    workload: Workload,
    own: OwnPlaces,
    effective: Arc<Effective>,
    seen: (ConsumerConfig, bool, StreamConfig),
    /// When the consumer was made that was read last; another of its name has another time.
    made: String,
    /// Whether it was gone when it was looked for last.
    was_gone: bool,
    /// Whether nothing waited or was unsettled when it was read last.
    was_drained: bool,
    flow: ConsumerFlow,
    warned: BTreeSet<String>,
    /// When stream and consumer were made, and what the consumer had delivered when it was read last.
    delivered: Option<((String, String), u64)>,
    ahead: u32,
}

impl Follow {
    /// Starts with what was found when the workload was set up.
    pub(super) fn new(found: FoundAtSetup, effective: Arc<Effective>) -> Self {
        let FoundAtSetup { workload, own, consumer, stream, verdict } = found;
        let flow = verdict.flow(&workload.queue.stream, &workload.queue.consumer);
        effective.flows(flow.clone());
        let was_drained = consumer.is_drained();
        let (made, seen) = (consumer.created, (consumer.config, consumer.paused, stream.config));
        let warned = verdict.warnings.into_iter().collect();
        Self {
            workload,
            own,
            effective,
            seen,
            made,
            was_gone: false,
            was_drained,
            flow,
            warned,
            delivered: None,
            ahead: 0,
        }
    }

    /// Judges changed settings, lets them take effect, and logs them.
    pub(super) fn look(&mut self, consumer: &ConsumerState, stream: &StreamState) {
        let (config, paused, of) = &self.seen;
        if (config, *paused, of) != (&consumer.config, consumer.paused, &stream.config) {
            self.tell_edit(consumer);
            self.judge(consumer, stream);
        } else if std::mem::take(&mut self.was_gone) {
            self.judge(consumer, stream);
        } else if self.was_drained != consumer.is_drained() {
            // What waits is handled, whatever the stream stores from now on.
            self.flow = self.verdict(consumer, stream).flow(&self.workload.queue.stream, &self.workload.queue.consumer);
        }
        self.was_drained = consumer.is_drained();
        self.made.clone_from(&consumer.created);
        self.was_gone = false;
        // The stream is read before its consumer. So the stream is compared with what the consumer had delivered at the
        // reading before.
        let made = (stream.created.clone(), consumer.created.clone());
        let before = self.delivered.replace((made.clone(), consumer.delivered.stream_seq));
        let before = before.filter(|(of, _)| *of == made).map_or(0, |(_, delivered)| delivered);
        self.ahead = if before > stream.state.last_seq { self.ahead + 1 } else { 0 };
        let ahead =
            (self.ahead >= AHEAD && self.flow == ConsumerFlow::Free).then(|| ahead(&self.workload, consumer, stream));
        self.effective.flows(ahead.unwrap_or_else(|| self.flow.clone()));
    }

    /// The consumer or its stream is gone. What was wrong with it is past: it must not keep pulls, which tell whether
    /// there is another, nor name what mends it.
    pub(super) fn gone(&mut self) {
        self.was_gone = true;
        self.flow = ConsumerFlow::Free;
        self.ahead = 0;
        self.effective.flows(ConsumerFlow::Free);
    }

    /// How long an idle consumer need not be asked about: several intervals, and a few seconds at most.
    pub(super) fn unlooked(&self) -> Duration {
        (self.workload.scale.interval * 10).min(LONGEST)
    }

    /// Whether nothing is wrong with the consumer.
    pub(super) fn is_free(&self) -> bool {
        self.flow == ConsumerFlow::Free && self.ahead == 0
    }

    /// Keeps messages as dead letters that wait for another try and that the server drops because `max_deliver` was
    /// edited.
    pub(super) async fn keep_dropped(&self, binding: &WorkloadBinding, consumer: &ConsumerState) {
        self.effective.settled_to(consumer.ack_floor.stream_seq);
        let dropped = self.effective.dropped();
        if !dropped.is_empty() {
            for (sequence, attempt) in binding.keep_dropped(&self.workload.queue.consumer, dropped).await {
                self.effective.gave_back(sequence, attempt);
            }
        }
    }

    fn verdict(&self, consumer: &ConsumerState, stream: &StreamState) -> ConsumerVerdict {
        judge(consumer, &stream.config, &self.workload, self.own.reserved())
    }

    fn tell_edit(&self, consumer: &ConsumerState) {
        let (name, queue) = (&self.workload.name, &self.workload.queue);
        let ack_wait = consumer.config.shortest_ack_wait();
        tracing::info!(
            workload = name,
            stream = queue.stream,
            consumer = queue.consumer,
            ?ack_wait,
            "the consumer or its stream has other settings now, which are followed"
        );
        let is_same = self.made == consumer.created;
        let inactive = inactive_by_edit(&self.seen.0, &consumer.config, (&queue.stream, &queue.consumer));
        if let Some(warning) = inactive.filter(|_| is_same) {
            tracing::warn!(workload = name, stream = queue.stream, consumer = queue.consumer, "{warning}");
        }
    }

    fn judge(&mut self, consumer: &ConsumerState, stream: &StreamState) {
        let verdict = self.verdict(consumer, stream);
        let (name, queue) = (&self.workload.name, &self.workload.queue);
        for warning in verdict.warnings.iter().filter(|warning| !self.warned.contains(*warning)) {
            tracing::warn!(workload = name, stream = queue.stream, consumer = queue.consumer, "{warning}");
        }
        self.flow = verdict.flow(&queue.stream, &queue.consumer);
        self.warned = verdict.warnings.into_iter().collect();
        self.effective.set(&verdict.settings);
        self.seen = (consumer.config.clone(), consumer.paused, stream.config.clone());
    }
}

fn ahead(workload: &Workload, consumer: &ConsumerState, stream: &StreamState) -> ConsumerFlow {
    let (name, of) = (&workload.queue.consumer, &workload.queue.stream);
    ConsumerFlow::Doubtful(format!(
        "consumer {name} is ahead of its stream: it has delivered up to message {}, and stream {of} ends at {}, so the \
         server has lost messages, and delivers new ones only when there are more than before. Delete the consumer \
         (`nats consumer rm {of} {name}`): a host with manage = \"create\" makes it anew, others need it made",
        consumer.delivered.stream_seq, stream.state.last_seq
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::time::Duration;

    use super::super::settings::{Messages, SequencePair};
    use super::*;
    use crate::config::Config;

    fn follow() -> (Follow, Arc<Effective>) {
        let text = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n";
        let workload = Config::from_toml(text).unwrap().workloads.remove(0);
        let effective = Effective::with_ack_wait(Duration::from_secs(30));
        let (consumer, stream) = (consumer(), stream(0));
        let own = Reserved { inbox: "_INBOX", letters: "TIDEGATE_DEAD", journal: None };
        let verdict = judge(&consumer, &stream.config, &workload, own);
        let found = FoundAtSetup { workload, own: OwnPlaces::of(own), consumer, stream, verdict };
        (Follow::new(found, effective.clone()), effective)
    }

    fn consumer() -> ConsumerState {
        let config = ConsumerConfig {
            durable_name: "orders-workers".into(),
            ack_policy: "explicit".into(),
            ack_wait: 30_000_000_000,
            max_deliver: -1,
            ..ConsumerConfig::default()
        };
        ConsumerState { config, ..ConsumerState::default() }
    }

    fn stream(last_seq: u64) -> StreamState {
        let config =
            StreamConfig { name: "ORDERS".into(), subjects: vec!["orders.>".into()], ..StreamConfig::default() };
        let state = Messages { messages: last_seq, last_seq };
        StreamState { created: "1".into(), config, state }
    }

    #[test]
    fn an_edit_takes_effect_and_one_that_loses_messages_stops_the_pulls_until_it_is_mended() {
        let (mut follow, effective) = follow();
        let mut state = consumer();
        follow.look(&state, &stream(0));
        assert_eq!((effective.ack_wait(), effective.flow()), (Duration::from_secs(30), ConsumerFlow::Free));
        state.config.ack_wait = 1_000_000_000;
        state.config.max_deliver = 2;
        follow.look(&state, &stream(0));
        assert_eq!(effective.ack_wait(), Duration::from_secs(1));
        assert!(effective.is_refused() && effective.is_last(2));
        assert!(
            effective.flow().problem().unwrap().contains("nats consumer edit ORDERS orders-workers --max-deliver=-1")
        );
        state.config.max_deliver = -1;
        follow.look(&state, &stream(0));
        assert!(!effective.is_refused() && !effective.is_last(2));
    }

    #[test]
    fn what_was_wrong_with_a_consumer_that_is_gone_is_past_and_one_that_is_there_again_is_judged() {
        let (mut follow, effective) = follow();
        let mut state = consumer();
        state.config.max_deliver = 2;
        follow.look(&state, &stream(0));
        assert!(effective.is_refused());
        follow.gone();
        assert_eq!((effective.flow(), follow.is_free()), (ConsumerFlow::Free, true));
        // Somebody makes it as it was.
        state.created = "later".to_owned();
        follow.look(&state, &stream(0));
        assert!(effective.is_refused());
        follow.gone();
        state.config.max_deliver = -1;
        follow.look(&state, &stream(0));
        assert_eq!(effective.flow(), ConsumerFlow::Free);
    }

    #[test]
    fn a_consumer_that_is_paused_says_so_and_goes_on() {
        let (mut follow, effective) = follow();
        let mut state = consumer();
        state.paused = true;
        state.config.pause_until = "2030-01-01T00:00:00Z".to_owned();
        follow.look(&state, &stream(0));
        assert!(effective.flow().problem().unwrap().contains("paused until 2030-01-01T00:00:00Z"));
        state.paused = false;
        follow.look(&state, &stream(0));
        assert_eq!(effective.flow(), ConsumerFlow::Free);
    }

    #[test]
    fn a_consumer_that_nothing_can_come_to_is_told_as_soon_as_nothing_waits() {
        let (mut follow, effective) = follow();
        let mut state = consumer();
        state.config.filter_subject = "orders.eu".to_owned();
        follow.look(&state, &stream(0));
        assert_eq!(effective.flow(), ConsumerFlow::Free);
        let mut narrowed = stream(0);
        narrowed.config.subjects = vec!["bills.>".to_owned()];
        // Messages that came before, of which some wait and one is being handled.
        for (pending, unsettled) in [(2, 0), (0, 1)] {
            (state.num_pending, state.num_ack_pending) = (pending, unsettled);
            follow.look(&state, &narrowed);
            assert_eq!(effective.flow(), ConsumerFlow::Free);
        }
        state.num_ack_pending = 0;
        follow.look(&state, &narrowed);
        let flow = effective.flow();
        assert!(matches!(&flow, ConsumerFlow::Doubtful(problem) if problem.contains("orders.eu matches nothing")));
        assert!(!follow.is_free());
        // Such as a message that somebody restores.
        state.num_pending = 1;
        follow.look(&state, &narrowed);
        assert_eq!(effective.flow(), ConsumerFlow::Free);
        state.num_pending = 0;
        follow.look(&state, &narrowed);
        assert!(!follow.is_free());
        follow.look(&state, &stream(0));
        assert_eq!(effective.flow(), ConsumerFlow::Free);
    }

    #[test]
    fn a_consumer_that_stays_ahead_of_its_stream_is_told() {
        let (mut follow, effective) = follow();
        let mut state = consumer();
        state.delivered = SequencePair { consumer_seq: 100, stream_seq: 100 };
        // Between the two requests the consumer may have delivered a message that the stream did not have yet.
        for last in [90, 91] {
            follow.look(&state, &stream(last));
            assert_eq!(effective.flow(), ConsumerFlow::Free);
        }
        follow.look(&state, &stream(91));
        let flow = effective.flow();
        assert!(matches!(
            &flow,
            ConsumerFlow::Doubtful(problem) if problem.contains("message 100") && problem.contains("ends at 91")
        ));
        follow.look(&state, &stream(100));
        assert_eq!(effective.flow(), ConsumerFlow::Free);
    }
}
