//! What is fetched ahead, who is woken, what a batch gets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::cell::{Cell, RefCell};

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::wanted::MOST;
use super::*;
use crate::conditions::Conditions;
use crate::config::{Rate, StartLimits};
use crate::delivery::test_delivery::TestDelivery;

#[test]
fn what_waits_is_looked_at_only_for_what_is_delivered_again() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    let put = |stream_sequence, attempt| {
        let delivery = Delivery { stream_sequence, attempt, ..Delivery::default() };
        inbox.put(TestDelivery::of(delivery), Instant::now());
    };
    (1..=100).for_each(|sequence| put(sequence, 1));
    let looks = |waiting: &Waiting<TestDelivery>| waiting.held.looks.load(Relaxed);
    assert!(inbox.waiting.lock().iter().all(|waiting| looks(waiting) < 10));
    put(50, 2);
    assert_eq!((inbox.len(), inbox.waiting.lock()[49].held.delivery.attempt), (100, 2));
}

#[test]
fn a_host_that_is_not_to_park_a_pull_asks_for_nothing_before_it_has_a_worker() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    inbox.set_workers(0);
    assert!(inbox.room().now_or_never().is_some() && inbox.wanted(0).is_some());
    inbox.park(false);
    assert!(inbox.room().now_or_never().is_some() && inbox.wanted(0).is_none());
    // What was asked for before may still come, and starts a worker.
    inbox.put(TestDelivery::default(), Instant::now());
    assert!(inbox.arrived_without_worker().now_or_never().is_some());
    inbox.set_workers(1);
    assert!(inbox.try_take().is_some() && inbox.wanted(0).is_some());
    inbox.set_workers(0);
    assert!(inbox.wanted(0).is_none());
    inbox.park(true);
    assert!(inbox.room().now_or_never().is_some() && inbox.wanted(0).is_some());
}

#[test]
fn two_deliveries_wake_two_workers_that_have_just_looked() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    inbox.set_workers(2);
    let looks = Cell::new(0);
    let look = || {
        let found = inbox.try_take();
        looks.set(looks.get() + 1);
        found
    };
    // Both have looked for the last time before they wait when both deliveries come.
    let second = RefCell::new(Box::pin(inbox.take_by(|| {
        let found = look();
        if looks.get() == 4 {
            inbox.put(TestDelivery::default(), Instant::now());
            inbox.put(TestDelivery::default(), Instant::now());
        }
        found
    })));
    let second_has_one = Cell::new(false);
    let mut first = Box::pin(inbox.take_by(|| {
        let found = look();
        if looks.get() == 2 {
            second_has_one.set(second.borrow_mut().as_mut().now_or_never().is_some());
        }
        found
    }));
    let first_has_one = first.as_mut().now_or_never().is_some();
    let second_has_one = second_has_one.get() || second.borrow_mut().as_mut().now_or_never().is_some();
    assert!(first_has_one && second_has_one, "{first_has_one} {second_has_one}");
}

#[test]
fn a_quick_handler_gets_a_batch_and_a_slow_one_a_message() {
    assert_eq!(capacity(4, (100, 0), Some(Duration::from_micros(3))), 400);
    assert_eq!(capacity(4, (100, 0), Some(Duration::from_millis(10))), 40);
    assert_eq!(capacity(4, (100, 0), Some(Duration::from_secs(2))), 4);
    assert_eq!(capacity(4, (100, 0), Some(Duration::ZERO)), 400);
    assert_eq!(capacity(4, (100, 0), None), 4);
}

#[test]
fn without_workers_one_pull_stays_parked() {
    assert_eq!(capacity(0, (100, 0), Some(Duration::from_micros(3))), 1);
}

#[test]
fn no_more_is_asked_for_than_the_client_library_holds() {
    assert_eq!(capacity(2_000, (1_000, 0), Some(Duration::from_micros(3))), MOST);
}

proptest! {
    #[test]
    fn no_worker_holds_more_than_a_batch(workers in 1usize..10_000, batch in 0usize..10_000, ns in 0u64..u64::MAX) {
        let capacity = capacity(workers, (batch, 0), Some(Duration::from_nanos(ns)));
        prop_assert!(capacity >= workers && capacity <= MOST);
        prop_assert!(capacity <= workers * batch.max(1));
    }
}

fn put(inbox: &Inbox<TestDelivery>, stream_sequence: u64, bytes: usize) {
    let delivery = Delivery { stream_sequence, attempt: 1, payload: vec![0; bytes].into(), ..Delivery::default() };
    inbox.put(TestDelivery::of(delivery), Instant::now());
}

fn numbers(batch: &[Waiting<TestDelivery>]) -> Vec<u64> {
    batch.iter().map(|waiting| waiting.held.delivery.stream_sequence).collect()
}

