//! From the rate that is to come to a number of workers.

mod model;

use model::{History, Model};
use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    state::{decode, encode},
};
use tidegate_guest_staffing::{Memory, Objective, Seen};

const FORM: &str = "forecast/1";

/// Checks the settings. Of a version before everything that was learned is taken over.
pub(crate) fn init(settings: Settings, previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let rule = Rule::read(settings)?;
    let learned = previous.and_then(read_state).map(|(_, learned)| learned).unwrap_or_default();
    Ok(write_state(&rule, &learned))
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let Some((rule, mut learned)) = read_state(&state) else {
        let reason = "the state is not one of this policy".to_owned();
        return Decision { desired: observation.running, reason, state };
    };
    let (desired, reason) = rule.decide(observation, &mut learned);
    Decision { desired, reason, state: write_state(&rule, &learned) }
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    objective: Objective,
    model: Model,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Learned {
    memory: Memory,
    history: History,
}

fn read_state(state: &[u8]) -> Option<(Rule, Learned)> {
    let mut pairs = decode(FORM, state)?;
    let learned = Learned { memory: Memory::take(&mut pairs)?, history: History::take(&mut pairs)? };
    Some((Rule::read(pairs).ok()?, learned))
}

fn write_state(rule: &Rule, learned: &Learned) -> Vec<u8> {
    let mut pairs = Vec::new();
    rule.objective.write(&mut pairs);
    rule.model.write(&mut pairs);
    learned.memory.write(&mut pairs);
    learned.history.write(&mut pairs);
    encode(FORM, &pairs)
}

impl Rule {
    fn read(mut settings: Settings) -> Result<Self, String> {
        let rule = Self { objective: Objective::take(&mut settings)?, model: Model::take(&mut settings)? };
        settings.finish()?;
        Ok(rule)
    }

    /// The objective's rule, for the larger of the rate now and the rate that is foretold for when workers that are asked
    /// for now can be there.
    fn decide(&self, observation: &Observation, learned: &mut Learned) -> (u32, String) {
        let (now_ms, rate) = (observation.now_ms, observation.arrival_rate);
        learned.history.record(&self.model, now_ms, rate);
        let ahead_ms = self.objective.reaction_ms(&learned.memory);
        let foretold = learned.history.foretell(&self.model, now_ms, ahead_ms);
        let seen = Seen {
            now_ms,
            rate: foretold.map_or(rate, |foretold| rate.max(foretold)),
            service_ms: observation.service_time_ms,
            in_system: observation.pending.saturating_add(observation.ack_pending),
        };
        let (desired, reason) = self.objective.decide(&seen, &mut learned.memory);
        match foretold {
            Some(foretold) if foretold > rate => (desired, format!("{foretold:.1}/s foretold: {reason}")),
            _ => (desired, reason),
        }
    }
}

#[cfg(test)]
mod tests;
