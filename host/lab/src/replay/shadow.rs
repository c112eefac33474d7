//! What the shadow decided beside the live policy, out of the journal alone.

use std::collections::HashMap;
use std::path::PathBuf;

use super::compare::{ComparedTicks, DesiredWorkers, PolicyComparison};
use super::{ReplayError, nothing};
use tidegate_runtime::journal::{DecideLine, JournalEvent, JournalReader, PolicyName, Role, Survey};
use tidegate_runtime::scaling::clamp;

/// Compares what was decided with what the shadow would have.
///
/// # Errors
/// If a journal cannot be read, or has no decisions of a shadow.
pub fn shadow(journals: &[PathBuf], workload: Option<&str>) -> Result<PolicyComparison, ReplayError> {
    let workload = Survey::of(journals)?.workload(workload)?;
    // The two are written in any order; what makes them one tick is the time that both were told.
    let mut waiting: HashMap<u64, (String, DecideLine)> = HashMap::new();
    let (mut pairs, mut recorded, mut other) = (ComparedTicks::default(), Vec::<PolicyName>::new(), None);
    for journal in journals {
        let mut reader = JournalReader::open(journal)?;
        while let Some(line) = reader.next()? {
            let JournalEvent::Decide(turn) = line.event else { continue };
            if turn.workload != workload {
                continue;
            }
            match waiting.remove(&turn.observation.now_ms) {
                Some((time, before)) if before.role != turn.role => {
                    let (live, shadow) = if turn.role == Role::Live { (turn, before) } else { (before, turn) };
                    pairs.push(&time, live.observation.now_ms, count(&live), count(&shadow));
                    if !recorded.contains(&live.policy) {
                        recorded.push(live.policy);
                    }
                    other = Some(shadow.policy);
                }
                _ => {
                    waiting.insert(turn.observation.now_ms, (line.time, turn));
                    // A shadow is late by a tick or two, or never comes.
                    if waiting.len() > 1000 {
                        let oldest = waiting.keys().min().copied();
                        oldest.and_then(|oldest| waiting.remove(&oldest));
                    }
                }
            }
        }
    }
    let compared = other.and_then(|other| pairs.finish(workload.clone(), recorded, other));
    compared.ok_or_else(|| {
        nothing(&format!(
            "the journal has no decision of a shadow of workload {workload}; [workload.{workload}.shadow] makes one"
        ))
    })
}

fn count(turn: &DecideLine) -> Option<DesiredWorkers> {
    let decision = turn.decision.as_ref()?;
    let workers = clamp(decision.desired, turn.observation.min, turn.observation.max);
    Some(DesiredWorkers { workers, reason: decision.reason.clone() })
}
