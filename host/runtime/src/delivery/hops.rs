//! Counts how many workloads a message came through, so that none goes round for ever. Pure.
//!
//! Each publication carries `Tidegate-Hops: 3 orders invoices orders`: the number of workloads it came through, and the
//! last of them in order. A message that came through more than a workload allows becomes a dead letter.

use crate::contract::{Cause, Death, Delivery};

/// The header with the count.
pub(crate) const HOPS: &str = "Tidegate-Hops";
/// The most bytes of workload names that a publication carries. The oldest names are left out.
const NAMES: usize = 256;

/// The most bytes that the header takes.
pub(crate) const MAX_BYTES: usize = HOPS.len() + ": 4294967295\r\n".len() + NAMES;

/// The death of a message that came through more workloads than it may.
pub(crate) fn beyond(delivery: &Delivery, max: u32) -> Option<Death> {
    let (hops, path) = passed(delivery)?;
    (hops > max).then(|| {
        let path = path.collect::<Vec<_>>().join(" ");
        let reason = format!("it came through {hops} workloads, and max-hops allows {max}; the last of them: {path}");
        Death::new(Cause::Hops, reason)
    })
}

/// The header's value for what a workload publishes because of this delivery.
pub(crate) fn next(delivery: &Delivery, workload: &str) -> String {
    let (hops, path) = passed(delivery).map_or((0, Vec::new()), |(hops, path)| (hops, path.collect()));
    let mut room = NAMES;
    let latest = std::iter::once(workload).chain(path.into_iter().rev());
    let fits = |name: &&str| room.checked_sub(name.len() + 1).inspect(|left| room = *left).is_some();
    let mut names: Vec<&str> = latest.take_while(fits).collect();
    names.push("");
    names.reverse();
    format!("{}{}", hops.saturating_add(1), names.join(" "))
}

/// Whether a header's name is the one that only the host writes. A guest that passed on the header of its delivery
/// would undo the count.
pub(crate) fn is_hops(name: &str) -> bool {
    name.eq_ignore_ascii_case(HOPS)
}

/// How many workloads a message came through, and the last of them. Whoever publishes to the stream can write anything
/// into the header: what is no number counts as none, and what is no workload's name is left out.
fn passed(delivery: &Delivery) -> Option<(u32, impl DoubleEndedIterator<Item = &str>)> {
    let (_, value) = delivery.headers.iter().find(|(name, _)| is_hops(name))?;
    let mut words = value.split_ascii_whitespace();
    let hops = words.next()?.parse().ok()?;
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    Some((hops, words.filter(is_name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn delivery(value: &str) -> Delivery {
        Delivery { headers: vec![("tidegate-hops".to_owned(), value.to_owned())], ..Delivery::default() }
    }

    #[test]
    fn a_publication_names_the_workloads_that_it_came_through() {
        let first = next(&Delivery::default(), "orders");
        assert_eq!(first, "1 orders");
        let second = next(&delivery(&first), "invoices");
        assert_eq!(second, "2 orders invoices");
        assert_eq!(next(&delivery(&second), "orders"), "3 orders invoices orders");
    }

    #[test]
    fn a_message_that_came_through_more_than_it_may_dies_of_that_and_its_path_is_told() {
        assert_eq!(beyond(&Delivery::default(), 0), None);
        assert_eq!(beyond(&delivery("16 a b"), 16), None);
        let death = beyond(&delivery("17 a b"), 16).unwrap();
        assert_eq!(death.cause, Cause::Hops);
        assert!(death.reason.contains("17 workloads") && death.reason.ends_with(": a b"), "{}", death.reason);
    }

    #[test]
    fn what_a_stranger_wrote_there_is_no_count_and_no_name() {
        for nonsense in ["", " ", "-1", "many", "99999999999999999999", "1.5"] {
            assert_eq!(beyond(&delivery(nonsense), 0), None, "{nonsense:?}");
            assert_eq!(next(&delivery(nonsense), "orders"), "1 orders", "{nonsense:?}");
        }
        assert_eq!(next(&delivery("4 <b> a\u{202e} b"), "orders"), "5 b orders");
        assert_eq!(next(&delivery("4294967295"), "orders"), "4294967295 orders");
    }

    proptest! {
        #[test]
        fn the_header_is_legal_and_bounded_whatever_was_there(value in ".*", names in "( ?[a-z]{1,9}){0,100}") {
            for value in [value, format!("7 {names}")] {
                let next = next(&delivery(&value), "orders");
                prop_assert!(next.len() + HOPS.len() + 4 <= MAX_BYTES, "{next}");
                prop_assert!(next.ends_with(" orders") && !next.contains(['\r', '\n']), "{next}");
            }
        }
    }
}
