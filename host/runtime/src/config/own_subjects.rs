//! Subjects of the host's own. What is published there must not become messages of a workload. Pure.

use super::names::overlap;

/// The host's own subjects beside its inboxes, and what is published there.
const OWN: [(&str, &str); 2] = [("tidegate.dead.*", "dead letters"), ("tidegate.journal.*", "lines of the journal")];

/// The first of the subjects that overlaps with one of the host's own, and what it takes in there. `inbox` is how the
/// host's inboxes begin; `but` is the one of its own subjects that these are for, if they are for one.
pub(crate) fn own_subject<'s>(subjects: &'s [String], inbox: &str, but: Option<&str>) -> Option<(&'s str, String)> {
    let inboxes = format!("{inbox}.>");
    subjects.iter().find_map(|subject| {
        if overlap(subject, &inboxes) {
            return Some((subject.as_str(), format!("what is delivered to this host ({inboxes})")));
        }
        let mut own = OWN.iter().filter(|(own, _)| Some(*own) != but);
        let (own, what) = own.find(|(own, _)| overlap(subject, own))?;
        Some((subject.as_str(), format!("its {what} ({own})")))
    })
}
