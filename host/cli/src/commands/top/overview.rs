//! All workloads of a host, a line each. Pure.

use tidegate_lab::text_table::aligned;
use tidegate_runtime::text::{one_line, plain};

use super::host::Host;
use super::lines::{Line, Look, clock, line, rate, span};
use super::status::{Status, Workload};

const HEAD: [&str; 8] = ["WORKLOAD", "STATE", "ARRIVALS", "BACKLOG", "IN FLIGHT", "OLDEST", "WORKERS", "LAST DECISION"];
/// The most problems of a host that are shown above its workloads.
const PROBLEMS: usize = 3;

/// What is said of the host itself.
pub(super) fn head(host: &Host, width: usize) -> Vec<Line> {
    let Some(status) = &host.status else { return Vec::new() };
    let nats = match (status.nats.connected, &status.nats.server_version) {
        (true, Some(version)) => format!("NATS {version}"),
        (true, None) => "NATS".to_owned(),
        (false, _) => "NATS is away".to_owned(),
    };
    let ready = if status.ready { "ready" } else { "not ready" };
    let first = format!("{}  tidegate {}  {ready}  {nats}", status.host, status.version);
    let mut lines = vec![line(&first, width, Look::Bold)];
    let problems = status.problems.iter().take(PROBLEMS);
    lines.extend(problems.map(|problem| line(&format!("! {}", one_line(problem)), width, Look::Plain)));
    if let Some(more @ 1..) = status.problems.len().checked_sub(PROBLEMS) {
        // No address has those of all hosts.
        let all = if status.is_of_all { "" } else { ": /readyz has all" };
        lines.push(line(&format!("! and {more} more{all}"), width, Look::Plain));
    }
    lines
}

/// The names of the columns, and a line for each workload.
pub(super) fn table(status: &Status, width: usize) -> Vec<Line> {
    // Where there are several, hosts stand before all else.
    let several = status.workloads.iter().any(|of| of.on.is_some());
    let of = |on: &str, row: [String; 8]| several.then(|| on.to_owned()).into_iter().chain(row).collect::<Vec<_>>();
    let rows = status.workloads.iter().map(|it| of(&plain(it.on.as_deref().unwrap_or_default()), row(it)));
    let rows = std::iter::once(of("HOST", HEAD.map(str::to_owned))).chain(rows);
    let before = usize::from(several);
    let (arrivals, oldest) = (2 + before, 5 + before);
    let right: Vec<usize> = (arrivals..=oldest).collect();
    let looks = std::iter::once(Look::Bold).chain(std::iter::repeat(Look::Plain));
    aligned(rows, &right).lines().zip(looks).map(|(text, look)| line(text, width, look)).collect()
}

/// All of it, for who has no terminal.
pub(super) fn all(host: &Host, width: usize) -> Vec<Line> {
    let table = host.status.iter().flat_map(|status| table(status, width));
    head(host, width).into_iter().chain(table).collect()
}

/// How a workload is, in a word.
pub(super) fn state(of: &Workload) -> &'static str {
    let limited = of.scaling.observation.as_ref().is_some_and(|seen| seen.limited);
    match of {
        _ if of.is_away => "away",
        _ if !of.running => "stopped",
        _ if of.paused => "paused",
        _ if !of.problems.is_empty() || of.scaling.problem.is_some() => "problem",
        _ if of.limits.as_ref().is_some_and(|limits| limits.breaker.as_deref() == Some("open")) => "breaker",
        _ if limited => "limited",
        _ => "running",
    }
}

/// How many workers there are of those that are wanted.
pub(super) fn workers(of: &Workload) -> String {
    let drains = match of.workers.draining() {
        0 => String::new(),
        draining => format!(" +{draining} draining"),
    };
    let set = if of.workers.set.is_some() { " (set)" } else { "" };
    format!("{} of {}{set}{drains}", of.workers.running, of.workers.desired)
}

fn row(of: &Workload) -> [String; 8] {
    let seen = of.scaling.observation.as_ref();
    let told = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let problem = of.problems.values().next().or(of.scaling.problem.as_ref());
    let decision = of.scaling.last_decisions.first();
    let decision = decision.map(|last| format!("{} {}: {}", clock(last.at_ms), last.count, last.reason));
    let last = problem.map(|problem| format!("! {problem}")).or(decision);
    [
        of.name.clone(),
        state(of).to_owned(),
        told(seen.map(|seen| rate(seen.arrival_rate))),
        told(seen.map(|seen| seen.pending.to_string())),
        told(seen.map(|seen| seen.ack_pending.to_string())),
        told(seen.and_then(|seen| seen.oldest_pending_ms).map(span)),
        workers(of),
        told(last),
    ]
    .map(|cell| plain(&one_line(&cell)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_problems_it_is_told_where_all_are_if_there_is_such_a_place() {
        let last = |is_of_all| {
            let problems = (0..3000).map(|number| format!("problem {number}")).collect();
            let status = Some(Status { problems, is_of_all, ..Status::default() });
            head(&Host { status, away: None }, 200).pop().map(|line| line.text)
        };
        assert_eq!(last(false).as_deref(), Some("! and 2997 more: /readyz has all"));
        assert_eq!(last(true).as_deref(), Some("! and 2997 more"));
    }
}
