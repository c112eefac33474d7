//! The form of a journal: `docs/journal.md` describes it for those who read one.

use std::collections::hash_map::Entry::Occupied;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use data_encoding::HEXLOWER;
use humantime::format_rfc3339_millis;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

use super::bounds::PolicyBounds;
use super::entry::{Adoption, Change, Entry, PlanLine, PolicyCall, Role};
use crate::config::{OciReference, is_plugin_name};
use crate::contract::Fault;
use crate::contract::Observation;

/// The version of the form. It grows when a reader of the version before would misunderstand a line.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// [`VERSION`].
    pub journal: u32,
    /// When, in UTC, to the millisecond.
    pub time: String,
    /// Which host.
    pub host: String,
    /// What happened.
    #[serde(flatten)]
    pub event: JournalEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum JournalEvent {
    /// A policy's `init` was called.
    Init(InitLine),
    /// A policy's `decide` was called.
    Decide(DecideLine),
    /// Lines are missing here.
    Dropped {
        /// How many.
        lines: u64,
    },
}

/// A call of `init`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InitLine {
    /// The workload's name.
    pub workload: String,
    /// Whether what it decides is acted upon.
    pub role: Role,
    /// Which code.
    pub policy: PolicyName,
    /// What it got.
    pub settings: BTreeMap<String, String>,
    /// What it might spend.
    pub limits: PolicyBounds,
    /// The state of the version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<JournalState>,
    /// The first state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<JournalState>,
    /// Why it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Why it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<JournalFault>,
}

/// A call of `decide`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecideLine {
    /// The workload's name.
    pub workload: String,
    /// Whether what it decides is acted upon.
    pub role: Role,
    /// Which code.
    pub policy: PolicyName,
    /// What it got in `init`.
    pub settings: BTreeMap<String, String>,
    /// What it might spend.
    pub limits: PolicyBounds,
    /// Messages that had arrived since the host began to watch.
    pub arrivals: u64,
    /// What it was told.
    pub observation: Observation,
    /// The state it was given.
    pub state: JournalState,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<JournaledDecision>,
    /// Why it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<JournalFault>,
    /// What the host did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Change>,
    /// How the hosts of a fleet share the workers out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<PlanLine>,
}

/// A policy's code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyName {
    /// The plugin's name.
    #[serde(deserialize_with = "plugin_name")]
    pub name: String,
    /// The digest of its generation.
    pub generation: String,
}

/// A name that becomes a file's in the plugin directory and of no other, or a place in a registry.
fn plugin_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if is_plugin_name(&name) || OciReference::is_one(&name) {
        Ok(name)
    } else {
        Err(D::Error::custom(format!("{name:?} is no plugin's name")))
    }
}

/// A state: its digest, and its bytes where they are not those of the state that was written before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalState {
    /// SHA-256, in hexadecimal.
    pub digest: String,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// Why a policy did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFault {
    /// In one word, as in the metric `tidegate_handler_faults`.
    pub kind: String,
    /// For a person.
    pub text: String,
}

impl JournalFault {
    /// That of a fault.
    pub(crate) fn of(fault: &Fault) -> Self {
        Self { kind: fault.kind().as_str().to_owned(), text: fault.to_string() }
    }
}

/// What a policy decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournaledDecision {
    /// The number it wants.
    pub desired: u32,
    /// Why.
    pub reason: String,
    /// The state for the next call.
    pub state: JournalState,
}

/// The digest that names a state.
pub fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// For how many lines of a workload and role a state may stand without its bytes.
pub const STATES_WITHIN_LINES: u32 = 60;
/// For how long a state may stand without its bytes. Who reads from so long before a time has all states since then.
pub const STATES_WITHIN: Duration = Duration::from_secs(60);

/// Makes lines. Remembers which state it wrote last for each policy, to leave the bytes out where nothing changed, but
/// for a while only: a stream forgets its first lines, and a reader may begin anywhere.
///
/// Rejected: to write the bytes always, which is simpler to read. Measured over an hour of a day's wave, a line would
/// have 1,526 bytes instead of 1,235 with the policy `objective`, 1,266 instead of 1,083 with `backlog`, 2,793 instead
/// of 1,857 with `kpa` and 2,042 instead of 973 with `utilization`, so a disk would hold half of the time. To write
/// them anew once in 60 lines adds a sixtieth of that difference at most: from 3 bytes a line to 18.
#[derive(Debug)]
pub(crate) struct LineWriter {
    host: String,
    last: HashMap<(String, Role), Written>,
}

