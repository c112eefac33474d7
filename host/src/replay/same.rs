//! The same code on the same observations: every decision has to be the same, bit for bit.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{Asked, ReplayError, nothing};
use crate::delivery::{Fault, FaultKind};
use crate::journal::{Answer, Event, Failure, Init, PolicyName, Reader, State, Turn, digest};
use crate::plugin::Host;
use crate::scaling::Decision;

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
    /// The first difference; nothing was replayed after it.
    pub difference: Option<Difference>,
}

/// A call that did not answer as it had.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
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

/// Replays journals, the oldest first, and ends at the first difference. What is said of no file is left out.
///
/// # Errors
/// If a journal cannot be read, or if the code that decided is not there.
pub async fn same(
    host: &Host,
    journals: &[PathBuf],
    workload: Option<&str>,
    file_of: impl Fn(&PolicyName) -> Option<PathBuf>,
) -> Result<Replayed, ReplayError> {
    let mut loaded: HashMap<String, Asked> = HashMap::new();
    let mut replayed = Replayed::default();
    for journal in journals {
        let mut reader = Reader::open(journal)?;
        while let Some(line) = reader.next()? {
            let (of, policy) = match &line.event {
                Event::Init(init) => (&init.workload, &init.policy),
                Event::Decide(turn) => (&turn.workload, &turn.policy),
                Event::Dropped { lines } => {
                    replayed.dropped = replayed.dropped.saturating_add(*lines);
                    continue;
                }
            };
            if workload.is_some_and(|wanted| wanted != of) {
                continue;
            }
            let (of, policy) = (of.clone(), policy.clone());
            let Some(file) = file_of(&policy) else { continue };
            if !loaded.contains_key(&policy.name) {
                loaded.insert(policy.name.clone(), Asked::load(host, &file).await?);
            }
            let Some(asked) = loaded.get_mut(&policy.name) else { continue };
            let has = asked.name().generation;
            if has != policy.generation {
                // A generation that was tried and not used has decided nothing.
                if matches!(&line.event, Event::Init(init) if init.state.is_none()) {
                    continue;
                }
                let journal = format!("{}:{}", journal.display(), reader.number());
                return Err(ReplayError::Generation {
                    file,
                    name: policy.name,
                    has,
                    wants: policy.generation,
                    journal,
                });
            }
            if !replayed.policies.contains(&policy) {
                replayed.policies.push(policy.clone());
            }
            let (call, parts) = match &line.event {
                Event::Init(init) => ("init", again_init(asked, init, &mut reader, &mut replayed).await?),
                Event::Decide(turn) => ("decide", again(asked, turn, &mut reader, &mut replayed).await?),
                Event::Dropped { .. } => continue,
            };
            if !parts.is_empty() {
                replayed.difference = Some(Difference {
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
    if replayed.decisions + replayed.inits + replayed.timed_out == 0 {
        let of = workload.map_or_else(String::new, |workload| format!(" of workload {workload}"));
        return Err(nothing(&format!("the journal has no decision{of}")));
    }
    Ok(replayed)
}

type Parts = Vec<(&'static str, String, String)>;

async fn again_init(
    asked: &mut Asked,
    init: &Init,
    reader: &mut Reader,
    replayed: &mut Replayed,
) -> Result<Parts, ReplayError> {
    let mut bytes = |state: &Option<State>| match state {
        Some(state) => reader.state(&init.workload, init.role, state).map(Some),
        None => Ok(None),
    };
    let (previous, before) = (bytes(&init.previous)?, bytes(&init.state)?);
    if is_timeout(init.fault.as_ref()) {
        replayed.timed_out += 1;
        return Ok(Parts::new());
    }
    let settings: Vec<_> = init.settings.clone().into_iter().collect();
    let (plugin, context) = asked.for_workload(&init.workload, init.limits);
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
    Ok(if same { Parts::new() } else { vec![("state", was, is)] })
}

async fn again(
    asked: &mut Asked,
    turn: &Turn,
    reader: &mut Reader,
    replayed: &mut Replayed,
) -> Result<Parts, ReplayError> {
    let state = reader.state(&turn.workload, turn.role, &turn.state)?;
    let next = match &turn.decision {
        Some(decision) => Some(reader.state(&turn.workload, turn.role, &decision.state)?),
        None => None,
    };
    if is_timeout(turn.fault.as_ref()) {
        replayed.timed_out += 1;
        return Ok(Parts::new());
    }
    let (plugin, context) = asked.for_workload(&turn.workload, turn.limits);
    let answer = plugin.decide(context, &turn.observation, &state).await;
    replayed.decisions += 1;
    Ok(differences(turn.decision.as_ref(), next.as_deref(), turn.fault.as_ref(), &answer))
}

fn differences(
    was: Option<&Answer>,
    next: Option<&[u8]>,
    fault: Option<&Failure>,
    is: &Result<Decision, Fault>,
) -> Parts {
    let mut parts = Parts::new();
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

fn is_timeout(fault: Option<&Failure>) -> bool {
    fault.is_some_and(|fault| fault.kind == FaultKind::Time.as_str())
}

/// A state for a person: its text if it is one, else its digest.
fn shown(state: &[u8]) -> String {
    match std::str::from_utf8(state) {
        Ok(text) if text.len() <= 2000 && !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => format!("{} bytes, sha256 {}", state.len(), digest(state)),
    }
}
