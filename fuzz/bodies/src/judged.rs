//! The judgement of a consumer from texts, for what tries many.

use tidegate_runtime::config::Workload;
use tidegate_runtime::delivery::consumer_settings::{ConsumerFlow, ConsumerSettings};
use tidegate_runtime::jetstream::settings::{ConsumerState, Reserved, StreamState, judge};

/// What is made of a consumer.
pub(crate) struct Judged {
    pub(crate) flow: ConsumerFlow,
    pub(crate) settings: ConsumerSettings,
    pub(crate) warnings: Vec<String>,
}

impl Judged {
    /// Of the answers to `CONSUMER.INFO` and `STREAM.INFO`; `None` if they are no such answers.
    pub(crate) fn of(consumer: &str, stream: &str, workload: &Workload) -> Option<Self> {
        let consumer: ConsumerState = serde_json::from_str(consumer).ok()?;
        let stream: StreamState = serde_json::from_str(stream).ok()?;
        let own = Reserved { inbox: "_INBOX", letters: "TIDEGATE_DEAD", journal: Some("TIDEGATE_JOURNAL") };
        let verdict = judge(&consumer, &stream.config, workload, own);
        let flow = verdict.flow(&workload.queue.stream, &workload.queue.consumer);
        Some(Self { flow, settings: verdict.settings, warnings: verdict.warnings })
    }
}