/// A state that a reader knows.
#[derive(Debug)]
struct Written {
    digest: String,
    /// When its bytes were written.
    at: SystemTime,
    /// How many lines came since then.
    lines: u32,
}

impl Written {
    /// Whether a line at this time has to have the bytes again. A clock that was set back tells of no time.
    fn is_due(&self, now: SystemTime) -> bool {
        let since = now.duration_since(self.at);
        self.lines >= STATES_WITHIN_LINES || since.map_or(true, |since| since >= STATES_WITHIN)
    }
}

impl LineWriter {
    /// For the host of this name.
    pub(crate) fn new(host: String) -> Self {
        Self { host, last: HashMap::new() }
    }

    /// A new file begins: a reader of it knows nothing of those before.
    pub(crate) fn begin(&mut self) {
        self.last.clear();
    }

    /// The line of an entry, with its end.
    pub(crate) fn line(&mut self, entry: &Entry) -> Vec<u8> {
        let workload = entry.workload.to_string();
        let policy = PolicyName {
            name: entry.policy.plugin.to_string(),
            generation: entry.policy.generation.whole().to_owned(),
        };
        let settings = entry.settings.iter().cloned().collect();
        let (role, limits) = (entry.role, entry.bounds);
        self.age(&workload, role, entry.at);
        let mut state = |bytes: &[u8]| self.state(&workload, role, entry.at, bytes);
        let event = match &entry.call {
            PolicyCall::Init(Adoption { previous, answer }) => {
                let previous = previous.as_deref().map(&mut state);
                let (made, refusal, fault) = match answer {
                    Ok(Ok(first)) => (Some(state(first)), None, None),
                    Ok(Err(refusal)) => (None, Some(refusal.clone()), None),
                    Err(fault) => (None, None, Some(JournalFault::of(fault))),
                };
                JournalEvent::Init(InitLine {
                    workload,
                    role,
                    policy,
                    settings,
                    limits,
                    previous,
                    state: made,
                    refusal,
                    fault,
                })
            }
            PolicyCall::Decide { seen, arrivals, state: before, answer, made, fleet } => {
                let before = state(before);
                let (decision, fault) = match answer {
                    Ok(decision) => {
                        let (desired, reason) = (decision.desired, decision.reason.clone());
                        (Some(JournaledDecision { desired, reason, state: state(&decision.state) }), None)
                    }
                    Err(fault) => (None, Some(JournalFault::of(fault))),
                };
                let workers = *made;
                let observation = *seen;
                JournalEvent::Decide(DecideLine {
                    workload,
                    role,
                    policy,
                    settings,
                    limits,
                    arrivals: *arrivals,
                    observation,
                    state: before,
                    decision,
                    fault,
                    workers,
                    fleet: fleet.as_deref().cloned(),
                })
            }
        };
        self.text(entry.at, event)
    }

    /// The line that says that lines are missing.
    pub(crate) fn dropped(&self, at: SystemTime, lines: u64) -> Vec<u8> {
        self.text(at, JournalEvent::Dropped { lines })
    }

    /// Another line begins: the state that was written last is not known for ever.
    fn age(&mut self, workload: &str, role: Role, now: SystemTime) {
        if let Occupied(mut last) = self.last.entry((workload.to_owned(), role)) {
            if last.get().is_due(now) {
                last.remove();
            } else {
                last.get_mut().lines += 1;
            }
        }
    }

    fn state(&mut self, workload: &str, role: Role, at: SystemTime, bytes: &[u8]) -> JournalState {
        let (digest, whose) = (digest(bytes), (workload.to_owned(), role));
        if self.last.get(&whose).is_some_and(|last| last.digest == digest) {
            return JournalState { digest, bytes: None };
        }
        self.last.insert(whose, Written { digest: digest.clone(), at, lines: 0 });
        JournalState { digest, bytes: Some(BASE64_STANDARD.encode(bytes)) }
    }

