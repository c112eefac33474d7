//! Puts one workload together: its consumer, its plugins, its inbox, its workers and its monitor.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::board::{Board, Works};
use crate::clock::Since;
use crate::conditions::Part;
use crate::config::DeadLetters;
use crate::delivery::Bounds;
use crate::events::{Event, Observer};
use crate::fold::{Desk, Fold};
use crate::inbox::{Inbox, fetch};
use crate::jetstream::{Bound, Client, HeaderWatch};
use crate::journal::{self, Journal, Role};
use crate::mend::{self, Mend};
use crate::monitor::Monitor;
use crate::pace::RateLimit;
use crate::ports::{Handlers, Notice, Policies};
use crate::settle::Rules;
use crate::shadow::{Shadow, Window};
use crate::supervisor::{Crew, Desired, Supervisor};
use crate::worker::WorkerShared;

/// What a workload needs of its host.
pub struct Surroundings {
    /// The connection.
    pub client: Client,
    /// Where dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Where decisions are kept.
    pub journal: Journal,
    /// The host's name.
    pub host: String,
    /// How long workers may take to finish.
    pub grace: Duration,
    /// Who is told.
    pub observer: Observer,
}

/// Runs a workload until `stop` is true: pulls end first, workers finish within the grace time, what is left is given
/// back.
///
/// # Errors
/// If the connection is closed for good.
pub async fn run<H: Handlers, P: Policies>(
    board: Arc<Board>,
    bound: Bound,
    around: Arc<Surroundings>,
    handlers: H,
    policies: P,
    shadow: Option<P>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let workload = &board.workload;
    let name: Arc<str> = workload.name.as_str().into();
    let start = Since::now();
    let pull = bound.puller().await?;
    let (source, header_watch) = bound.signals().await?;
    let consumer = bound.consumer();
    let desired = Arc::new(Desired::new(consumer.employable(&workload.scale).min));
    let crew = Arc::new(Crew::default());
    let respawns = Arc::new(RateLimit::new(workload.limits.respawns));
    let bounds = Bounds {
        max_payload: bound.max_payload(),
        own_headers: bound.own_headers(),
        publications: workload.limits.publications,
        grants: workload.grants.clone(),
    };
    let rules = Rules::new(workload.retry.clone(), consumer.clone(), bounds, &board.conditions);
    let inbox = Inbox::new(workload.pull.batch, workload.pull.max_bytes).remembering(rules.attempts.clone());
    let inbox = Arc::new(inbox);
    let shared = Arc::new(WorkerShared {
        workload: name.clone(),
        conditions: board.conditions.clone(),
        inbox: inbox.clone(),
        rules: rules.clone(),
        isolation: workload.isolation,
        respawns: respawns.clone(),
        observer: around.observer.clone(),
    });
    let desk = Desk {
        workload: name.clone(),
        role: Role::Live,
        settings: workload.policy_settings.clone().into(),
        bounds: journal::Bounds::of(&workload.limits),
        journal: around.journal.clone(),
    };
    let mut asides = JoinSet::new();
    let window = match (shadow, &workload.shadow) {
        (Some(policies), Some(of)) => {
            let (window, ticks) = Window::open();
            let desk = Desk { role: Role::Shadow, settings: of.settings.clone().into(), ..desk.clone() };
            asides.spawn(Shadow { fold: Fold::new(desk, policies), ticks, board: board.clone() }.run());
            window
        }
        _ => Window::default(),
    };
    let monitor = Monitor {
        workload: name.clone(),
        scale: workload.scale.clone(),
        consumer: consumer.clone(),
        fold: Fold::new(desk, policies),
        window,
        source,
        crew: crew.clone(),
        desired: desired.clone(),
        waiting: {
            let inbox = inbox.clone();
            Box::new(move || !inbox.is_empty())
        },
        events: around.observer.clone(),
        board: board.clone(),
        start,
    };
    let traffic = bound.traffic();
    board.runs(Works { crew: crew.clone(), desired: desired.clone(), traffic, respawns });
    let supervisor = Supervisor::new(shared, handlers, desired, crew, around.grace);
    let (tell, told) = mend::teller();
    let (tell_watch, told_watch) = mend::teller();
    let mend = |part, consumer| Mend { board: &board, around: &around, consumer, part };
    let (pulls, watch) =
        (mend(Part::Pull, &workload.queue.consumer), mend(Part::Watch, &workload.queue.watch_consumer));
    tracing::info!(workload = %name, stream = workload.queue.stream, consumer = workload.queue.consumer, "ready");
    around.observer.tell(Event::Ready { workload: name });
    let run = async {
        tokio::join!(
            fetch(&inbox, pull, &consumer, tell, stopped(stop.clone())),
            supervisor.run(stopped(stop.clone())),
            monitor.run(stopped(stop.clone())),
            watch_headers(header_watch, start, tell_watch, stopped(stop.clone())),
            pulls.run(told),
            watch.run(told_watch),
        );
    };
    tokio::select! {
        () = run => Ok(()),
        never = rules.effects.watch() => match never {},
        never = rules.letters.watch() => match never {},
        never = bound.watch_rights(&board.conditions, |held| inbox.hold(held)) => match never {},
    }
}

/// Ends when the host stops.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the host is gone, and that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn watch_headers(
    watch: Option<HeaderWatch>,
    start: Since,
    tell: impl FnMut(Option<Notice>),
    stop: impl Future<Output = ()>,
) {
    match watch {
        Some(watch) => watch.run(start, tell, stop).await,
        None => stop.await,
    }
}
