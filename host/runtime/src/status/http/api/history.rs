//! The last hour, as it is remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::answer::{answer, refuse};
use super::state::PageState;
use crate::clock::time_of_day;
use crate::duration::unix_millis;
use crate::status::by_host::HostWorkers;
use crate::status::http::query::Query;
use crate::status::recorder::Recorded;
use crate::status::samples::{Numbers, Sample};

/// Of how many workloads trends are told at once.
const TRENDS: usize = 500;
/// How many numbers a trend has, and the span of each, in milliseconds.
const TREND: (usize, u64) = (60, 60_000);

/// The last hour of a workload. Times are milliseconds since the Unix epoch, by the host's clock.
#[derive(Serialize)]
struct History {
    now_ms: u64,
    min: u32,
    max: u32,
    /// By ten seconds, then the last five minutes by the second.
    samples: Vec<SampleRow>,
    /// The workers of the plan by host, by ten seconds; null outside a fleet.
    by_host: Option<Vec<HostsRow>>,
}

#[derive(Serialize)]
struct HostsRow {
    at_ms: u64,
    #[serde(flatten)]
    of: HostWorkers,
}

#[derive(Serialize)]
struct SampleRow {
    at_ms: u64,
    #[serde(flatten)]
    of: Numbers,
}

pub(super) async fn history(State(state): State<Arc<PageState>>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref());
    let name = query.text("workload").unwrap_or_default();
    let Some((workload, recorded)) = state.recorder.workload(name).zip(state.recorder.recorded(name)) else {
        return refuse(StatusCode::NOT_FOUND, "this host has no such workload");
    };
    let Recorded { recent, hour, by_host } = recorded;
    answer(&History {
        now_ms: unix_millis(time_of_day()),
        min: workload.workload.scale.min,
        max: workload.workload.scale.max,
        samples: joined(hour, recent),
        by_host: by_host.map(|all| all.into_iter().map(|(at_ms, of)| HostsRow { at_ms, of }).collect()),
    })
}

/// The samples of the hour up to where those by the second begin.
fn joined(hour: Vec<Sample>, recent: Vec<Sample>) -> Vec<SampleRow> {
    let begin = recent.first().map_or(u64::MAX, |sample| sample.at_ms);
    let before = hour.into_iter().filter(|sample| sample.at_ms < begin);
    before.chain(recent).map(|Sample { at_ms, of }| SampleRow { at_ms, of }).collect()
}

/// The arrivals a second of the last hour by the minute, oldest first, by workload.
pub(super) async fn trends(State(state): State<Arc<PageState>>) -> Response {
    let now_ms = unix_millis(time_of_day());
    let workloads = state.recorder.workloads();
    let names = workloads.iter().take(TRENDS).map(|workload| workload.workload.name.as_str());
    let trends = names.map(|name| (name, trend(&state.recorder.arrivals(name), now_ms)));
    answer(&trends.collect::<BTreeMap<_, _>>())
}

/// The highest of each minute. Between two samples it stays as it was.
fn trend(arrivals: &[(u64, f32)], now_ms: u64) -> Vec<f32> {
    let begin = now_ms.saturating_sub(u64::try_from(TREND.0).unwrap_or_default() * TREND.1);
    let mut minutes = vec![0.0_f32; TREND.0];
    let mut from = None;
    let minute = |at: u64| usize::try_from(at.saturating_sub(begin) / TREND.1).unwrap_or(usize::MAX);
    for (at, rate) in arrivals {
        let last = minute(*at).min(TREND.0 - 1);
        for minute in minutes.iter_mut().take(last + 1).skip(from.unwrap_or(last)) {
            *minute = minute.max(*rate);
        }
        from = Some(last);
    }
    minutes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_has_the_highest_of_each_minute_and_what_lasts_in_between() {
        let minute = |number: u64| 1_000_000 + number * 60_000;
        let now = minute(60);
        let told = trend(&[(minute(57) + 1, 3.0), (minute(57) + 10, 5.0), (minute(59) + 5, 2.0)], now);
        assert_eq!(told.len(), 60);
        assert_eq!(told[55..], [0.0, 0.0, 5.0, 2.0, 2.0]);
        assert_eq!(trend(&[], now), vec![0.0; 60]);
    }

    #[test]
    fn the_last_minutes_are_told_once() {
        let sample = |at_ms| Sample { at_ms, ..Sample::default() };
        let rows = joined(vec![sample(1), sample(10), sample(20)], vec![sample(15), sample(16)]);
        assert_eq!(rows.iter().map(|row| row.at_ms).collect::<Vec<_>>(), [1, 10, 15, 16]);
    }
}
