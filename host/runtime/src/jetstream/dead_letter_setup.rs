//! Finds or makes the stream of dead letters.

use std::sync::atomic::Ordering::Relaxed;

use super::create_errors::Creation;
use super::dead_letters;
use super::settings::{SettingsRefusal, judge_letters};
use super::setup::WorkloadSetup;
use super::setup_error::SetupError;
use crate::config::DeadLetters;

impl WorkloadSetup<'_> {
    pub(super) async fn dead_letters(&self, config: &DeadLetters) -> Result<(), SetupError> {
        let name = config.stream.as_str();
        if let Some(warnings) = self.found_dead_letters(config).await? {
            // Each workload of the connection finds the same stream.
            let is_told = self.client.warned_of_letters.swap(!warnings.is_empty(), Relaxed);
            for warning in warnings.iter().filter(|_| !is_told) {
                tracing::warn!(stream = name, "{warning}");
            }
            return Ok(());
        }
        let wanted = serde_json::to_value(dead_letters::stream(config)).unwrap_or_default();
        let made = self.client.make_stream(name, &wanted).await;
        made.map_err(|error| self.server(what(name), Creation::DeadLetters, &error))?;
        tracing::info!(stream = name, "stream of dead letters created");
        Ok(())
    }

    /// What a person should know of the stream of dead letters; `None` where it is not there. A stream that cannot keep
    /// letters is an error.
    pub(super) async fn found_dead_letters(&self, config: &DeadLetters) -> Result<Option<Vec<String>>, SetupError> {
        let name = config.stream.as_str();
        let found = self.client.stream_state(name).await;
        let found = found.map_err(|error| self.server(what(name), Creation::DeadLetters, &error))?;
        let Some(found) = found else { return Ok(None) };
        let judged = judge_letters(&found.config, self.client.inbox(), self.client.max_payload());
        judged.map(Some).map_err(|refusal| {
            let SettingsRefusal { problem, remedy } = refusal;
            let (workload, what) = (self.workload.name.clone(), what(name));
            SetupError::Server { workload, what, reason: format!("{problem}\n  {remedy}") }
        })
    }
}

fn what(stream: &str) -> String {
    format!("stream {stream} for dead letters")
}
