//! Where spans go.

use std::path::PathBuf;

use hyper::Uri;

use super::error::Wrong;
use super::reader::Reader;

/// The collector that spans are sent to.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// Its base URL.
    pub otlp: String,
    /// The share of the messages without a trace that get one: 0 to 1.
    pub sample: f64,
    /// Authorities beside the system's.
    pub ca: Option<PathBuf>,
}

impl TelemetryConfig {
    pub(super) fn read(keys: &mut Reader<'_>) -> Option<Self> {
        let (otlp, sample) = (keys.parsed("telemetry.otlp", collector), keys.get("telemetry.sample"));
        let ca = keys.path("telemetry.ca");
        if let Some(otlp) = otlp {
            return Some(Self { otlp, sample, ca });
        }
        for key in ["telemetry.sample", "telemetry.ca"] {
            if keys.is_set(key) && !keys.is_set("telemetry.otlp") {
                let remedy = "set telemetry.otlp, or leave it out";
                keys.note(keys.place(key).error("it is of no use without a collector", remedy));
            }
        }
        None
    }

    /// Where the collector takes spans.
    pub(crate) fn traces(&self) -> String {
        format!("{}/v1/traces", self.otlp.trim_end_matches('/'))
    }
}

/// The base URL of a collector.
fn collector(text: &str) -> Result<String, Wrong> {
    let wrong = |problem: &str| Wrong::new(problem, "write such as \"http://localhost:4318\"");
    let url: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
    match url.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong("it does not begin with http:// or https://")),
    }
    match url.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(Wrong::new("it has a user in it", "set the variable OTEL_EXPORTER_OTLP_HEADERS to `Authorization=...`"))
        }
        Some(_) if url.query().is_some() => Err(wrong("it has a query")),
        Some(_) => Ok(text.to_owned()),
        None => Err(wrong("it names no host")),
    }
}
