//! The same code on the same observations: every decision has to be the same, bit for bit.

use std::path::PathBuf;

use serde::Serialize;

use super::{PolicyFiles, ReplayError, ReplayPolicy, nothing};
use tidegate_runtime::contract::Decision;
use tidegate_runtime::contract::{Fault, FaultKind};
use tidegate_runtime::digest::is_same;
use tidegate_runtime::journal::{
    DecideLine, InitLine, JournalEvent, JournalFault, JournalReader, JournalState, JournaledDecision, PolicyName, Role,
    digest,
};
use tidegate_runtime::plugin::PluginHost;

/// What came of a replay.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions that were made again.
    pub decisions: u64,
    /// First states that were made again.
    pub inits: u64,
    /// Calls that the wall clock had ended: nobody can tell where they would have got.
    pub timed_out: u64,
    /// Lines that the journal says it lacks.
    pub dropped: u64,
    /// Policies that were asked, in order.
    pub policies: Vec<PolicyName>,
    /// What could not be replayed, since the code is not there.
    pub unverified: Vec<Unverified>,
    /// The first difference; nothing was replayed after it.
    pub difference: Option<FirstDifference>,
}

/// A call that did not answer as it had.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstDifference {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// When it was.
    pub time: String,
    /// For which workload.
    pub workload: String,
    /// Which code answered.
    pub policy: PolicyName,
    /// What it was asked: `init` or `decide`.
    pub call: &'static str,
    /// What differs: its name, as it was, as it is now.
    pub parts: Vec<(&'static str, String, String)>,
}

/// Lines in a row that one policy wrote, whose code is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unverified {
    /// The workload.
    pub workload: String,
    /// The code that is missing.
    pub policy: PolicyName,
    /// When the first of them was.
    pub from: String,
    /// When the last of them was.
    pub to: String,
    /// Calls of `init` and `decide`.
    pub calls: u64,
    /// The file and the line of the first.
    #[serde(skip)]
    at: String,
    /// Whether another line of this workload and role has followed.
    #[serde(skip)]
    ended: bool,
    #[serde(skip)]
    role: Role,
}

impl Replayed {
    /// Whether every call was made again, and answered as it had.
    pub fn is_same(&self) -> bool {
        self.difference.is_none() && self.unverified.is_empty()
    }

    /// Whether this code answered anything.
    pub fn has(&self, policy: &PolicyName) -> bool {
        self.policies.iter().any(|loaded| is_same(&loaded.generation, &policy.generation))
    }

    fn verified_any(&self) -> bool {
        self.decisions + self.inits + self.timed_out > 0
    }

    /// The next line of this workload and role is of other code than the one before.
    fn turns_from(&mut self, workload: &str, role: Role, to: Option<&PolicyName>) {
        let open = self.unverified.iter_mut().filter(|stretch| !stretch.ended);
        for stretch in open.filter(|stretch| stretch.workload == workload && stretch.role == role) {
            stretch.ended = to != Some(&stretch.policy);
        }
    }

    fn cannot_verify(&mut self, workload: String, role: Role, policy: PolicyName, (time, at): (String, String)) {
        self.turns_from(&workload, role, Some(&policy));
        let mut open = self.unverified.iter_mut().filter(|stretch| !stretch.ended);
        match open.find(|stretch| stretch.workload == workload && stretch.role == role) {
            Some(stretch) => {
                stretch.to = time;
                stretch.calls += 1;
            }
            None => {
                let (from, to) = (time.clone(), time);
                self.unverified.push(Unverified { workload, policy, from, to, calls: 1, at, ended: false, role });
            }
        }
    }
}

/// Replays journals, the oldest first, each stretch with the code that wrote it, and ends at the first difference.
///
/// # Errors
/// If a journal cannot be read, or if none of the code that decided is there.
pub async fn same(
    host: &PluginHost,
    journals: &[PathBuf],
    workload: Option<&str>,
    files: &mut PolicyFiles,
) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed::default();
    for journal in journals {
        let mut reader = JournalReader::open(journal)?;
        while let Some(line) = reader.next()? {
            let (of, role, policy) = match &line.event {
                JournalEvent::Init(init) => (&init.workload, init.role, &init.policy),
                JournalEvent::Decide(turn) => (&turn.workload, turn.role, &turn.policy),
                JournalEvent::Dropped { lines } => {
                    replayed.dropped = replayed.dropped.saturating_add(*lines);
                    continue;
                }
            };
            if workload.is_some_and(|wanted| wanted != of) {
                continue;
            }
            let (of, policy) = (of.clone(), policy.clone());
            let Some(loaded) = files.find(host, &policy).await? else {
                // A generation that was tried and not used has decided nothing.
                if !matches!(&line.event, JournalEvent::Init(init) if init.state.is_none()) {
                    let at = format!("{}:{}", journal.display(), reader.number());
                    replayed.cannot_verify(of, role, policy, (line.time, at));
                }
                pass_over(&line.event, &mut reader)?;
                continue;
            };
            replayed.turns_from(&of, role, None);
            if !replayed.policies.contains(&policy) {
                replayed.policies.push(policy.clone());
            }
            let (call, parts) = match &line.event {
                JournalEvent::Init(init) => ("init", again_init(loaded, init, &mut reader, &mut replayed).await?),
                JournalEvent::Decide(turn) => ("decide", again(loaded, turn, &mut reader, &mut replayed).await?),
                JournalEvent::Dropped { .. } => continue,
            };
            if !parts.is_empty() {
                replayed.difference = Some(FirstDifference {
                    file: journal.clone(),
                    line: reader.number(),
                    time: line.time,
                    workload: of,
                    policy,
                    call,
                    parts,
                });
                return Ok(replayed);
            }
        }
    }
    match replayed.unverified.first() {
        _ if replayed.verified_any() => Ok(replayed),
        Some(first) => Err(files.nothing(host, first.policy.clone(), first.at.clone()).await),
        None => {
            let of = workload.map_or_else(String::new, |workload| format!(" of workload {workload}"));
            Err(nothing(&format!("the journal has no decision{of}")))
        }
    }
}

