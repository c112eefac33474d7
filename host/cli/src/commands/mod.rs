//! The commands: what their flags are, and what they print. Standard output is for the answer.

mod address;
#[cfg(feature = "guests")]
pub mod bench;
pub mod check;
pub mod compile;
pub mod completions;
pub mod dead;
#[cfg(feature = "guests")]
pub mod demo;
#[cfg(feature = "guests")]
pub mod dev;
pub mod error_output;
mod escaped_fields;
pub mod explain;
pub mod flags;
pub mod health;
mod host_http;
pub mod journal;
#[cfg(feature = "guests")]
pub mod live;
pub mod log;
pub mod man;
#[cfg(feature = "guests")]
pub mod new;
pub mod output;
pub mod pause;
pub mod permissions;
pub mod plugin;
pub mod reload;
pub mod replay;
pub mod request;
pub mod rollout;
pub mod run;
pub mod signals;
pub mod simulate;
pub mod time_arg;
pub mod top;

use std::time::Duration;

use tidegate_runtime::config::units;

/// A duration that can be waited for, such as `5s` or `250ms`.
fn positive(text: &str) -> Result<Duration, String> {
    match units::duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        other => other.map_err(|wrong| wrong.to_string()),
    }
}
