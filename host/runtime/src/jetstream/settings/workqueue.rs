//! Consumers of a stream with workqueue retention, which gives each message to one consumer.

use crate::config::subjects_overlap;

/// The first of the other consumers that takes some of the messages that one with these filters would. Without filters
/// a consumer takes all.
pub(crate) fn rival<'a>(filters: &[String], others: &'a [(String, Vec<String>)]) -> Option<&'a str> {
    let takes_both = |theirs: &[String]| {
        let overlap = |mine: &String| theirs.iter().any(|subject| subjects_overlap(mine, subject));
        filters.is_empty() || theirs.is_empty() || filters.iter().any(overlap)
    };
    others.iter().find(|(_, theirs)| takes_both(theirs)).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(all: &[&str]) -> Vec<String> {
        all.iter().map(|subject| (*subject).to_owned()).collect()
    }

    #[test]
    fn two_consumers_of_a_work_queue_are_rivals_where_a_message_is_for_both() {
        let others = [("eu", &["orders.eu.>", "bills"][..]), ("us", &["orders.us.>"])];
        let others = others.map(|(name, filters)| (name.to_owned(), subjects(filters)));
        for (filters, expected) in [
            (&["orders.asia.>"][..], None),
            (&["orders.us.1"], Some("us")),
            (&["x", "bills"], Some("eu")),
            (&["orders.*.1"], Some("eu")),
            (&[], Some("eu")),
        ] {
            assert_eq!(rival(&subjects(filters), &others), expected, "{filters:?}");
        }
        let all = [("all".to_owned(), Vec::new())];
        assert_eq!(rival(&subjects(&["orders.asia.>"]), &all), Some("all"));
        // The partitions of one workload.
        assert_eq!(rival(&subjects(&["1.>"]), &[("p0".to_owned(), subjects(&["0.>"]))]), None);
        assert_eq!(rival(&[], &[]), None);
    }
}