#[test]
fn a_batch_has_the_oldest_that_fit_and_one_that_was_put_back_comes_alone() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    (1..=5).for_each(|sequence| put(&inbox, sequence, 10));
    let take = |deliveries, bytes| {
        let (taken, full) = inbox.try_take_more(BatchRoom { deliveries, bytes });
        (numbers(&taken), full, taken)
    };
    let (first, full, batch) = take(3, 25);
    assert_eq!((first, full), (vec![1, 2], true));
    assert_eq!(take(1, 25).0, [3]);
    assert!(inbox.put_back(batch).is_empty());
    let (none, full, _) = take(3, usize::MAX);
    assert_eq!((none, full), (vec![], true));
    let alone: Vec<_> = (0..2).map(|_| inbox.try_take().unwrap()).collect();
    assert_eq!(numbers(&alone), [1, 2]);
    assert!(alone.iter().all(|waiting| waiting.company == Company::PutBack));
    let (rest, full, _) = take(9, usize::MAX);
    assert_eq!((rest, full, inbox.bytes.load(Relaxed)), (vec![4, 5], false, 0));
}

#[test]
fn what_nobody_would_give_back_any_more_cannot_be_put_back() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    (1..=2).for_each(|sequence| put(&inbox, sequence, 1));
    let (batch, _) = inbox.try_take_more(BatchRoom { deliveries: 1, bytes: usize::MAX });
    assert_eq!(numbers(&inbox.take_last()), [2]);
    assert_eq!(numbers(&inbox.put_back(batch)), [1]);
    assert!(inbox.is_empty());
}

#[test]
fn one_that_was_delivered_again_meanwhile_is_not_there_twice() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    put(&inbox, 1, 1);
    let (batch, _) = inbox.try_take_more(BatchRoom { deliveries: 1, bytes: usize::MAX });
    let delivery = Delivery { stream_sequence: 1, attempt: 2, ..Delivery::default() };
    inbox.put(TestDelivery::of(delivery), Instant::now());
    assert!(inbox.put_back(batch).is_empty());
    let left = inbox.try_take().unwrap();
    assert_eq!((left.held.delivery.attempt, left.company, inbox.len()), (2, Company::Suspect, 0));
}

#[test]
fn the_later_of_two_attempts_that_were_both_put_back_stays() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    let take = |attempt| {
        let delivery = Delivery { stream_sequence: 1, attempt, payload: vec![0; 5].into(), ..Delivery::default() };
        inbox.put(TestDelivery::of(delivery), Instant::now());
        inbox.try_take_more(BatchRoom { deliveries: 1, bytes: usize::MAX }).0
    };
    let (earlier, later) = (take(1), take(2));
    assert!(inbox.put_back(earlier).is_empty());
    assert!(inbox.put_back(later).is_empty());
    assert_eq!(inbox.len(), 1);
    let left = inbox.try_take().unwrap();
    assert_eq!((left.held.delivery.attempt, left.company), (2, Company::PutBack));
    assert_eq!((inbox.len(), inbox.bytes.load(Relaxed)), (0, 0));
}

#[tokio::test]
async fn who_waits_for_more_gets_what_comes() {
    let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
    let mut more = Box::pin(inbox.take_more(BatchRoom { deliveries: 2, bytes: usize::MAX }));
    assert!(more.as_mut().now_or_never().is_none());
    put(&inbox, 1, 1);
    let (taken, full) = more.await;
    assert_eq!((numbers(&taken), full), (vec![1], false));
}

#[test]
fn few_workers_hold_more_together_than_a_batch_each_as_long_as_it_is_little_work() {
    let held = |workers, time| capacity(workers, (100, 2_000), Some(time));
    assert_eq!(held(1, Duration::from_micros(3)), 2_000);
    assert_eq!(held(4, Duration::from_micros(3)), 2_000);
    assert_eq!(held(30, Duration::from_micros(3)), 3_000);
    assert_eq!(held(1, Duration::from_micros(500)), 200);
    assert_eq!(held(4, Duration::from_millis(10)), 40);
    assert_eq!(held(4, Duration::from_secs(2)), 4);
    assert_eq!((held(0, Duration::from_micros(3)), capacity(4, (100, 2_000), None)), (1, 4));
    // An eighth of what may be unsettled, for other hosts hold as much.
    for (most, wanted) in [(-1, 2_000), (16_000, 2_000), (1_000, 125), (7, 100)] {
        let consumer = Effective::with_max_ack_pending(most);
        let inbox = Inbox::<TestDelivery>::new(100, usize::MAX).ahead_by(2_000, consumer);
        inbox.set_workers(1);
        inbox.took(Duration::from_micros(3));
        assert_eq!(inbox.wanted(0).map(|(count, _)| count), Some(wanted), "{most}");
    }
}

