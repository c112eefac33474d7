//! Tells the next hosts of a consumer which attempts at its messages do not count: in the consumer's own metadata, so
//! that there is nothing but JetStream between hosts.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::BoundConsumer;
use super::binding::WorkloadBinding;
use super::denied::unless_denied;
use super::settings::{ConsumerState, EXCUSED, SequencePair};
use crate::delivery::attempts::Attempts;
use crate::ports::Excused;

/// How long the server may take to answer: what is told matters less than that a host ends, or a message is settled.
const ANSWER: Duration = Duration::from_secs(2);
/// How much later than this host one that ends at the same time may write what it has read before.
const AT_ONCE: Duration = Duration::from_millis(250);
/// How often what another host has written over is written again.
const TIMES: usize = 4;

/// The answer to `CONSUMER.INFO`, with all settings as the server has them.
#[derive(Deserialize)]
struct Standing {
    config: Map<String, Value>,
    #[serde(default)]
    ack_floor: SequencePair,
}

impl Standing {
    fn text(&self) -> &str {
        let metadata = self.config.get("metadata");
        metadata.and_then(|metadata| metadata.get(EXCUSED)).and_then(Value::as_str).unwrap_or_default()
    }

    /// The same settings with another text.
    fn with(mut self, text: String) -> Map<String, Value> {
        let metadata = self.config.entry("metadata").or_insert_with(|| json!({}));
        match metadata.as_object_mut() {
            Some(metadata) => drop(metadata.insert(EXCUSED.to_owned(), text.into())),
            None => *metadata = json!({ EXCUSED: text }),
        }
        self.config
    }
}

impl WorkloadBinding {
    fn excused_by(&self, state: &ConsumerState) -> Excused {
        Excused::read(&state.config.metadata.excused, &self.stream_made, state.ack_floor.stream_seq)
    }

    /// What stands at the consumer now, if the server tells it.
    pub(super) async fn excused(&self) -> Option<Excused> {
        let asked = self.client.consumer_state(&self.stream, &self.consumer);
        let state = timeout(ANSWER, asked).await.ok()?.ok()??;
        Some(self.excused_by(&state))
    }

    /// Writes what this host knows beside what stands there. Another host that ends at the same time may write over it,
    /// so it is looked whether it stands there, and written again.
    async fn tell_excused(&self, attempts: &Attempts) -> anyhow::Result<()> {
        let (client, stream, consumer) = (&self.client, &self.stream, &self.consumer);
        let untold = attempts.untold();
        if untold.is_empty() {
            return Ok(());
        }
        let changed = client.api_subject(&format!("CONSUMER.CREATE.{stream}.{consumer}"));
        // A host can do without.
        client.denied.hush(&changed);
        let mut written: Option<Excused> = None;
        for _ in 0..TIMES {
            let standing: Standing = client.api(format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({})).await?;
            let stands = Excused::read(standing.text(), &self.stream_made, standing.ack_floor.stream_seq);
            let wanted = match &written {
                None => stands.and(&untold),
                Some(written) => stands.at_least(written),
            };
            if stands == wanted {
                attempts.told(wanted);
                return Ok(());
            }
            let config = standing.with(wanted.text());
            let updating = client.update_consumer(stream, consumer, &config);
            unless_denied(client, &changed, updating).await.map_err(anyhow::Error::msg)??;
            written = Some(wanted);
            sleep(AT_ONCE).await;
        }
        anyhow::bail!("other hosts have written over it {TIMES} times")
    }
}

impl BoundConsumer {
    /// What stood at the consumer when the workload was set up.
    pub(crate) fn excused(&self) -> Excused {
        self.binding.excused_by(&self.found.consumer)
    }

    /// Tells the next hosts which attempts do not count, as far as this host knows of some. It costs nothing else if
    /// that cannot be told: then they count.
    pub(crate) async fn tell_excused(&self, attempts: &Attempts) {
        let told = timeout(ANSWER, self.binding.tell_excused(attempts)).await.context("the server does not answer");
        if let Err(error) = told.and_then(|told| told) {
            let WorkloadBinding { workload, stream, consumer, .. } = &*self.binding;
            tracing::debug!(%workload, stream, consumer, error = format!("{error:#}"),
                "the next hosts are not told which attempts do not count");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn standing(config: &str) -> Standing {
        serde_json::from_str(&format!(r#"{{"name":"c","config":{config},"ack_floor":{{"stream_seq":7}}}}"#)).unwrap()
    }

    #[test]
    fn all_other_settings_stay_as_the_server_has_them() {
        let config = r#"{"durable_name":"c","backoff":[1,9007199254740993],"pause_until":"2030-01-01T00:00:00.5Z",
            "unknown":{"a":[null]},"metadata":{"_nats.ver":"2.15.1","mine":"x"}}"#;
        let mut expected: Value = serde_json::from_str(config).unwrap();
        assert_eq!(standing(config).text(), "");
        let with = standing(config).with("made 8:1".to_owned());
        expected["metadata"][EXCUSED] = "made 8:1".into();
        assert_eq!(Value::Object(with), expected);
        assert_eq!(standing(&expected.to_string()).text(), "made 8:1");
        assert_eq!(
            standing("{}").with("made".to_owned()),
            *json!({"metadata": {EXCUSED: "made"}}).as_object().unwrap()
        );
    }
}
