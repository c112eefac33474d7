//! Subjects of the host's own. What is published there must not become messages of a workload. Pure.

use super::names::overlap;

/// Where dead letters are published. It is not `<workload>.dead`: that may be a subject of the workload's own stream
/// (`orders.>`), and no message belongs in two streams.
pub(crate) const DEAD_LETTERS: &str = "tidegate.dead.*";
/// Where lines of the journal are published. The last token is the workload.
pub(crate) const JOURNAL: &str = "tidegate.journal.*";

/// The host's own subjects beside its inboxes, and what is published there.
const OWN: [(&str, &str); 2] = [(DEAD_LETTERS, "dead letters"), (JOURNAL, "lines of the journal")];

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

/// The first of the subjects that overlaps with those on which a host is asked, and what it takes in there. `prefix` is
/// how those begin.
pub(super) fn asked_subject<'s>(subjects: &'s [String], prefix: &str) -> Option<(&'s str, String)> {
    let asked = format!("{prefix}.>");
    let subject = subjects.iter().find(|subject| overlap(subject, &asked))?;
    Some((subject.as_str(), format!("what this host is asked by NATS ({asked}, by service.prefix)")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::Config;

    #[test]
    fn a_stream_that_a_host_would_make_does_not_take_in_what_it_is_asked() {
        let read = |service: &str, subjects: &str, own: &str| {
            Config::from_toml(&format!(
                "{service}\n[workload.w]\nstream = \"S\"\nsubjects = [\"{subjects}\"]\nmanage = \"create\"\n\
                 handler = \"h\"\npolicy = \"p\"\n{own}\n"
            ))
        };
        let on = "service = { enabled = true, prefix = \"orders\" }";
        let refused = read(on, "orders.>", "").unwrap_err().to_string();
        let expected = "workload.w.subjects: \"orders.>\" takes in what this host is asked by NATS (orders.>, by \
                        service.prefix), so that each request would be stored";
        assert!(refused.contains(expected), "{refused}");
        assert!(read("service.enabled = true", "tidegate.host.*.status", "").is_err());
        for (service, subjects, own) in [
            (on, "order.>", ""),
            ("", "orders.>", ""),
            ("service.enabled = true", "orders.>", ""),
            // Another account has subjects of its own.
            (on, "orders.>", "nats.url = \"nats://elsewhere\""),
        ] {
            assert!(read(service, subjects, own).is_ok(), "{service} {subjects} {own}");
        }
    }
}