/// Takes the states of a line that is not verified, on which the next may rest.
fn pass_over(event: &JournalEvent, reader: &mut JournalReader) -> Result<(), ReplayError> {
    let (workload, role, states): (_, _, Vec<&JournalState>) = match event {
        JournalEvent::Init(init) => (&init.workload, init.role, init.previous.iter().chain(&init.state).collect()),
        JournalEvent::Decide(turn) => {
            let after = turn.decision.iter().map(|decision| &decision.state);
            (&turn.workload, turn.role, std::iter::once(&turn.state).chain(after).collect())
        }
        JournalEvent::Dropped { .. } => return Ok(()),
    };
    for state in states {
        reader.state(workload, role, state)?;
    }
    Ok(())
}

type DifferingParts = Vec<(&'static str, String, String)>;

async fn again_init(
    loaded: &mut ReplayPolicy,
    init: &InitLine,
    reader: &mut JournalReader,
    replayed: &mut Replayed,
) -> Result<DifferingParts, ReplayError> {
    let mut bytes = |state: &Option<JournalState>| match state {
        Some(state) => reader.state(&init.workload, init.role, state).map(Some),
        None => Ok(None),
    };
    let (previous, before) = (bytes(&init.previous)?, bytes(&init.state)?);
    if is_timeout(init.fault.as_ref()) {
        replayed.timed_out += 1;
        return Ok(DifferingParts::new());
    }
    let settings: Vec<_> = init.settings.clone().into_iter().collect();
    let (plugin, context) = loaded.for_workload(&init.workload, init.limits);
    let answer = plugin.init(context, &settings, previous.as_deref()).await;
    replayed.inits += 1;
    let was = match (&before, &init.refusal, &init.fault) {
        (Some(state), ..) => shown(state),
        (_, Some(refusal), _) => format!("refused: {refusal}"),
        (.., Some(fault)) => format!("no answer: {}", fault.kind),
        _ => String::new(),
    };
    let is = match &answer {
        Ok(Ok(state)) => shown(state),
        Ok(Err(refusal)) => format!("refused: {refusal}"),
        Err(fault) => format!("no answer: {}", fault.kind().as_str()),
    };
    let same = match (&answer, &before) {
        (Ok(Ok(state)), Some(before)) => state == before,
        _ => was == is,
    };
    Ok(if same { DifferingParts::new() } else { vec![("state", was, is)] })
}

async fn again(
    loaded: &mut ReplayPolicy,
    turn: &DecideLine,
    reader: &mut JournalReader,
    replayed: &mut Replayed,
) -> Result<DifferingParts, ReplayError> {
    let state = reader.state(&turn.workload, turn.role, &turn.state)?;
    let next = match &turn.decision {
        Some(decision) => Some(reader.state(&turn.workload, turn.role, &decision.state)?),
        None => None,
    };
    if is_timeout(turn.fault.as_ref()) {
        replayed.timed_out += 1;
        return Ok(DifferingParts::new());
    }
    let (plugin, context) = loaded.for_workload(&turn.workload, turn.limits);
    let answer = plugin.decide(context, &turn.observation, &state).await;
    replayed.decisions += 1;
    Ok(differences(turn.decision.as_ref(), next.as_deref(), turn.fault.as_ref(), &answer))
}

fn differences(
    was: Option<&JournaledDecision>,
    next: Option<&[u8]>,
    fault: Option<&JournalFault>,
    is: &Result<Decision, Fault>,
) -> DifferingParts {
    let mut parts = DifferingParts::new();
    let mut part = |name, was: String, is: String| {
        if was != is {
            parts.push((name, was, is));
        }
    };
    match (was, is) {
        (Some(was), Ok(is)) => {
            part("desired", was.desired.to_string(), is.desired.to_string());
            part("reason", format!("{:?}", was.reason), format!("{:?}", is.reason));
            if next != Some(is.state.as_slice()) {
                part("state", next.map(shown).unwrap_or_default(), shown(&is.state));
            }
        }
        (was, is) => {
            let was = match (was, fault) {
                (Some(was), _) => format!("desired {}", was.desired),
                (None, fault) => format!("no answer: {}", fault.map(|fault| fault.kind.as_str()).unwrap_or_default()),
            };
            let is = match is {
                Ok(is) => format!("desired {}", is.desired),
                Err(fault) => format!("no answer: {}", fault.kind().as_str()),
            };
            part("answer", was, is);
        }
    }
    parts
}

fn is_timeout(fault: Option<&JournalFault>) -> bool {
    fault.is_some_and(|fault| fault.kind == FaultKind::Time.as_str())
}

/// A state for a person: its text if it is one, else its digest.
fn shown(state: &[u8]) -> String {
    match std::str::from_utf8(state) {
        Ok(text) if text.len() <= 2000 && !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => format!("{} bytes, sha256 {}", state.len(), digest(state)),
    }
}
