//! What is held, what counts as elsewhere, and who is to blame for a full buffer.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::super::{Blocks, FullBuffer, settled, settling};
use super::*;
use crate::delivery::test_delivery::TestDelivery;

const BUFFER: Limits = Limits { messages: 4, bytes: usize::MAX };

/// An inbox that keeps the order of subjects, of a consumer of which nothing is unsettled elsewhere.
fn ordered() -> Arc<Inbox<TestDelivery>> {
    ordered_by(Effective::with_ack_wait(Duration::from_secs(30)))
}

fn ordered_by(consumer: Arc<Effective>) -> Arc<Inbox<TestDelivery>> {
    let inbox = Inbox::new(10, usize::MAX).in_order(OrderKey::Subject, BUFFER, consumer);
    inbox.set_workers(2);
    let asked = inbox.begin_due().unwrap().asks.unwrap();
    assert_eq!(inbox.unsettled(asked, Unsettled { count: 0, redelivered: 0, last: 0 }), None);
    inbox
}

/// Puts a message of a key, which the consumer delivers as its next one.
fn put(inbox: &Inbox<TestDelivery>, key: &str, stream_sequence: u64) {
    put_as(inbox, key, (stream_sequence, 1), stream_sequence);
}

/// Puts this attempt of a message, which the consumer delivers with this number.
fn put_as(inbox: &Inbox<TestDelivery>, key: &str, (stream_sequence, attempt): (u64, u32), number: u64) {
    let delivery = Delivery { subject: key.into(), stream_sequence, attempt, ..Delivery::default() };
    inbox.put(TestDelivery { number, ..TestDelivery::of(delivery) }, Instant::now());
}

fn take(inbox: &Inbox<TestDelivery>) -> Option<(u64, Waiting<TestDelivery>)> {
    let taken = inbox.try_take()?;
    Some((sequence(&taken.held), taken))
}

/// What the server would be asked about now.
fn asks(inbox: &Inbox<TestDelivery>) -> Option<Asked> {
    inbox.begin_due().unwrap().asks
}

