//! How many of a key get into the queue, when the next does, and who is to blame for a full buffer.
#![allow(clippy::unwrap_used)]
use super::super::{BatchRoom, settled};
use super::*;
use crate::contract::Delivery;
use crate::delivery::test_delivery::TestDelivery;

const BUFFER: Limits = Limits { messages: 4, bytes: usize::MAX };

/// An inbox with two places for each subject.
fn two_of_a_key() -> Arc<Inbox<TestDelivery>> {
    let consumer = Effective::with_ack_wait(Duration::from_secs(30));
    let inbox = Inbox::new(10, usize::MAX).few_of_a_key(OrderKey::Subject, 2, BUFFER, consumer);
    inbox.set_workers(6);
    inbox
}

fn put_attempt(inbox: &Inbox<TestDelivery>, key: &str, stream_sequence: u64, attempt: u32) {
    let payload = vec![0; 5].into();
    let delivery = Delivery { subject: key.into(), stream_sequence, attempt, payload, ..Delivery::default() };
    inbox.put(TestDelivery::of(delivery), Instant::now());
}

fn put(inbox: &Inbox<TestDelivery>, key: &str, stream_sequence: u64) {
    put_attempt(inbox, key, stream_sequence, 1);
}

fn numbers(of: &[Waiting<TestDelivery>]) -> Vec<u64> {
    of.iter().map(|waiting| sequence(&waiting.held)).collect()
}

/// All that is in the queue.
fn take_all(inbox: &Inbox<TestDelivery>) -> Vec<Waiting<TestDelivery>> {
    std::iter::from_fn(|| inbox.try_take()).collect()
}

fn seen(inbox: &Inbox<TestDelivery>) -> (usize, usize) {
    let seen = inbox.places_seen().unwrap();
    (seen.keys(), seen.waiting())
}

#[tokio::test(start_paused = true)]
async fn two_of_a_key_are_in_workers_hands_and_the_next_comes_when_one_is_settled_or_dropped() {
    let inbox = two_of_a_key();
    [("a", 1), ("a", 2), ("a", 4), ("a", 3), ("b", 5)].into_iter().for_each(|(key, number)| put(&inbox, key, number));
    assert!(!inbox.bound_by_keys(), "workers could take what is there");
    let mut taken = take_all(&inbox);
    assert_eq!((numbers(&taken), seen(&inbox)), (vec![1, 2, 5], (2, 2)));
    assert!(inbox.bound_by_keys());
    settled(taken.remove(0).turn);
    let third = take_all(&inbox);
    assert_eq!((numbers(&third), seen(&inbox)), (vec![3], (2, 1)));
    // As by a worker that panics, and by one that gives it back.
    drop(taken);
    assert_eq!(numbers(&take_all(&inbox)), [4]);
    drop(third);
    assert_eq!((seen(&inbox), inbox.bytes.load(Relaxed)), ((0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn a_later_delivery_takes_the_place_of_the_one_that_waits_and_of_the_one_in_the_queue() {
    let inbox = two_of_a_key();
    (1..=3).for_each(|number| put(&inbox, "a", number));
    (1..=3).for_each(|number| put_attempt(&inbox, "a", number, 2));
    assert_eq!((inbox.len(), seen(&inbox)), (2, (1, 1)));
    let taken = take_all(&inbox);
    assert_eq!((numbers(&taken), inbox.bytes.load(Relaxed)), (vec![1, 2], 0));
    assert!(taken.iter().all(|waiting| attempt(&waiting.held) == 2));
    drop(taken);
    let last = take_all(&inbox);
    assert_eq!(last.iter().map(|waiting| attempt(&waiting.held)).collect::<Vec<_>>(), [2]);
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_puts_back_keeps_its_place_and_what_came_meanwhile_gives_its_own_back() {
    let inbox = two_of_a_key();
    (1..=3).for_each(|number| put(&inbox, "a", number));
    let (batch, _) = inbox.try_take_more(BatchRoom { deliveries: 9, bytes: usize::MAX });
    assert_eq!(numbers(&batch), [1, 2]);
    assert!(inbox.put_back(batch).is_empty());
    assert_eq!((inbox.len(), seen(&inbox)), (2, (1, 1)));
    let mut taken = take_all(&inbox);
    assert_eq!(numbers(&taken), [1, 2]);
    // The first is delivered again, and is the next of those that wait when the second is settled.
    put_attempt(&inbox, "a", 1, 2);
    settled(taken.pop().unwrap().turn);
    assert_eq!((inbox.len(), seen(&inbox)), (1, (1, 1)));
    // It is put back where its later delivery is in the queue already: one of both stays, with one place.
    assert!(inbox.put_back(taken).is_empty());
    let left = take_all(&inbox);
    assert_eq!(numbers(&left), [1, 3]);
    drop(left);
    assert_eq!(seen(&inbox), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn all_is_given_back_at_the_end_and_nothing_begins_after_that() {
    let inbox = two_of_a_key();
    (1..=5).for_each(|number| put(&inbox, "a", number));
    let first = inbox.try_take().unwrap();
    assert_eq!(numbers(&inbox.take_those(|held| held.delivery.stream_sequence == 4)), [4]);
    let last = inbox.take_last();
    assert_eq!(numbers(&last), [2, 3, 5]);
    drop((first, last));
    assert_eq!((inbox.len(), seen(&inbox)), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_asked_for_while_the_buffer_is_full_and_the_key_is_named() {
    let inbox = two_of_a_key();
    (1..=5).for_each(|number| put(&inbox, "stuck", number));
    let taken = take_all(&inbox);
    assert_eq!((inbox.full_places(), inbox.wanted(0)), (None, Some((1, usize::MAX / 2))));
    put(&inbox, "stuck", 6);
    assert_eq!(inbox.wanted(0), None);
    let blocks = Blocks::Places(2);
    assert_eq!(inbox.full_places(), Some(FullBuffer { key: "stuck".into(), sequence: 3, blocks, messages: 4 }));
    drop(taken);
    assert_eq!(inbox.full_places(), None);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_place_is_announced() {
    let inbox = two_of_a_key();
    (1..=3).for_each(|number| put(&inbox, "a", number));
    let since = |inbox: &Inbox<TestDelivery>| {
        inbox.per_key.as_ref().unwrap().places.lock().iter_mut().map(|waiting| waiting.since).next().unwrap()
    };
    let came = since(&inbox);
    tokio::time::advance(Duration::from_secs(8)).await;
    inbox.announce(Duration::from_secs(8)).await;
    assert_eq!(since(&inbox) - came, Duration::from_secs(8));
}
