//! How many messages arrived for a consumer, from what the server says of it and of its stream. Pure.

/// What the server said of a stream and a consumer at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ConsumerReading {
    /// When the stream was made.
    pub(super) stream: String,
    /// When the consumer was made.
    pub(super) consumer: String,
    /// Messages in the stream.
    pub(super) messages: u64,
    /// The stream's last sequence, read before the consumer.
    pub(super) last: u64,
    /// Messages that the consumer has not delivered yet.
    pub(super) pending: u64,
    /// Deliveries, ever.
    pub(super) deliveries: u64,
    /// The sequence of the newest message that was delivered.
    pub(super) delivered: u64,
    /// Deliveries of a second or later attempt that this host has seen, ever.
    pub(super) redelivered: u64,
}

/// Counts arrivals from one reading to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct ArrivalCount {
    arrivals: u64,
    last: Option<ConsumerReading>,
    /// Messages that the consumer showed in the last reading and the stream did not yet: the stream is read first.
    owed: u64,
    /// Redeliveries that this host has seen and no reading has shown yet. Negative where a reading showed them first.
    unseen: i64,
}

impl ArrivalCount {
    /// How many messages have arrived since the first reading. With a filter that cannot be known exactly: the stream's
    /// sequence counts messages of other subjects too, and the consumer's state does not say how many of its deliveries
    /// were redeliveries. So it is the least of three numbers, none of which is ever too small. The result is exact
    /// while nothing is redelivered, and while nothing comes to the stream.
    pub(super) fn read(&mut self, now: ConsumerReading, filtered: bool) -> u64 {
        let before = self.last.replace(now.clone());
        let arrived = match before {
            None => 0,
            // The stream was made anew under the same name: all messages in it are new.
            Some(before) if before.stream != now.stream || now.last < before.last => {
                (self.owed, self.unseen) = (0, 0);
                if filtered { now.messages.min(now.pending + now.deliveries.min(now.delivered)) } else { now.messages }
            }
            Some(before) if !filtered => now.last - before.last,
            // The consumer was made anew: messages that are pending for it may be old.
            Some(before) if before.consumer != now.consumer => {
                (self.owed, self.unseen) = (0, 0);
                0
            }
            Some(before) => self.filtered(&before, &now),
        };
        self.arrivals = self.arrivals.saturating_add(arrived);
        self.arrivals
    }

    /// Whether the last reading left nothing to be counted with the next.
    pub(super) fn is_settled(&self) -> bool {
        self.owed == 0
    }

