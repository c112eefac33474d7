//! Spans of what becomes of messages, by OTLP, where `telemetry.otlp` is set. `spans` says which there are and what
//! they tell, `export` brings them to a collector.

mod client;
mod export;
mod spans;

pub use export::{Telemetry, TelemetryError};
pub(crate) use spans::{DeliverySpans, WorkloadSpans};
