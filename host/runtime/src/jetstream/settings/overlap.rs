//! Streams that would make a host talk to itself.

use super::info::{Origin, StreamConfig};
use super::refusal::SettingsRefusal;
use crate::config::{own_subject, subjects_overlap};
use crate::dead_letter::{stored_subject, subject};

/// The subjects on which a host listens, and the streams in which it keeps letters and journal lines.
#[derive(Debug, Clone, Copy)]
pub struct Reserved<'a> {
    /// The first tokens of the host's inboxes.
    pub inbox: &'a str,
    /// The stream of dead letters.
    pub letters: &'a str,
    /// The journal's stream, where there is one in this account.
    pub journal: Option<&'a str>,
}

/// Refuses a stream of which `workload` cannot be a reader: what is sent to the host, or kept by it, would become
/// messages of the stream, and be delivered to the host again.
pub(crate) fn circular(config: &StreamConfig, workload: &str, own: Reserved<'_>) -> Option<SettingsRefusal> {
    reserved(config, None, own.inbox).or_else(|| copied(config, workload, own))
}

/// Refuses a stream whose subjects overlap with the host's own. `but` is the one of the host's own subjects that the
/// stream is for, if it is for one.
pub(crate) fn reserved(config: &StreamConfig, but: Option<&str>, inbox: &str) -> Option<SettingsRefusal> {
    let name = &config.name;
    if let Some((subject, what)) = own_subject(&config.subjects, inbox, but) {
        return Some(SettingsRefusal {
            problem: format!(
                "its subject `{subject}` takes in {what}, so that each message would make new ones for ever"
            ),
            remedy: format!("Give it subjects of its own: `nats stream edit {name} --subjects=...`."),
        });
    }
    let dest = config.republish.as_ref().map(|republish| [republish.dest.clone()])?;
    let (subject, what) = own_subject(&dest, inbox, None)?;
    Some(SettingsRefusal {
        problem: format!("it republishes on `{subject}`, which takes in {what}"),
        remedy: format!("Let it republish elsewhere: `nats stream edit {name} --republish-destination=...`."),
    })
}

/// What the host keeps because of a workload: in which stream, on which subjects, what it is, and such a subject of
/// another workload.
struct Kept<'a>(&'a str, Vec<String>, &'static str, &'static str);

/// Refuses a stream that has copies of what the host keeps because of this workload. Those of other workloads may be
/// handled.
fn copied(config: &StreamConfig, workload: &str, own: Reserved<'_>) -> Option<SettingsRefusal> {
    let of_letters = vec![stored_subject(workload), subject(workload)];
    let letters = Kept(own.letters, of_letters, "dead letters", "OTHER.dead");
    let of_lines = vec![format!("tidegate.journal.{workload}")];
    let lines = own.journal.map(|stream| Kept(stream, of_lines, "lines of the journal", "tidegate.journal.OTHER"));
    let kept: Vec<Kept<'_>> = lines.into_iter().chain([letters]).collect();
    let brought = |origin: &Origin| kept.iter().find(|kept| brings(origin, kept));
    let name = &config.name;
    let (how, stream, what, remedy) = match config.mirror.as_ref().and_then(brought) {
        Some(Kept(stream, _, what, _)) => ("mirror", stream, what, "Read another stream.".to_owned()),
        None => {
            let Kept(stream, _, what, other) = config.sources.iter().find_map(brought)?;
            let remedy = format!(
                "Take that source away, or give it a filter_subject of other workloads alone, such as `{other}`: `nats \
                 stream edit {name} --interactive`."
            );
            ("source", stream, what, remedy)
        }
    };
    let problem = format!(
        "its {how} {stream} brings it this workload's {what}, so that each message would make new ones for ever"
    );
    Some(SettingsRefusal { problem, remedy })
}

/// Whether some of what is kept comes from there.
fn brings(origin: &Origin, Kept(stream, subjects, ..): &Kept<'_>) -> bool {
    let filters = origin.filters();
    let takes = |subject| filters.is_empty() || filters.iter().any(|filter| subjects_overlap(filter, subject));
    origin.name == *stream && !origin.is_elsewhere() && subjects.iter().any(|subject| takes(subject))
}
