//! One delivery of a key, in the order of the stream, and nothing left of a key that is done.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn arrive(dispatch: &mut Dispatch<u64>, key: u64, sequence: u64) -> Option<u64> {
    dispatch.arrive(key, sequence, 10, sequence, true)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_failed_keeps_its_place_and_what_came_late_sorts_in_before() {
    let (mut dispatch, now) = (Dispatch::default(), Instant::now());
    assert_eq!([3, 7, 5].map(|sequence| arrive(&mut dispatch, 1, sequence)), [Some(3), None, None]);
    assert_eq!(arrive(&mut dispatch, 2, 6), Some(6));
    dispatch.retry(1, 3, 10, 3, now + Duration::from_secs(1));
    assert!(dispatch.due(now, true).is_empty());
    assert_eq!((dispatch.held(), dispatch.waiting(), dispatch.next_due()), (4, 3, Some(now + Duration::from_secs(1))));
    assert_eq!(dispatch.due(now + Duration::from_secs(1), true), [3]);
    assert_eq!(dispatch.settled(1, 3, true), (None, Some(5)));
    assert_eq!(dispatch.settled(1, 5, true), (None, Some(7)));
    assert_eq!(dispatch.settled(1, 7, true), (None, None));
    assert_eq!(dispatch.settled(2, 6, true), (None, None));
    assert_eq!((dispatch.held(), dispatch.keys(), dispatch.bytes), (0, 0, 0));
}

#[test]
fn another_delivery_of_the_one_that_has_begun_is_settled_with_it() {
    let mut dispatch = Dispatch::default();
    assert_eq!([3, 3, 4].map(|sequence| arrive(&mut dispatch, 1, sequence)), [Some(3), None, None]);
    assert_eq!(dispatch.held(), 2);
    assert_eq!(dispatch.settled(1, 3, true), (Some(3), Some(4)));
    assert_eq!((dispatch.held(), dispatch.waiting()), (1, 0));
}

#[test]
fn ten_million_keys_leave_nothing_behind() {
    let mut dispatch = Dispatch::default();
    for sequence in 0..10_000_000 {
        arrive(&mut dispatch, sequence, sequence).unwrap();
        if sequence >= 100 {
            dispatch.settled(sequence - 100, sequence - 100, true);
        }
    }
    assert_eq!((dispatch.keys(), dispatch.held()), (100, 100));
    assert!(dispatch.keys.capacity() < 1_000, "{}", dispatch.keys.capacity());
}

proptest! {
    #[test]
    fn each_key_is_settled_in_the_order_of_the_stream(steps in proptest::collection::vec((0u8..5, 0u64..4), 1..200)) {
        let mut dispatch = Dispatch::default();
        let now = Instant::now();
        let (mut begun, mut done, mut next, mut open) = (BTreeMap::new(), BTreeMap::new(), 0, true);
        for (step, key) in steps {
            let mut begins = Vec::new();
            match step {
                0 | 1 => {
                    next += 1;
                    begins.extend(dispatch.arrive(key, next, 1, next * 10 + key, open));
                }
                2 => if let Some(sequence) = begun.remove(&key) {
                    prop_assert!(done.insert(key, sequence).is_none_or(|before| before < sequence));
                    begins.extend(dispatch.settled(key, sequence, open).1);
                },
                3 => if let Some(sequence) = begun.remove(&key) {
                    dispatch.retry(key, sequence, 1, sequence * 10 + key, now);
                    begins.extend(dispatch.due(now, open));
                },
                _ => {
                    open = !open;
                    if open {
                        begins.extend(dispatch.begin_all());
                    }
                }
            }
            for item in begins {
                prop_assert!(begun.insert(item % 10, item / 10).is_none());
            }
            prop_assert_eq!(dispatch.held(), dispatch.waiting() + begun.len());
        }
    }
}
