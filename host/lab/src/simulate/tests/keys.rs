//! Messages of keys: one after the other, or few of a key at once.

#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn each_key_waits_as_for_a_worker_of_its_own() {
    let with = |seconds, spread| {
        let arrivals = Generator::Poisson(28.0).arrivals(Duration::from_secs(seconds), 3);
        let keys = Some(KeyModel { count: 4, spread });
        simulate(&Model { keys, ..fixed(40, ServiceTime::Exponential(100 * MS)) }, &arrivals, |seen| seen.running)
    };
    // A quarter of a Poisson process is one.
    agrees(&with(100_000, KeySpread::Uniform), erlang_c(1, 0.7) / 3.0);
    // The first key has more than one worker can do, and the others flow.
    let skewed = with(1_000, KeySpread::Zipf);
    assert!(skewed.wait_ms(0.99) > 1e5 && skewed.wait_ms(0.4) < 1e3, "{skewed:?}");
}

#[test]
fn with_very_many_keys_all_is_as_without_an_order() {
    let arrivals = rows(&[20, 0, 35, 50, 5, 0, 0, 80]);
    let retry = Some(RetryModel { share: 0.2, delay: 300 * MS });
    let model = Model { retry, ..model(0, 20, ServiceTime::Exponential(200 * MS)) };
    let keys = Some(KeyModel { count: u32::MAX, spread: KeySpread::Uniform });
    let wants = |seen: &Observation| u32::try_from(seen.pending + seen.ack_pending).unwrap() / 3 + 1;
    let (none, many) = (simulate(&model, &arrivals, wants), simulate(&Model { keys, ..model }, &arrivals, wants));
    assert_eq!(many, none);
}

#[test]
fn in_order_one_busy_key_holds_up_all_others_once_the_buffer_is_full() {
    // Two keys, one of which has two thirds of the messages; each has its turn five times a second.
    let keys = Some(KeyModel { count: 2, spread: KeySpread::Zipf });
    let model = Model { keys, ..fixed(20, ServiceTime::Constant(200 * MS)) };
    let mut told = 0;
    let mut run = |seconds: usize| {
        simulate(&model, &rows(&vec![12; seconds]), |seen| {
            told += u32::from(seen.keys_waiting.is_some() && seen.pending > 0);
            seen.running
        })
    };
    let short = run(1_000);
    assert!(short.wait_ms(0.3) < 2_000.0 && short.wait_ms(0.99) > 500_000.0, "{short:?}");
    // Some 2500 s until 7500 wait. From then on the other key has what the first one lets through.
    let long = run(10_000);
    assert!(long.wait_ms(0.3) > 60_000.0, "{}", long.wait_ms(0.3));
    assert_eq!(long.unfinished, 0);
    assert!(told > 1_000, "a policy is told of the keys while more is pending: {told}");
}

#[test]
fn what_waits_for_its_turn_when_it_is_given_up_is_counted() {
    let retry = Some(RetryModel { share: 0.97, delay: 0 });
    let keys = Some(KeyModel { count: 1, spread: KeySpread::Uniform });
    let model = Model { retry, keys, ..fixed(5, ServiceTime::Constant(100 * SECOND)) };
    let outcome = simulate(&model, &rows(&[200]), |seen| seen.running);
    assert_eq!(outcome.messages, 200);
    assert!(outcome.unfinished > 100, "{outcome:?}");
}

#[test]
fn a_policy_is_told_of_how_many_keys_messages_wait_and_need_not_add_workers_for_more() {
    let keys = Some(KeyModel { count: 3, spread: KeySpread::Uniform });
    let model = Model { keys, ..model(3, 50, ServiceTime::Constant(100 * MS)) };
    let arrivals = rows(&[60, 60, 60, 0, 0]);
    let mut most = 0;
    let told = simulate(&model, &arrivals, |seen| {
        most = most.max(seen.keys_waiting.unwrap_or(0));
        let wanted = u32::try_from(seen.pending + seen.ack_pending).unwrap();
        seen.keys_waiting.map_or(wanted, |keys| wanted.min(keys.max(seen.running)))
    });
    let untold = simulate(&model, &arrivals, |seen| u32::try_from(seen.pending + seen.ack_pending).unwrap());
    assert_eq!(most, 3);
    assert!(told.worker_time * 2 < untold.worker_time, "{} {}", told.worker_time, untold.worker_time);
    assert_eq!(told.wait_ms(0.99), untold.wait_ms(0.99));
}

