//! One workload. Pure.

use super::lines::{Line, Look, clock, line, numbers, percent, rate, span, wrapped};
use super::overview::{state, workers};
use super::status::{Decision, Fleet, Observation, Shadow, Worker, Workload};

/// How far the second column is from the left.
const SECOND: usize = 11;

/// All that is known of a workload. Lines are as long as the terminal is wide.
pub(super) fn lines(of: &Workload, width: usize) -> Vec<Line> {
    let on = of.on.as_ref().map(|on| format!(" on {on}")).unwrap_or_default();
    let mut all = vec![line(&format!("{}{on}: {}", of.name, state(of)), width, Look::Bold)];
    let mut say = |name: &str, text: &str| {
        let name = format!("  {name:<9}");
        for (number, part) in text.lines().enumerate() {
            let before = if number == 0 { name.as_str() } else { "           " };
            all.extend(wrapped(&format!("{before}{}", part.trim()), width, SECOND));
        }
    };
    say("stream", &format!("{}, consumer {}", of.stream, of.consumer));
    say("code", &code(of));
    for (part, problem) in &of.problems {
        say("problem", &format!("{part}: {problem}"));
    }
    for problem in of.scaling.problem.iter().chain(&of.scaling.refused) {
        say("policy", problem);
    }
    say("workers", &format!("{}, from {} to {}", workers(of), of.workers.min, of.workers.max));
    if let Some(set) = &of.workers.set {
        let until = set.until_at_ms.map(|ms| format!(" until {} UTC", clock(ms))).unwrap_or_default();
        say("", &format!("a person has set {}{until}; the policy is not heard", set.count));
    }
    if let Some(fleet) = &of.fleet {
        say("fleet", &shared(fleet));
    }
    match &of.scaling.observation {
        Some(seen) => observed(seen, &mut say),
        None => say("observed", "nothing yet"),
    }
    if let Some(limits) = &of.limits {
        let breaker = limits.breaker.as_ref().map(|state| format!(", breaker {state}")).unwrap_or_default();
        say("limits", &format!("{} in flight{breaker}", limits.in_flight));
    }
    say("settled", &numbers(&of.deliveries));
    say("dead", &numbers(&of.dead_letters));
    say("faults", &numbers(&of.faults));
    if let Some(shadow) = &of.scaling.shadow {
        say("shadow", &shadowed(shadow));
    }
    all.push(line("", width, Look::Plain));
    all.push(line("DECISIONS, the newest first (UTC)", width, Look::Bold));
    all.extend(of.scaling.last_decisions.iter().flat_map(|decision| wrapped(&decided(decision), width, SECOND)));
    all.push(line("", width, Look::Plain));
    all.push(line("WORKERS", width, Look::Bold));
    all.extend(of.workers.alive.iter().map(|worker| line(&worked(worker), width, Look::Plain)));
    all
}

/// The workers of the plan, host by host.
fn shared(of: &Fleet) -> String {
    let Fleet { leader, desired, shares } = of;
    let leader = leader.as_ref().map_or_else(|| "nobody leads".to_owned(), |leader| format!("{leader} leads"));
    let hosts: Vec<String> = shares.iter().map(|(host, workers)| format!("{host} {workers}")).collect();
    let hosts = if hosts.is_empty() { "no plan yet".to_owned() } else { hosts.join(", ") };
    format!("{desired} wanted of all hosts: {hosts}; {leader}")
}

fn code(of: &Workload) -> String {
    let digest = of.scaling.generation.as_deref().unwrap_or_default();
    let digest: String = digest.chars().take(12).collect();
    let at = if digest.is_empty() { "" } else { "@" };
    format!("handler {}, policy {}{at}{digest}", of.handler, of.scaling.policy)
}

fn observed(seen: &Observation, say: &mut impl FnMut(&str, &str)) {
    let oldest = seen.oldest_pending_ms.map_or_else(String::new, |ms| format!(", the oldest {} old", span(ms)));
    say("observed", &format!("{} arrive, {} are done", rate(seen.arrival_rate), rate(seen.completion_rate)));
    let (pending, in_flight, again) = (seen.pending, seen.ack_pending, seen.redelivered);
    say("", &format!("{pending} wait{oldest}; {in_flight} in flight, {again} redelivered"));
    let (time, busy, failed) = (seen.service_time_ms, percent(seen.busy_ratio), percent(seen.failure_ratio));
    say("", &format!("{time:.1} ms a message, workers {busy} busy, {failed} fail"));
    if seen.limited {
        say("", "a limit, not the number of workers, keeps messages waiting");
    }
}

fn shadowed(of: &Shadow) -> String {
    let Shadow { policy, decisions, differing, problem, count, reason } = of;
    let now = match (problem, count) {
        (Some(problem), _) => problem.clone(),
        (None, Some(count)) => format!("{count}: {}", reason.as_deref().unwrap_or_default()),
        (None, None) => "nothing yet".to_owned(),
    };
    format!("{policy}: {now} ({differing} of {decisions} decisions differ)")
}

fn decided(of: &Decision) -> String {
    let times = if of.times > 1 { format!(" ({} times)", of.times) } else { String::new() };
    // What the policy wants may be cut to what is allowed.
    let wanted = if of.desired == of.count { String::new() } else { format!(" (wanted {})", of.desired) };
    format!("  {} {}{wanted}: {}{times}", clock(of.at_ms), of.count, of.reason)
}

fn worked(of: &Worker) -> String {
    let does = if of.handling { "handles" } else { "waits" };
    format!("  {:<8} {does:<8} {} acked in {}", of.worker, of.acked, span(of.alive_ms))
}