#[tokio::test(start_paused = true)]
async fn what_the_server_may_have_heard_to_be_settled_does_not_stand_for_what_is_elsewhere() {
    let inbox = ordered();
    put(&inbox, "a", 1);
    let (_, mut taken) = take(&inbox).unwrap();
    settling(taken.turn.as_deref_mut());
    // The second delivery is lost on its way. The server has heard of the ack and counts two: that one and the third.
    put(&inbox, "b", 3);
    let asked = asks(&inbox).unwrap();
    assert_eq!(asked.held, 1);
    assert!(inbox.unsettled(asked, Unsettled { count: 2, redelivered: 0, last: 3 }).is_some());
    settled(taken.turn.take());
    assert_eq!(asks(&inbox).unwrap().held, 1);
    assert!(take(&inbox).is_none());
    put(&inbox, "a", 2);
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 2, redelivered: 0, last: 4 }), None);
    // In the order of the stream, though it came last.
    assert_eq!([take(&inbox), take(&inbox)].map(|taken| taken.unwrap().0), [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn after_a_turn_that_was_dropped_without_a_word_nothing_begins_until_its_message_is_here_again() {
    let inbox = ordered();
    (1..=2).for_each(|sequence| put(&inbox, "a", sequence));
    drop(take(&inbox).unwrap());
    put(&inbox, "b", 3);
    assert!(take(&inbox).is_none());
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 3, redelivered: 0, last: 3 }).unwrap().0, 1);
    put_as(&inbox, "a", (1, 2), 4);
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 3, redelivered: 1, last: 4 }), None);
    assert_eq!([take(&inbox), take(&inbox)].map(|taken| taken.unwrap().0), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_the_host_before_settles_late_does_not_stand_for_what_is_missing() {
    let inbox = ordered();
    inbox.is_pinned();
    (1..=2).for_each(|sequence| put_as(&inbox, "a", (sequence, 2), sequence));
    // It has settled the first, and the third is still with it.
    let asked = asks(&inbox).unwrap();
    assert_eq!((asked.held, asked.redelivered), (2, 2));
    assert_eq!(inbox.unsettled(asked, Unsettled { count: 2, redelivered: 1, last: 2 }).unwrap().0, 1);
    assert!(take(&inbox).is_none());
    put_as(&inbox, "a", (3, 2), 3);
    let asked = asks(&inbox).unwrap();
    assert_eq!(inbox.unsettled(asked, Unsettled { count: 2, redelivered: 2, last: 3 }), None);
    let (first, mut taken) = take(&inbox).unwrap();
    settled(taken.turn.take());
    inbox.is_pinned();
    // What is not held any more is not counted, nor is what was delivered once.
    put(&inbox, "b", 4);
    let asked = asks(&inbox).unwrap();
    assert_eq!((first, asked.held, asked.redelivered), (1, 3, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_in_a_handler_while_this_host_stood_still_does_not_stand_for_what_is_missing() {
    let consumer = Effective::grouped(Duration::from_secs(30));
    let inbox = ordered_by(consumer.clone());
    put(&inbox, "a", 1);
    let (first, _taken) = take(&inbox).unwrap();
    // Its second announcement is late. Another host has had it meanwhile, and has settled it and not the second one.
    consumer.announced(first, Instant::now());
    let since = Instant::now();
    tokio::time::advance(Duration::from_secs(60)).await;
    consumer.announced(first, since);
    inbox.is_pinned();
    let asked = asks(&inbox).unwrap();
    assert_eq!(inbox.unsettled(asked, Unsettled { count: 1, redelivered: 0, last: 3 }).unwrap().0, 0);
    put(&inbox, "b", 4);
    assert!(take(&inbox).is_none());
    put_as(&inbox, "c", (2, 2), 5);
    let asked = asks(&inbox).unwrap();
    assert_eq!(inbox.unsettled(asked, Unsettled { count: 2, redelivered: 1, last: 5 }), None);
    let begun = [take(&inbox).unwrap(), take(&inbox).unwrap()];
    assert_eq!(begun.iter().map(|(sequence, _)| *sequence).collect::<BTreeSet<_>>(), BTreeSet::from([2, 4]));
    // One that is delivered here again is unsettled, and held.
    inbox.is_pinned();
    put_as(&inbox, "a", (1, 2), 6);
    let asked = asks(&inbox).unwrap();
    assert_eq!(inbox.unsettled(asked, Unsettled { count: 3, redelivered: 2, last: 6 }), None);
}

#[tokio::test(start_paused = true)]
async fn keys_are_counted_where_no_others_can_come() {
    let inbox = ordered();
    assert_eq!(inbox.keys_waiting(false), Some(0));
    (1..=2).for_each(|sequence| put(&inbox, "a", sequence));
    put(&inbox, "b", 3);
    let taken = take(&inbox).unwrap();
    // What is pending may have other keys, unless it cannot be fetched.
    assert_eq!((inbox.keys_waiting(false), inbox.keys_waiting(true)), (Some(2), None));
    (4..=6).for_each(|sequence| put(&inbox, "a", sequence));
    assert_eq!(inbox.keys_waiting(true), Some(2));
    drop(taken);
    assert_eq!(inbox.keys_waiting(false), None, "one is elsewhere");
    let none = Inbox::<TestDelivery>::new(10, usize::MAX);
    assert_eq!(none.keys_waiting(false), None);
}

/// An inbox of a host that was just given the first messages, of a group of hosts.
fn pinned() -> (Arc<Inbox<TestDelivery>>, Arc<Effective>) {
    let consumer = Effective::grouped(Duration::from_secs(8));
    let inbox = Inbox::new(10, usize::MAX).in_order(OrderKey::Subject, BUFFER, consumer.clone());
    inbox.set_workers(2);
    (inbox, consumer)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_the_pinned_one_asks_for_what_is_new_and_begins_nothing_before_all_is_here() {
    let (inbox, consumer) = pinned();
    // Another host has these.
    assert!(inbox.wanted(0).is_some());
    consumer.pinned("a");
    inbox.is_pinned();
    put(&inbox, "a", 3);
    assert!(take(&inbox).is_none());
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 3, redelivered: 0, last: 3 }).unwrap().0, 2);
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 1, redelivered: 0, last: 3 }), None);
    assert_eq!(take(&inbox).unwrap().0, 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_announced_for_most_of_the_ack_wait_is_not_begun_for_another_host_may_have_it() {
    let (inbox, consumer) = pinned();
    consumer.pinned("a");
    (1..=2).for_each(|sequence| put(&inbox, "a", sequence));
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 2, redelivered: 0, last: 2 }), None);
    tokio::time::advance(Duration::from_secs(3)).await;
    inbox.announce(Duration::from_secs(2)).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    // While there is no connection nobody hears of it.
    consumer.linked(false);
    inbox.announce(Duration::from_secs(2)).await;
    tokio::time::advance(Duration::from_secs(4)).await;
    consumer.linked(true);
    inbox.announce(Duration::from_secs(2)).await;
    assert!(take(&inbox).is_none());
    let lapsed = inbox.take_settled();
    assert_eq!(lapsed.iter().map(|held| held.delivery.stream_sequence).collect::<Vec<_>>(), [1]);
    // Nothing begins before it is known who has it.
    put(&inbox, "b", 3);
    assert!(take(&inbox).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_the_pinned_one_any_more_gives_back_what_no_worker_has_begun() {
    let (inbox, consumer) = pinned();
    consumer.pinned("a");
    (1..=2).for_each(|sequence| put(&inbox, "a", sequence));
    (3..=4).for_each(|sequence| put(&inbox, "b", sequence));
    assert_eq!(inbox.unsettled(asks(&inbox).unwrap(), Unsettled { count: 4, redelivered: 0, last: 4 }), None);
    let (_, begun) = take(&inbox).unwrap();
    assert!(consumer.pin_refused(consumer.pull_as().unwrap().epoch) && consumer.lost_pin());
    assert_eq!(inbox.take_unpinned().iter().map(|waiting| sequence(&waiting.held)).collect::<Vec<_>>(), [2, 3, 4]);
    // The next host has to try it again, which waits for it.
    assert!(!begun.is_tried_here());
    let begun = begun.try_again(Duration::from_secs(1)).unwrap();
    settled(begun.turn);
    assert!(asks(&inbox).is_some() && take(&inbox).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_key_of_which_most_wait_is_to_blame_for_a_full_buffer() {
    let inbox = ordered();
    put(&inbox, "b", 1);
    (2..=5).for_each(|sequence| put(&inbox, "a", sequence));
    let full = FullBuffer { key: "a".into(), sequence: 2, blocks: Blocks::Handled, messages: 4 };
    assert_eq!((inbox.full_buffer(), inbox.wanted(0)), (None, None));
    put(&inbox, "a", 6);
    assert_eq!(inbox.full_buffer(), Some(full.clone()));
    let (_, first) = take(&inbox).unwrap();
    let (_, second) = take(&inbox).unwrap();
    assert!(second.try_again(Duration::from_secs(1)).is_none());
    assert_eq!(inbox.full_buffer(), Some(FullBuffer { blocks: Blocks::Failed, ..full }));
    drop(inbox.take_last());
    assert_eq!((inbox.full_buffer(), inbox.order_seen().unwrap().waiting()), (None, 0));
    // What is in a handler is given back to the server from now on.
    assert!(first.try_again(Duration::ZERO).is_some());
}
