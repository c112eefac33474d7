//! What ends as a dead letter, and what does not count.
#![allow(clippy::panic)]
use tokio::time::Instant;

use super::*;
use crate::config::Grants;
use crate::contract::{Delivery, Failure};
use crate::delivery::attempts::Untried;
use crate::delivery::inbox::Company;
use crate::delivery::test_delivery::TestDelivery;
use crate::ports::Excused;

/// Of a workload of which a message may have this many attempts.
fn rules(max_attempts: u32) -> Arc<Rules> {
    let bounds = ResponseBounds { max_payload: 100, own_headers: 0, publications: 1, grants: Grants::default() };
    let retry = Retry { max_attempts, backoff: vec![Duration::ZERO] };
    let consumer = Effective::with_ack_wait(Duration::from_secs(30));
    Rules::new(retry, 16, consumer, bounds, (Arc::default(), &Conditions::new("orders".into())))
}

/// A delivery of message 7, at whose consumer this stands by now.
fn waiting(attempt: u32, text: &str) -> Waiting<TestDelivery> {
    let delivery = Delivery { stream_sequence: 7, attempt, ..Delivery::default() };
    let excused = Some(Excused::read(text, "made", 0));
    let held = TestDelivery { excused, ..TestDelivery::of(delivery) };
    Waiting { held, since: Instant::now(), company: Company::Any, turn: None, permit: None }
}

fn author() -> Author {
    Author { plugin: "receipts".into(), generation: "2ea2".into() }
}

/// Of a message whose dead letter is stored, and is there still if `there`, this delivery.
async fn delivered_again(there: bool, attempt: u32) -> (Arc<Rules>, Waiting<TestDelivery>) {
    let (rules, first) = (rules(3), waiting(1, ""));
    let letters = first.held.letters.clone();
    let death = Death::new(Cause::Rejected, "no good".to_owned());
    assert_eq!(dead_letter(first, death, &author(), &rules).await, Settled::Dead(Cause::Rejected));
    letters.lock().iter_mut().for_each(|letter| *letter = there);
    let mut again = waiting(attempt, "");
    again.held.letters = letters;
    (rules, again)
}

#[tokio::test]
async fn a_message_that_comes_again_is_termed_only_while_its_dead_letter_is_there() {
    for (there, ends) in [(true, Settled::DeadBefore), (false, Settled::GivenBack)] {
        let (rules, again) = delivered_again(there, 2).await;
        let delivery = again.held.delivery.clone();
        let Some(Untried::Term(kept)) = rules.attempts.untried(&delivery, &rules.retry) else { panic!("it is tried") };
        let (letters, given_back) = (again.held.letters.clone(), again.held.given_back.clone());
        assert_eq!(term_again(again, kept, &rules).await, ends);
        assert_eq!((letters.lock().len(), given_back.lock().len()), (1, usize::from(!there)));
        // Then it is tried, and that it was given back uses up no attempt.
        let next = Delivery { attempt: 3, ..delivery };
        assert_eq!(rules.attempts.untried(&next, &rules.retry).is_none(), !there);
        assert_eq!(rules.attempts.used(&next), if there { 3 } else { 2 });
    }
}

#[tokio::test]
async fn a_second_death_of_a_message_makes_a_second_letter_only_where_the_first_is_gone() {
    for (there, ends, count) in [(true, Settled::DeadBefore, 1), (false, Settled::Dead(Cause::Retries), 2)] {
        let (rules, again) = delivered_again(there, 1).await;
        let letters = again.held.letters.clone();
        let death = Death::new(Cause::Retries, "no good".to_owned());
        assert_eq!(dead_letter(again, death, &author(), &rules).await, ends);
        assert_eq!(letters.lock().len(), count);
    }
}

#[tokio::test]
async fn what_seems_to_have_been_delivered_too_often_is_given_back_where_hosts_that_stopped_have_done_so_too() {
    let death = || Death::new(Cause::Exhausted, "delivered too often".to_owned());
    for (text, ends) in [("made 7:1", Settled::GivenBack), ("made 8:1", Settled::Dead(Cause::Exhausted))] {
        let (rules, waiting) = (rules(1), waiting(4, text));
        let given_back = waiting.held.given_back.clone();
        assert_eq!(exhausted(waiting, death(), &author(), &rules).await, ends, "{text}");
        assert_eq!(given_back.lock().len(), usize::from(ends == Settled::GivenBack));
    }
}

#[tokio::test]
async fn a_failure_is_the_last_only_if_no_host_that_stopped_has_given_the_message_back() {
    for (text, ends) in [("made 7:1", Settled::Retried), ("", Settled::Dead(Cause::Retries))] {
        let failed = Ok(Err(Failure::Retry(None)));
        let by = author();
        let step = settle(waiting(2, text), failed, (&by).into(), &rules(2), std::future::pending).await;
        assert!(matches!(step, Remaining::Done(how) if how == ends), "{text}");
    }
}
