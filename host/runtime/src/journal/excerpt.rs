//! Part of a journal, as a journal.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use super::entry::Role;
use super::line::{DecideLine, InitLine, JournalEvent, JournalLine, JournalState};

/// Makes a journal of its own of lines of one, in their order. A line names a state by its digest where the line before
/// has the bytes, so the first line that is taken needs them, which are in lines that are not.
#[derive(Debug, Default)]
pub struct Excerpt {
    known: HashMap<Whose, Known>,
    /// The states that a reader of the excerpt knows: the last one of each workload and role, of whichever host.
    written: HashMap<(String, Role), String>,
    left_out: u64,
}

/// Host, workload and role: each has one state at a time.
type Whose = (String, String, Role);

#[derive(Debug)]
struct Known {
    digest: String,
    bytes: String,
}

impl Excerpt {
    /// Takes a line, as it has to be after those taken before. `None` if it rests on a state that no line has shown.
    pub fn take(&mut self, mut line: JournalLine) -> Option<JournalLine> {
        let (workload, role, mut states) = match &mut line.event {
            JournalEvent::Init(InitLine { workload, role, previous, state, .. }) => {
                (workload.clone(), *role, previous.iter_mut().chain(state).collect::<Vec<_>>())
            }
            JournalEvent::Decide(DecideLine { workload, role, state, decision, .. }) => {
                let after = decision.iter_mut().map(|answer| &mut answer.state);
                (workload.clone(), *role, std::iter::once(state).chain(after).collect())
            }
            JournalEvent::Dropped { .. } => {
                // Whoever reads it takes no state to be known any more.
                self.written.clear();
                return Some(line);
            }
        };
        let whose = (line.host.clone(), workload, role);
        // All of them, for those after the first may be what the next line rests on.
        let mut is_known = true;
        for state in &mut states {
            is_known &= self.resolve(&whose, state);
        }
        if !is_known {
            self.left_out += 1;
            return None;
        }
        let (_, workload, role) = whose;
        for state in states {
            let before = self.written.insert((workload.clone(), role), state.digest.clone());
            if before.as_ref() == Some(&state.digest) {
                state.bytes = None;
            }
        }
        Some(line)
    }

    /// Notes the states that a line shows, which is before those that are taken.
    pub fn pass_over(&mut self, line: &JournalLine) {
        let (workload, role, states) = match &line.event {
            JournalEvent::Init(InitLine { workload, role, previous, state, .. }) => {
                (workload, *role, previous.iter().chain(state).collect::<Vec<_>>())
            }
            JournalEvent::Decide(DecideLine { workload, role, state, decision, .. }) => {
                let after = decision.iter().map(|answer| &answer.state);
                (workload, *role, std::iter::once(state).chain(after).collect())
            }
            JournalEvent::Dropped { .. } => return,
        };
        let whose = (line.host.clone(), workload.clone(), role);
        for JournalState { digest, bytes } in states {
            if let Some(bytes) = bytes {
                self.known.insert(whose.clone(), Known { digest: digest.clone(), bytes: bytes.clone() });
            }
        }
    }