#[test]
fn each_key_with_two_places_waits_as_for_two_workers_of_its_own() {
    let arrivals = Generator::Poisson(56.0).arrivals(Duration::from_secs(50_000), 3);
    let keys = Some(KeyModel { count: 4, spread: KeySpread::Uniform });
    let model = Model { keys, per_key: Some(2), ..fixed(40, ServiceTime::Exponential(100 * MS)) };
    agrees(&simulate(&model, &arrivals, |seen| seen.running), erlang_c(2, 1.4) / 6.0);
}

#[test]
fn with_more_places_than_workers_all_is_as_without_a_limit_for_each_key() {
    let arrivals = rows(&[20, 0, 35, 50, 5, 0, 0, 80]);
    let retry = Some(RetryModel { share: 0.2, delay: 300 * MS });
    let model = Model { retry, ..model(0, 20, ServiceTime::Exponential(200 * MS)) };
    let keys = Some(KeyModel { count: 3, spread: KeySpread::Zipf });
    let wants = |seen: &Observation| u32::try_from(seen.pending + seen.ack_pending).unwrap() / 3 + 1;
    let (none, many) = (
        simulate(&model, &arrivals, wants),
        simulate(&Model { keys, per_key: Some(1_000), ..model }, &arrivals, wants),
    );
    assert_eq!(many, none);
}

#[test]
fn a_key_that_has_too_many_messages_leaves_the_others_room_until_the_buffer_is_full() {
    // Two keys, one of which has two thirds of the messages and places for five a second.
    let keys = Some(KeyModel { count: 2, spread: KeySpread::Zipf });
    let model = Model { keys, per_key: Some(1), ..fixed(20, ServiceTime::Constant(200 * MS)) };
    let mut limited = 0;
    let mut run = |seconds: usize| {
        simulate(&model, &rows(&vec![12; seconds]), |seen| {
            limited += u32::from(seen.limited);
            seen.running
        })
    };
    let short = run(100);
    assert!(short.wait_ms(0.3) < 2_000.0 && short.wait_ms(0.99) > 50_000.0, "{short:?}");
    // Some 330 s until a thousand wait. From then on the other key has what the first one lets through.
    let long = run(1_000);
    assert!(long.wait_ms(0.3) > 60_000.0, "{}", long.wait_ms(0.3));
    assert!(limited > 500, "a policy is told that more workers would not help: {limited}");
}

proptest! {
    #[test]
    fn every_message_is_handled_whatever_keys_limits_and_outages_there_are(
        counts in proptest::collection::vec(0_u64..20, 1..20),
        seed: u64,
        share in 0.0..0.6,
        (per_key, most) in (proptest::option::of(1_usize..4), proptest::option::of(1_usize..6)),
        (from, length) in (0_u64..20, 1_u64..20),
        min in 0_u32..3,
    ) {
        let arrivals = rows(&counts);
        let model = Model {
            seed,
            retry: Some(RetryModel { share, delay: 700 * MS }),
            outage: Some(Outage { from: from * SECOND, to: (from + length) * SECOND }),
            keys: Some(KeyModel { count: 5, spread: KeySpread::Zipf }),
            per_key,
            limits: StartLimits { max_in_flight: most, ..StartLimits::default() },
            ..model(min, 20, ServiceTime::Exponential(200 * MS))
        };
        let outcome = simulate(&model, &arrivals, reactive);
        prop_assert_eq!((outcome.messages, outcome.unfinished), (arrivals.total(), 0));
        prop_assert!(outcome.busy_time <= outcome.worker_time);
        prop_assert!(most.is_none_or(|most| outcome.busy_time <= most as u128 * u128::from(outcome.end)));
        let handled = outcome.outage.unwrap().handled;
        prop_assert_eq!(handled.len(), arrivals.total());
    }
}