    fn text(&self, at: SystemTime, event: JournalEvent) -> Vec<u8> {
        let time = format_rfc3339_millis(at).to_string();
        let line = JournalLine { journal: VERSION, time, host: self.host.clone(), event };
        // Nothing in a line is a number that JSON cannot have, nor a key that is no text.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Limits;
    use crate::contract::Author;
    use crate::contract::Decision;

    fn entry(state: &[u8], next: &[u8]) -> Entry {
        let decision = Decision { desired: 3, reason: "because".to_owned(), state: next.to_vec() };
        Entry {
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            workload: "orders".into(),
            role: Role::Live,
            policy: Author { plugin: "backlog".into(), generation: "abc".into() },
            settings: [("a".to_owned(), "1".to_owned())].into(),
            bounds: PolicyBounds::of(&Limits::default()),
            call: PolicyCall::Decide {
                seen: Observation::default(),
                arrivals: 9,
                state: state.to_vec(),
                answer: Ok(decision),
                made: Some(Change { from: 1, to: 3, set_by_person: false }),
                fleet: None,
            },
        }
    }

    fn turn(line: &[u8]) -> DecideLine {
        let line: JournalLine = serde_json::from_slice(line).unwrap();
        assert_eq!((line.journal, line.time.as_str()), (1, "2023-11-14T22:13:20.123Z"));
        let JournalEvent::Decide(turn) = line.event else { panic!("no decision") };
        turn
    }

    #[test]
    fn bytes_of_a_state_are_written_when_they_change_and_in_each_new_file() {
        let mut writer = LineWriter::new("host:1".to_owned());
        let bytes = |writer: &mut LineWriter, state: &[u8], next: &[u8]| {
            let turn = turn(&writer.line(&entry(state, next)));
            (turn.state.bytes, turn.decision.unwrap().state.bytes)
        };
        assert_eq!(bytes(&mut writer, b"a", b"b"), (Some("YQ==".to_owned()), Some("Yg==".to_owned())));
        assert_eq!(bytes(&mut writer, b"b", b"b"), (None, None));
        assert_eq!(bytes(&mut writer, b"b", b"a"), (None, Some("YQ==".to_owned())));
        writer.begin();
        assert_eq!(bytes(&mut writer, b"a", b"a"), (Some("YQ==".to_owned()), None));
    }

    #[test]
    fn a_state_that_does_not_change_is_written_anew_after_some_lines_and_after_some_time() {
        let mut writer = LineWriter::new("host:1".to_owned());
        let at = |at: SystemTime| Entry { at, ..entry(b"a", b"a") };
        let mut has_bytes = |entry: &Entry| {
            let line: JournalLine = serde_json::from_slice(&writer.line(entry)).unwrap();
            let JournalEvent::Decide(turn) = line.event else { panic!("no decision") };
            assert_eq!(turn.decision.unwrap().state.bytes, None);
            turn.state.bytes.is_some()
        };
        let begin = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let with: Vec<usize> = (0..200).filter(|_| has_bytes(&at(begin))).collect();
        assert_eq!(with, [0, 61, 122, 183]);
        // Of a policy that is seldom asked, too.
        let after = |time: Duration| begin + STATES_WITHIN + time;
        assert!(has_bytes(&at(after(Duration::ZERO))));
        assert!(!has_bytes(&at(after(STATES_WITHIN - Duration::from_millis(1)))));
        assert!(has_bytes(&at(after(STATES_WITHIN))));
        assert!(has_bytes(&at(begin)), "a clock that was set back");
    }

    #[test]
    fn what_was_done_stands_in_the_line() {
        let turn = turn(&LineWriter::new("host:1".to_owned()).line(&entry(b"a", b"b")));
        assert_eq!(turn.workers, Some(Change { from: 1, to: 3, set_by_person: false }));
        assert_eq!(turn.settings, BTreeMap::from([("a".to_owned(), "1".to_owned())]));
        assert_eq!(turn.limits, PolicyBounds::of(&Limits::default()));
        assert_eq!(turn.state.digest, digest(b"a"));
    }

    proptest! {
        /// What the observer makes is rounded; this is what makes a replay see the same bits.
        #[test]
        fn an_observation_is_read_as_it_was_written(
            numbers: [u32; 6], millionths: [u32; 6], counts: [u64; 4], limited: bool, keys_waiting: Option<u32>
        ) {
            let exact = |i: usize| f64::from(numbers[i]) + f64::from(millionths[i] % 1_000_000) / 1e6;
            let of = |i: usize| (exact(i) * 1e6).round() / 1e6;
            let seen = Observation {
                now_ms: counts[0], idle_ms: Some(counts[1]), pending: counts[2], oldest_pending_ms: Some(counts[3]),
                arrival_rate: of(0), mean_arrival_rate: of(1), completion_rate: of(2), failure_ratio: of(3),
                busy_ratio: of(4), service_time_ms: of(5), limited, keys_waiting, ..Observation::default()
            };
            let mut entry = entry(b"a", b"b");
            let PolicyCall::Decide { seen: of_entry, .. } = &mut entry.call else { unreachable!() };
            *of_entry = seen;
            prop_assert_eq!(turn(&LineWriter::new(String::new()).line(&entry)).observation, seen);
        }
    }
}