    /// How many lines were not taken.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Gives a state its bytes, if they are known.
    fn resolve(&mut self, whose: &Whose, state: &mut JournalState) -> bool {
        match (&state.bytes, self.known.entry(whose.clone())) {
            (Some(bytes), entry) => {
                entry.insert_entry(Known { digest: state.digest.clone(), bytes: bytes.clone() });
                true
            }
            (None, Occupied(entry)) if entry.get().digest == state.digest => {
                state.bytes = Some(entry.get().bytes.clone());
                true
            }
            (None, Occupied(_) | Vacant(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::Limits;
    use crate::contract::Author;
    use crate::contract::{Decision, Observation};
    use crate::journal::line::LineWriter;
    use crate::journal::{Entry, JournalReader, PolicyBounds, PolicyCall};

    fn entry(workload: &str, state: &[u8], next: &[u8]) -> Entry {
        Entry {
            at: UNIX_EPOCH,
            workload: workload.into(),
            role: Role::Live,
            policy: Author { plugin: "p".into(), generation: "g".into() },
            settings: [].into(),
            bounds: PolicyBounds::of(&Limits::default()),
            call: PolicyCall::Decide {
                seen: Observation::default(),
                arrivals: 0,
                state: state.to_vec(),
                answer: Ok(Decision { desired: 1, reason: String::new(), state: next.to_vec() }),
                made: None,
                fleet: None,
            },
        }
    }

    /// The states before and after a decision.
    type Pair = (Vec<u8>, Vec<u8>);

    /// What a reader makes of the excerpt of these lines: the states before and after each decision.
    fn states(lines: impl IntoIterator<Item = Vec<u8>>) -> (Vec<Pair>, u64) {
        let (dir, mut excerpt, mut text) = (tempfile::tempdir().unwrap(), Excerpt::default(), Vec::new());
        for line in lines {
            if let Some(line) = excerpt.take(serde_json::from_slice(&line).unwrap()) {
                text.extend(serde_json::to_vec(&line).unwrap());
                text.push(b'\n');
            }
        }
        let file = dir.path().join("j");
        std::fs::write(&file, text).unwrap();
        let (mut reader, mut states) = (JournalReader::open(&file).unwrap(), Vec::new());
        while let Some(line) = reader.next().unwrap() {
            let JournalEvent::Decide(turn) = line.event else { panic!("no decision") };
            let mut bytes = |state| reader.state(&turn.workload, turn.role, state).unwrap();
            states.push((bytes(&turn.state), bytes(&turn.decision.as_ref().unwrap().state)));
        }
        (states, excerpt.left_out())
    }

    #[test]
    fn what_begins_in_the_middle_has_the_bytes_of_its_first_state() {
        let mut writer = LineWriter::new("h".to_owned());
        let lines: Vec<Vec<u8>> = [(b"a", b"b"), (b"b", b"b"), (b"b", b"c"), (b"c", b"c")]
            .map(|(state, next)| writer.line(&entry("w", state, next)))
            .into();
        let pair = |a: &[u8], b: &[u8]| (a.to_vec(), b.to_vec());
        assert_eq!(
            states(lines.clone()),
            (vec![pair(b"a", b"b"), pair(b"b", b"b"), pair(b"b", b"c"), pair(b"c", b"c")], 0)
        );
        // Of the second line no state is known. The third rests on one that nobody has, too, but shows the one after
        // it.
        assert_eq!(states(lines.into_iter().skip(1)), (vec![pair(b"c", b"c")], 2));
    }

    #[test]
    fn what_is_passed_over_shows_the_state_of_what_comes_after() {
        let (mut writer, mut excerpt) = (LineWriter::new("h".to_owned()), Excerpt::default());
        let mut line = |state: &[u8], next: &[u8]| -> JournalLine {
            serde_json::from_slice(&writer.line(&entry("w", state, next))).unwrap()
        };
        for passed in [line(b"a", b"b"), line(b"b", b"b")] {
            excerpt.pass_over(&passed);
        }
        let taken = excerpt.take(line(b"b", b"b")).expect("its state is known");
        let JournalEvent::Decide(turn) = taken.event else { panic!("no decision") };
        // A reader of the excerpt knows nothing of what was passed over.
        assert_eq!((turn.state.bytes.as_deref(), turn.decision.unwrap().state.bytes), (Some("Yg=="), None));
        assert_eq!(excerpt.left_out(), 0);
    }

    #[test]
    fn what_was_written_once_is_not_written_again() {
        let (mut writer, mut excerpt) = (LineWriter::new("h".to_owned()), Excerpt::default());
        let mut taken = |state: &[u8], next: &[u8]| {
            let line: JournalLine = serde_json::from_slice(&writer.line(&entry("w", state, next))).unwrap();
            assert_eq!(excerpt.take(line.clone()).unwrap(), line);
        };
        taken(b"a", b"b");
        taken(b"b", b"b");
        taken(b"b", b"c");
    }

    #[test]
    fn each_host_and_each_workload_has_its_own_states() {
        let (mut one, mut two) = (LineWriter::new("1".to_owned()), LineWriter::new("2".to_owned()));
        let lines = [
            one.line(&entry("w", b"a", b"b")),
            two.line(&entry("w", b"x", b"y")),
            one.line(&entry("v", b"m", b"n")),
            one.line(&entry("w", b"b", b"b")),
            two.line(&entry("w", b"y", b"x")),
            one.line(&entry("v", b"n", b"n")),
        ];
        let pair = |a: &[u8], b: &[u8]| (a.to_vec(), b.to_vec());
        let expected = [(b"a", b"b"), (b"x", b"y"), (b"m", b"n"), (b"b", b"b"), (b"y", b"x"), (b"n", b"n")]
            .map(|(a, b)| pair(a, b));
        assert_eq!(states(lines), (expected.to_vec(), 0));
    }
}