#[test]
fn a_worker_of_batches_finds_a_batch_however_long_a_message_takes() {
    let inbox = Inbox::<TestDelivery>::new(100, usize::MAX);
    inbox.set_workers(2);
    inbox.took(Duration::from_secs(1));
    assert_eq!(inbox.wanted(0).map(|(count, _)| count), Some(2));
    inbox.set_least(50, 50);
    assert_eq!(inbox.wanted(0).map(|(count, _)| count), Some(100));
}

#[tokio::test]
async fn deliveries_that_come_together_wake_one_worker_of_batches_and_it_passes_on_what_is_left() {
    let inbox = Inbox::<TestDelivery>::new(100, usize::MAX);
    inbox.set_workers(2);
    inbox.set_least(2, 2);
    let (mut first, mut second) = (Box::pin(inbox.take()), Box::pin(inbox.take()));
    assert!(futures_util::poll!(first.as_mut()).is_pending() && futures_util::poll!(second.as_mut()).is_pending());
    for stream_sequence in 1..=3 {
        let delivery = Delivery { stream_sequence, ..Delivery::default() };
        inbox.put(TestDelivery::of(delivery), Instant::now());
    }
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    assert!(futures_util::poll!(first.as_mut()).is_ready());
    assert_eq!(inbox.try_take_more(BatchRoom { deliveries: 1, bytes: usize::MAX }).0.len(), 1);
    inbox.pass_on();
    assert!(futures_util::poll!(second.as_mut()).is_ready());
    // A handler that takes one at a time is in use from now on, and those that wait look for themselves.
    let mut third = Box::pin(inbox.take());
    assert!(futures_util::poll!(third.as_mut()).is_pending());
    inbox.add(TestDelivery::default(), Instant::now());
    assert!(futures_util::poll!(third.as_mut()).is_pending());
    inbox.set_least(1, 1);
    assert!(futures_util::poll!(third.as_mut()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_announced_in_one_turn_of_a_queue_that_others_stand_in() {
    let (inbox, queue) = (Inbox::<TestDelivery>::new(1_000, usize::MAX), Arc::new(Semaphore::new(1)));
    let began = Instant::now();
    for stream_sequence in 1..=100 {
        let delivery = Delivery { stream_sequence, ..Delivery::default() };
        let announced_in = Some(queue.clone());
        inbox.put(TestDelivery { delivery, announced_in, ..TestDelivery::default() }, began);
    }
    let turns = Cell::new(0);
    // Somebody takes each next turn, and needs a millisecond for it.
    let others = async {
        loop {
            let _turn = queue.acquire().await;
            turns.set(turns.get() + 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = others => {}
        () = inbox.announce(Duration::ZERO) => {}
    }
    assert!(turns.get() <= 2, "the announcements waited for {} turns of others", turns.get());
}

#[tokio::test(start_paused = true)]
async fn of_a_rate_a_batch_that_is_collected_keeps_its_part_until_its_call_begins() {
    let rate = Some(Rate { every: Duration::from_millis(10), burst: 100 });
    let limits = StartLimits { rate, ..StartLimits::default() };
    let starts = StartGate::new(&limits, &Conditions::new("w".into()));
    let inbox = Inbox::<TestDelivery>::new(100, usize::MAX).limited_by(starts);
    inbox.set_workers(2);
    let mut sequence = 0;
    let mut put = |count: u64| {
        for _ in 0..count {
            sequence += 1;
            let delivery = Delivery { stream_sequence: sequence, ..Delivery::default() };
            inbox.put(TestDelivery::of(delivery), Instant::now());
        }
    };
    let collect = || {
        let mut batch: Vec<_> = inbox.try_take().into_iter().collect();
        let room = BatchRoom { deliveries: 100 - batch.len(), bytes: usize::MAX };
        batch.extend(inbox.try_take_more(room).0);
        batch
    };
    let begin = |batch: &mut Vec<Waiting<TestDelivery>>| {
        Permit::begin(batch.iter_mut().filter_map(|waiting| waiting.permit.as_mut()));
    };
    put(90);
    let mut first = collect();
    tokio::time::advance(Duration::from_millis(900)).await;
    put(110);
    let mut second = collect();
    assert_eq!((first.len(), second.len()), (90, 10));
    begin(&mut first);
    begin(&mut second);
    assert_eq!(collect().len(), 0, "the rate allows nothing in no time");
    tokio::time::advance(Duration::from_millis(100)).await;
    let third = collect();
    assert_eq!(third.len(), 10);
    // A batch that is given back has begun nothing.
    drop(third);
    assert_eq!(collect().len(), 10);
}
