use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::view::{AWAY, View};
use crate::conditions::Part;
use crate::drain::DrainState;
use crate::duration::millis;
use crate::text::{one_line, plain};

/// How often a task of the host says that it gets its turn.
const BEAT: Duration = Duration::from_millis(250);
/// After how long without a turn the process counts as stuck.
const STUCK: Duration = Duration::from_secs(10);

/// Whether tasks of a runtime get their turn.
///
/// It is looked at and not asked for: an answer must not wait for what it is about.
pub(super) struct RuntimeLiveness {
    start: Instant,
    /// Milliseconds since the start when the task had its last turn.
    last: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl RuntimeLiveness {
    /// Of the runtime that this is called in.
    pub(super) fn start() -> Self {
        let (start, last) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let beats = last.clone();
        let task = tokio::spawn(async move {
            loop {
                beats.store(millis(start.elapsed()), Relaxed);
                tokio::time::sleep(BEAT).await;
            }
        });
        Self { start, last, task }
    }

    /// What is wrong, if anything is.
    pub(super) fn check(&self) -> Vec<String> {
        let since = self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)));
        if since < STUCK {
            return Vec::new();
        }
        vec![format!("no task of the host had its turn for {} s", since.as_secs())]
    }
}

impl Drop for RuntimeLiveness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is told of a server that is away: why it does not come back too, where that is known.
fn away(why: Option<String>) -> String {
    why.map_or_else(|| AWAY.to_owned(), |why| format!("{AWAY}: {why}"))
}

/// What keeps a host from working, if anything does.
pub(super) fn ready(view: &View) -> Vec<String> {
    let mut problems = Vec::new();
    if *view.stops.borrow() {
        problems.push("the host stops".to_owned());
    }
    if !view.is_connected() {
        problems.push(away(view.why_away()));
    }
    for plugin in view.directory.plugins().iter().filter(|plugin| plugin.generation.is_none()) {
        let why = plugin.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        problems.push(format!("plugin {} is not loaded{why}", plugin.plugin));
    }
    problems.extend(view.directory.problems());
    problems.extend(view.journal.problems());
    let drain = view.drain.state();
    if drain != DrainState::No {
        problems.push(format!("the host is drained; `tidegate undrain {}` lets it go on", view.id));
    }
    let workloads = view.workloads.all();
    let missing =
        workloads.iter().filter(|state| drain == DrainState::No && state.running().is_none() && !state.is_elsewhere());
    for state in missing {
        problems.push(format!("workload {} does not run yet", state.workload.name));
    }
    for state in &workloads {
        let name = &state.workload.name;
        let of = |(part, problem): (Part, String)| format!("workload {name}: {}: {problem}", part.as_str());
        // A server that is away is told once.
        let all = state.conditions.all();
        let is_away = all.iter().any(|(part, _)| *part == Part::Connection);
        let told = |(part, _): &(Part, String)| match (&state.workload.nats, part) {
            (Some(_), part) if *part != Part::Fleet => !is_away || !part.is_of_the_server(),
            _ => view.is_connected() || !part.is_of_the_server(),
        };
        problems.extend(all.iter().filter(|condition| told(condition)).cloned().map(of));
    }
    // What guests and servers say is a part of them.
    problems.iter().map(|problem| plain(&one_line(problem))).collect()
}
