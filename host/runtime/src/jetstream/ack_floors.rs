//! How far consumers are known to be settled, and whether they are paused, for as long as the connection lives.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::paused::Paused;
use super::settings::{ConsumerState, StreamState};

/// How far each consumer is known to be settled, by stream and consumer. The floors outlive the workloads: a consumer
/// that was deleted can be made anew where it was.
#[derive(Debug, Default)]
pub(super) struct AckFloors(Mutex<HashMap<(String, String), Floor>>);

#[derive(Debug)]
struct Floor {
    /// When stream and consumer were made. Another stream or consumer of the same name has other sequences.
    made: (String, String),
    sequence: u64,
    last_seq: u64,
    /// The stream has lost messages, so new messages may have sequences up to the floor.
    spoiled: bool,
    paused: Paused,
    /// Messages that waited or were unsettled.
    unsettled: u64,
    /// Whether the stream drops what no consumer waits for.
    is_interest: bool,
}

impl AckFloors {
    /// Remembers how far a consumer is settled, and whether it is paused.
    pub(super) fn saw(&self, stream: &str, consumer: &str, state: &ConsumerState, of: &StreamState) {
        let made = (of.created.clone(), state.created.clone());
        let (sequence, last_seq) = (state.ack_floor.stream_seq, of.state.last_seq);
        let mut floors = self.0.lock();
        let before = floors.get(&(stream.to_owned(), consumer.to_owned())).filter(|floor| floor.made == made);
        let paused = Paused::of(state);
        let unsettled = state.num_pending.saturating_add(state.num_ack_pending);
        let lost = before.is_some_and(|floor| floor.spoiled || last_seq < floor.last_seq.max(floor.sequence));
        floors.insert(
            (stream.to_owned(), consumer.to_owned()),
            Floor { made, sequence, last_seq, spoiled: lost, paused, unsettled, is_interest: of.config.is_interest() },
        );
    }

    /// The message after which a consumer that is made anew has to begin. `None` if that is not known.
    pub(super) fn known(&self, stream: &str, consumer: &str, of: &StreamState) -> Option<u64> {
        let floors = self.0.lock();
        let floor = floors.get(&(stream.to_owned(), consumer.to_owned()))?;
        let lost = floor.spoiled || of.state.last_seq < floor.last_seq.max(floor.sequence);
        (floor.made.0 == of.created && !lost && floor.sequence > 0).then_some(floor.sequence)
    }

    /// How many messages the last consumer of this name had not settled when it was read last. `None` if that is not
    /// known.
    pub(super) fn unsettled(&self, stream: &str, consumer: &str, of: &StreamState) -> Option<u64> {
        let floors = self.0.lock();
        let floor = floors.get(&(stream.to_owned(), consumer.to_owned()))?;
        (floor.made.0 == of.created).then_some(floor.unsettled)
    }

    /// How many messages are lost with a consumer that is gone, as far as its last reading tells; 0 where its stream
    /// keeps them.
    pub(super) fn lost_with(&self, stream: &str, consumer: &str) -> u64 {
        let floors = self.0.lock();
        let floor = floors.get(&(stream.to_owned(), consumer.to_owned()));
        floor.filter(|floor| floor.is_interest).map_or(0, |floor| floor.unsettled)
    }

    /// Whether the last consumer of this name was paused when it was read last. `None` if that is not known.
    pub(super) fn paused(&self, stream: &str, consumer: &str, of: &StreamState) -> Option<Paused> {
        let floors = self.0.lock();
        let floor = floors.get(&(stream.to_owned(), consumer.to_owned()))?;
        (floor.made.0 == of.created).then(|| floor.paused.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Messages, SequencePair};
    use super::*;

    fn stream(last_seq: u64) -> StreamState {
        let state = Messages { messages: last_seq, last_seq };
        StreamState { created: "1".into(), state, ..StreamState::default() }
    }

    #[test]
    fn what_is_known_of_a_consumer_holds_for_its_stream_alone() {
        let floors = AckFloors::default();
        let ack_floor = SequencePair { consumer_seq: 9, stream_seq: 50 };
        let state = ConsumerState { ack_floor, ..ConsumerState::default() };
        assert_eq!(floors.known("S", "c", &stream(60)), None);
        floors.saw("S", "c", &state, &stream(60));
        assert_eq!(floors.known("S", "c", &stream(60)), Some(50));
        assert_eq!(floors.known("S", "other", &stream(60)), None);
        assert_eq!(floors.known("S", "c", &stream(40)), None);
        assert_eq!(floors.known("S", "c", &StreamState { created: "2".into(), ..stream(60) }), None);
    }

    #[test]
    fn what_a_consumer_had_not_settled_is_known_for_its_stream_alone() {
        let floors = AckFloors::default();
        assert_eq!(floors.unsettled("S", "c", &stream(1)), None);
        let state = ConsumerState { num_pending: 5, num_ack_pending: 2, ..ConsumerState::default() };
        floors.saw("S", "c", &state, &stream(7));
        assert_eq!(floors.unsettled("S", "c", &stream(7)), Some(7));
        assert_eq!(floors.unsettled("S", "c", &StreamState { created: "2".into(), ..stream(7) }), None);
    }

    #[test]
    fn what_goes_with_a_consumer_is_what_its_stream_keeps_for_consumers_alone() {
        let floors = AckFloors::default();
        assert_eq!(floors.lost_with("S", "c"), 0);
        let state = ConsumerState { num_pending: 5, num_ack_pending: 2, ..ConsumerState::default() };
        floors.saw("S", "c", &state, &stream(7));
        assert_eq!(floors.lost_with("S", "c"), 0);
        let mut interest = stream(7);
        interest.config.retention = "interest".to_owned();
        floors.saw("S", "c", &state, &interest);
        assert_eq!(floors.lost_with("S", "c"), 7);
    }

    #[test]
    fn the_last_that_was_read_of_a_pause_is_known_for_its_stream_alone() {
        let floors = AckFloors::default();
        assert_eq!(floors.paused("S", "c", &stream(1)), None);
        let mut state = ConsumerState { paused: true, ..ConsumerState::default() };
        state.config.pause_until = "2030-01-01T00:00:00Z".to_owned();
        floors.saw("S", "c", &state, &stream(1));
        let until = Some("2030-01-01T00:00:00Z".to_owned());
        assert_eq!(floors.paused("S", "c", &stream(1)), Some(Paused { paused: true, until }));
        assert_eq!(floors.paused("S", "c", &StreamState { created: "2".into(), ..stream(1) }), None);
        floors.saw("S", "c", &ConsumerState::default(), &stream(2));
        assert_eq!(floors.paused("S", "c", &stream(2)), Some(Paused { paused: false, until: None }));
    }

    #[test]
    fn where_a_stream_has_lost_messages_a_consumer_begins_at_its_beginning() {
        let floors = AckFloors::default();
        let ack_floor = SequencePair { consumer_seq: 9, stream_seq: 50 };
        let mut state = ConsumerState { ack_floor, ..ConsumerState::default() };
        floors.saw("S", "c", &state, &stream(60));
        floors.saw("S", "c", &state, &stream(40));
        // New messages got the sequences of lost ones.
        floors.saw("S", "c", &state, &stream(70));
        assert_eq!(floors.known("S", "c", &stream(70)), None);
        // What is known of an older consumer of the same name says nothing of this one.
        state.created = "later".to_owned();
        floors.saw("S", "c", &state, &stream(70));
        assert_eq!(floors.known("S", "c", &stream(70)), Some(50));
    }
}
