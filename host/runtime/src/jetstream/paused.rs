//! Whether a consumer is paused, and how one is that is made anew. Pure.

use super::settings::{ConsumerState, FOR_EVER};

/// Whether a consumer is paused, as the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Whether it is.
    pub paused: bool,
    /// Until when, in the form of RFC 3339; `None` if it is not paused, or until somebody ends it.
    pub until: Option<String>,
}

impl Paused {
    /// What a reading of the consumer says.
    pub(super) fn of(state: &ConsumerState) -> Self {
        Self::told(state.paused, &state.config.pause_until)
    }

    /// What the server answers.
    pub(super) fn told(paused: bool, until: &str) -> Self {
        Self { paused, until: Some(until.to_owned()).filter(|until| paused && until != FOR_EVER) }
    }

    /// Until when, as it is written in the settings of a consumer that is made; `None` if it is not paused.
    pub(super) fn setting(&self) -> Option<&str> {
        self.paused.then(|| self.until.as_deref().unwrap_or(FOR_EVER))
    }
}

/// When a consumer is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The workload starts: it is paused or resumed as the configuration says.
    Start,
    /// It works, and its consumer was gone: what people have paused or resumed meanwhile stays so.
    Mending,
}

/// How a consumer is paused that is made anew for a workload that works: as the one before was, if that is known, else
/// as the configuration says.
pub(super) fn made_anew(known: Option<Paused>, configured: Option<bool>) -> Paused {
    known.unwrap_or(Paused { paused: configured.unwrap_or(false), until: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_is_made_anew_is_paused_as_the_one_before_was_and_else_as_the_configuration_says() {
        let paused = |until: Option<&str>| Paused { paused: true, until: until.map(str::to_owned) };
        let resumed = Paused { paused: false, until: None };
        let until = "2030-01-01T00:00:00Z";
        for (known, configured, expected, setting) in [
            (Some(paused(None)), Some(false), paused(None), Some(FOR_EVER)),
            (Some(paused(Some(until))), None, paused(Some(until)), Some(until)),
            (Some(resumed.clone()), Some(true), resumed.clone(), None),
            (None, Some(true), paused(None), Some(FOR_EVER)),
            (None, Some(false), resumed.clone(), None),
            (None, None, resumed.clone(), None),
        ] {
            let made = made_anew(known, configured);
            assert_eq!((made.setting(), &made), (setting, &expected), "{configured:?}");
        }
    }
}