    fn filtered(&mut self, before: &ConsumerReading, now: &ConsumerReading) -> u64 {
        let grew = |of: fn(&ConsumerReading) -> u64| of(now).saturating_sub(of(before));
        let (deliveries, delivered) = (grew(|at| at.deliveries), grew(|at| at.delivered));
        // Deliveries beyond what the stream's sequence grew by are redeliveries, on whichever host.
        let first = deliveries.min(delivered);
        let again = signed(deliveries - first);
        self.unseen = (self.unseen + signed(grew(|at| at.redelivered)) - again).max(-again);
        let own = u64::try_from(self.unseen).unwrap_or(0).min(first);
        self.unseen -= signed(own);
        let came = (now.pending + first - own).saturating_sub(before.pending);
        let stored = grew(|at| at.last);
        let arrived = (came + self.owed).min(stored);
        self.owed = (came + self.owed - arrived).min(came);
        arrived
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(last: u64, pending: u64, deliveries: u64, delivered: u64) -> ConsumerReading {
        ConsumerReading {
            stream: "s1".into(),
            consumer: "c1".into(),
            messages: last,
            last,
            pending,
            deliveries,
            delivered,
            redelivered: 0,
        }
    }

    #[test]
    fn redeliveries_to_other_hosts_are_no_arrivals() {
        let mut count = ArrivalCount::default();
        count.read(reading(1000, 100, 50, 500), true);
        // Nothing comes; deliveries are repeated, and go through messages of other subjects.
        for tick in 1..=10 {
            let at = reading(1000, 100 - tick * 10, 50 + tick * 195, 500 + tick * 50);
            assert_eq!(count.read(at, true), 0, "tick {tick}");
        }
        // Then the stream grows by 20, 5 of which are for the consumer: no more than 20 are counted.
        let counted = count.read(reading(1020, 5, 2000, 1015), true);
        assert!((5..=20).contains(&counted), "{counted}");
        assert_eq!(count.read(reading(1020, 0, 2100, 1020), true), counted);
    }

    #[test]
    fn redeliveries_to_this_host_are_no_arrivals_either() {
        let mut count = ArrivalCount::default();
        count.read(reading(1000, 0, 100, 1000), true);
        let now = ConsumerReading { redelivered: 30, ..reading(1100, 0, 140, 1100) };
        assert_eq!(count.read(now, true), 10);
    }

    #[test]
    fn what_comes_between_the_two_readings_is_counted_with_the_next() {
        let mut count = ArrivalCount::default();
        count.read(reading(1000, 0, 100, 1000), true);
        assert_eq!(count.read(reading(1000, 50, 100, 1000), true), 0);
        assert_eq!(count.read(reading(1050, 50, 100, 1000), true), 50);
    }

    #[test]
    fn messages_of_other_subjects_are_no_arrivals() {
        let mut count = ArrivalCount::default();
        count.read(reading(1000, 0, 100, 1000), true);
        assert_eq!(count.read(reading(1500, 7, 100, 1000), true), 7);
        assert_eq!(count.read(reading(1900, 0, 107, 1900), true), 7);
    }

    #[test]
    fn a_stream_made_anew_is_counted_from_its_first_message() {
        for filtered in [false, true] {
            let mut count = ArrivalCount::default();
            count.read(reading(5000, 0, 5000, 5000), filtered);
            let anew = |last, pending| ConsumerReading {
                stream: "s2".into(),
                consumer: "c2".into(),
                redelivered: 900,
                ..reading(last, pending, 0, 0)
            };
            assert_eq!(count.read(anew(3, 3), filtered), 3);
            assert_eq!(count.read(anew(10, 10), filtered), 10);
        }
    }

    #[test]
    fn a_consumer_made_anew_is_counted_from_then_on() {
        let mut count = ArrivalCount::default();
        count.read(ConsumerReading { redelivered: 900, ..reading(5000, 0, 5000, 5000) }, true);
        let anew =
            |last, pending| ConsumerReading { consumer: "c2".into(), redelivered: 900, ..reading(last, pending, 0, 0) };
        assert_eq!(count.read(anew(5000, 4000), true), 0);
        assert_eq!(count.read(anew(5010, 4010), true), 10);
    }

    proptest! {
        #[test]
        fn without_redeliveries_it_is_exact(steps in proptest::collection::vec((0u64..50, 0u64..50, 0u64..80), 1..40)) {
            // Messages for the consumer come before those for others in each step, and are delivered in order.
            let (mut count, mut expected) = (ArrivalCount::default(), 0);
            let (mut last, mut queue, mut deliveries, mut delivered) = (0, Vec::new(), 0, 0);
            count.read(reading(0, 0, 0, 0), true);
            for (ours, others, taken) in steps {
                for _ in 0..ours { last += 1; queue.push(last); }
                last += others;
                expected += ours;
                for _ in 0..taken.min(queue.len() as u64) { delivered = queue.remove(0); deliveries += 1; }
                let counted = count.read(reading(last, queue.len() as u64, deliveries, delivered), true);
                prop_assert_eq!(counted, expected);
            }
        }

        #[test]
        fn it_never_counts_more_than_the_stream_grew(
            steps in proptest::collection::vec((0u64..50, 0u64..500, 0u64..500, 0u64..50), 1..40),
        ) {
            let (mut count, mut now) = (ArrivalCount::default(), reading(0, 0, 0, 0));
            count.read(now.clone(), true);
            for (stored, pending, deliveries, redelivered) in steps {
                now.last += stored;
                (now.pending, now.deliveries, now.delivered) = (pending, now.deliveries + deliveries, now.last);
                now.redelivered += redelivered;
                prop_assert!(count.read(now.clone(), true) <= now.last);
            }
        }
    }
}
