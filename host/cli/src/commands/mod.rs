//! The commands: what their flags are, and what they print. Standard output is for the answer.

mod address;
#[cfg(feature = "guests")]
pub mod bench;
pub mod check;
mod check_plugins;
pub mod compile;
pub mod completions;
mod connect;
pub mod dead;
#[cfg(feature = "guests")]
pub mod demo;
#[cfg(feature = "guests")]
pub mod dev;
pub mod drain;
pub mod error_output;
mod escaped_fields;
pub mod explain;
pub mod flags;
pub mod health;
mod host_http;
mod hosts;
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
mod picture;
pub mod plugin;
pub mod reload;
pub mod replay;
pub mod request;
pub mod rollout;
pub mod run;
pub mod scale;
pub mod signals;
pub mod simulate;
pub mod time_arg;
mod token;
pub mod top;

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;
use std::time::Duration;

use tidegate_runtime::config::{is_workload_name, units};

/// A duration that can be waited for, such as `5s` or `250ms`.
fn positive(text: &str) -> Result<Duration, String> {
    match units::duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        other => other.map_err(|wrong| wrong.to_string()),
    }
}

/// Reads what can be a workload's name.
fn workload_name(text: &str) -> Result<String, String> {
    if is_workload_name(text) { Ok(text.to_owned()) } else { Err("no workload can be called so".to_owned()) }
}

/// Reads a whole number in a range.
fn whole_number<T: FromStr + PartialOrd + Display>(
    range: impl RangeBounds<T> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| match (range.start_bound(), range.end_bound()) {
            (Bound::Included(from), Bound::Included(to)) => format!("it can be a whole number from {from} to {to}"),
            (Bound::Included(from), _) => format!("it can be a whole number from {from} on"),
            _ => "it can be a whole number".to_owned(),
        })
    }
}
