use serde::Serialize;

use super::cut::cut;
use super::rows::PROBLEMS;
use super::state::PageState;
use crate::clock::time_of_day;
use crate::duration::unix_millis;
use crate::jetstream::Client;
use crate::status::http::health;
use crate::status::http::view::View;

/// The host.
#[derive(Serialize)]
pub(super) struct HostRow {
    /// The host's time of day: milliseconds since the Unix epoch.
    now_ms: u64,
    name: String,
    version: &'static str,
    ready: bool,
    problems: Vec<String>,
    connected: bool,
    server_version: Option<String>,
    /// Whether letters can be redriven and deleted with a token.
    admin: bool,
    /// Whether letters are shown without a token.
    letters: bool,
    dead_letters: String,
}

pub(super) fn host(state: &PageState, letters: bool) -> HostRow {
    let view: &View = &state.view;
    let problems = health::ready(view);
    HostRow {
        now_ms: unix_millis(time_of_day()),
        name: view.host.clone(),
        version: env!("CARGO_PKG_VERSION"),
        ready: problems.is_empty(),
        problems: problems.iter().take(PROBLEMS.0).map(|problem| cut(problem, PROBLEMS.1)).collect(),
        connected: view.is_connected(),
        server_version: view.connection.get().map(Client::server_version),
        admin: state.admin.has_token(),
        letters,
        dead_letters: view.dead_letters.clone(),
    }
}
