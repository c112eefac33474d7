//! Subjects that would make a host talk to itself.

use super::info::StreamConfig;
use super::refusal::SettingsRefusal;
use crate::config::subjects_overlap;

/// Where a host hears and keeps things.
#[derive(Debug, Clone, Copy)]
pub struct Reserved<'a> {
    /// The first tokens of its inboxes.
    pub inbox: &'a str,
}

/// What each of the host's own subjects is.
const OWN: [(&str, &str); 2] = [("tidegate.dead.*", "dead letters"), ("tidegate.journal.*", "lines of the journal")];

impl Reserved<'_> {
    /// The first of the subjects that takes in what is the host's own, and what that is.
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

/// Why nobody should work on a stream of these subjects: what the host is sent, or keeps, would become messages of it,
/// which it is sent again. `but` is the host's own subject that the stream is for, if it is for one.
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
