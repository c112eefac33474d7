//! Work on many letters: several at once, and an end between two of them.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{MissedTickBehavior, interval};

/// How many letters may wait for an answer at once.
const IN_FLIGHT: usize = 64;

/// Gives each item its turn, at most `rate` a second, until all had it, `done` has enough or `interrupted` ends. What
/// is under way then is finished. Gives how many had no turn.
pub(super) async fn turns<I, T, F: Future<Output = T>>(
    items: impl IntoIterator<Item = I>,
    rate: Option<u32>,
    interrupted: impl Future<Output = ()>,
    work: impl Fn(I) -> F,
    mut done: impl FnMut(T) -> ControlFlow<()>,
) -> usize {
    let mut interrupted = pin!(interrupted);
    let mut pace = rate.map(|rate| {
        let mut pace = interval(Duration::from_secs(1) / rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    });
    let mut flying = FuturesUnordered::new();
    let mut left = items.into_iter().peekable();
    let mut stop = false;
    while !flying.is_empty() || (!stop && left.peek().is_some()) {
        let turn = async {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
        };
        tokio::select! {
            biased;
            () = &mut interrupted, if !stop => stop = true,
            () = turn, if !stop && left.peek().is_some() && flying.len() < IN_FLIGHT => {
                flying.extend(left.next().map(&work));
            }
            Some(result) = flying.next(), if !flying.is_empty() => stop |= done(result).is_break(),
        }
    }
    left.count()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn without_items_it_ends_at_once() {
        let left = turns(Vec::<u64>::new(), None, pending(), ready, |_| ControlFlow::Continue(())).await;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn each_item_has_one_turn_and_no_more_are_under_way_than_may_be() {
        let (under_way, most, mut sum) = (Cell::new(0), Cell::new(0), 0);
        let work = async |item: usize| {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            tokio::task::yield_now().await;
            under_way.set(under_way.get() - 1);
            item
        };
        let left = turns(1..=1000, None, pending(), work, |item| {
            sum += item;
            ControlFlow::Continue(())
        });
        assert_eq!((left.await, sum, most.get()), (0, 500_500, IN_FLIGHT));
    }

    #[tokio::test]
    async fn who_has_enough_or_is_interrupted_gets_what_was_under_way() {
        let mut seen = 0;
        let enough = |_| {
            seen += 1;
            ControlFlow::Break(())
        };
        let left = turns(
            0..1000,
            None,
            pending(),
            |item| async move {
                tokio::task::yield_now().await;
                item
            },
            enough,
        );
        assert_eq!((left.await, seen), (1000 - IN_FLIGHT, IN_FLIGHT));
        let left = turns(0..1000, None, ready(()), ready, |_| ControlFlow::Continue(()));
        assert_eq!(left.await, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_no_more_turns_a_second_than_the_rate() {
        let begin = tokio::time::Instant::now();
        turns(0..101, Some(10), pending(), ready, |_| ControlFlow::Continue(())).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}
