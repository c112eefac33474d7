//! Subjects that would make a host talk to itself.

use super::info::StreamConfig;
use super::refusal::SettingsRefusal;
use crate::config::subjects_overlap;

/// The subjects on which a host listens, and keeps letters and journal lines.
#[derive(Debug, Clone, Copy)]
pub struct Reserved<'a> {
    /// The first tokens of the host's inboxes.
    pub inbox: &'a str,
}

/// The host's own subjects, and what is published there.
const OWN: [(&str, &str); 2] = [("tidegate.dead.*", "dead letters"), ("tidegate.journal.*", "lines of the journal")];

impl Reserved<'_> {
    /// The first of the subjects that overlaps with one of the host's own, and what is published there.
    fn overlap<'s>(&self, subjects: &'s [String], but: Option<&str>) -> Option<(&'s str, String)> {
        let inbox = format!("{}.>", self.inbox);
        subjects.iter().find_map(|subject| {
            if subjects_overlap(subject, &inbox) {
                return Some((subject.as_str(), format!("what is delivered to this host ({inbox})")));
            }
            let mut own = OWN.iter().filter(|(own, _)| Some(*own) != but);
            let (own, what) = own.find(|(own, _)| subjects_overlap(subject, own))?;
            Some((subject.as_str(), format!("its {what} ({own})")))
        })
    }
}

/// Refuses a stream whose subjects overlap with the host's own. What is sent to the host, or kept by it, would become
/// messages of the stream, and be delivered to the host again. `but` is the one of the host's own subjects that the
/// stream is for, if it is for one.
pub(crate) fn reserved(config: &StreamConfig, but: Option<&str>, reserved: Reserved<'_>) -> Option<SettingsRefusal> {
    let name = &config.name;
    if let Some((subject, what)) = reserved.overlap(&config.subjects, but) {
        return Some(SettingsRefusal {
            problem: format!(
                "its subject `{subject}` takes in {what}, so that each message would make new ones for ever"
            ),
            remedy: format!("Give it subjects of its own: `nats stream edit {name} --subjects=...`."),
        });
    }
    let dest = config.republish.as_ref().map(|republish| [republish.dest.clone()])?;
    let (subject, what) = reserved.overlap(&dest, None)?;
    Some(SettingsRefusal {
        problem: format!("it republishes on `{subject}`, which takes in {what}"),
        remedy: format!("Let it republish elsewhere: `nats stream edit {name} --republish-destination=...`."),
    })
}
