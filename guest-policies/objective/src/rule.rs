//! From the rate, the service time and the backlog to a number of workers.

use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    state::{decode, encode},
};
use tidegate_guest_staffing::{Memory, Objective, Seen};

const FORM: &str = "objective/1";

/// Checks the settings. Of a version before, the service time and the interval are taken over.
pub(crate) fn init(settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let objective = read(settings)?;
    let memory = previous.and_then(read_state).map(|(_, memory)| memory).unwrap_or_default();
    Ok(write_state(&objective, &memory))
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let Some((objective, mut memory)) = read_state(&state) else {
        let reason = "the state is not one of this policy".to_owned();
        return Decision { desired: observation.running, reason, state };
    };
    let seen = Seen {
        now_ms: observation.now_ms,
        rate: observation.arrival_rate,
        service_ms: observation.service_time_ms,
        in_system: observation.pending.saturating_add(observation.ack_pending),
        running: observation.running,
    };
    let (desired, reason) = objective.decide(&seen, &mut memory);
    Decision { desired, reason, state: write_state(&objective, &memory) }.unless_limited(observation)
}

fn read(mut settings: Settings) -> Result<Objective, String> {
    let objective = Objective::take(&mut settings)?;
    settings.finish()?;
    Ok(objective)
}

fn read_state(state: &[u8]) -> Option<(Objective, Memory)> {
    let mut pairs = decode(FORM, state)?;
    let memory = Memory::take(&mut pairs)?;
    Some((read(pairs).ok()?, memory))
}

fn write_state(objective: &Objective, memory: &Memory) -> Vec<u8> {
    let mut pairs = Vec::new();
    objective.write(&mut pairs);
    memory.write(&mut pairs);
    encode(FORM, &pairs)
}

#[cfg(test)]
mod tests;
