//! The number that the settings give, whatever is observed.

use tidegate_guest::policy::{Decision, Observation};
use tidegate_guest::{
    Settings,
    state::{decode, encode},
};

const FORM: &str = "fixed/1";

/// Checks the settings. There is nothing in the state of a version before that could be of use.
pub(crate) fn init(settings: Settings, _previous: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let workers = read(settings)?;
    Ok(encode(FORM, &[("workers", workers.to_string())]))
}

/// Decides. A state that is not ours leaves the number as it is.
pub(crate) fn decide(observation: &Observation, state: Vec<u8>) -> Decision {
    let workers = decode(FORM, &state).and_then(|settings| read(settings).ok());
    let (desired, reason) = match workers {
        Some(workers) => (workers, format!("fixed at {workers}")),
        None => (observation.running, "the state is not one of this policy".to_owned()),
    };
    Decision { desired, reason, state }
}

fn read(mut settings: Settings) -> Result<u32, String> {
    let workers = settings.take_u32("workers", 1, 0..=u32::MAX)?;
    settings.finish()?;
    Ok(workers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tidegate_guest::testing::{refusal, state};

    #[test]
    fn one_worker_is_wanted_unless_the_settings_say_otherwise() {
        let first = state(init, &[], None);
        assert_eq!(decide(&Observation::test(0), first).desired, 1);

        let first = state(init, &[("workers", "12")], None);
        let decision = decide(&Observation::test(0), first.clone());
        assert_eq!(decision.desired, 12);
        assert_eq!(decision.reason, "fixed at 12");
        assert_eq!(decision.state, first);
    }

    #[test]
    fn settings_that_are_wrong_or_unknown_are_refused() {
        let error = refusal(init, "workers", "-1");
        assert_eq!(error, "workers = \"-1\": must be a whole number from 0 to 4294967295");
        let error = refusal(init, "worker", "1");
        assert_eq!(error, "worker = \"1\": there is no such setting; there are workers");
    }

    #[test]
    fn a_state_of_another_policy_leaves_the_number_as_it_is() {
        assert_eq!(decide(&Observation::test(5), b"step/1".to_vec()).desired, 5);
    }
}
