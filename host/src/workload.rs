//! Puts one workload together: its consumer, its plugins, its inbox, its workers and its monitor.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::board::{Board, Works};
use crate::clock::Since;
use crate::config::{DeadLetters, Manage, Workload};
use crate::delivery::Bounds;
use crate::events::{Event, Observer};
use crate::fold::{Desk, Fold};
use crate::inbox::{Inbox, fetch};
use crate::jetstream::{Bound, Client, HeaderWatch};
use crate::journal::{self, Journal, Role};
use crate::monitor::Monitor;
use crate::pace::Pace;
use crate::ports::{Handlers, Notice, Policies};
use crate::settle::Rules;
use crate::shadow::{Shadow, Window};
use crate::supervisor::{Crew, Desired, Supervisor};
use crate::worker::Shop;

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
    let respawns = Arc::new(Pace::new(workload.limits.respawns));
    let bounds = Bounds {
        max_payload: bound.max_payload(),
        own_headers: bound.own_headers(),
        publications: workload.limits.publications,
        grants: workload.grants.clone(),
    };
    let rules = Rules::new(workload.retry.clone(), consumer.clone(), bounds, &board.conditions);
    let inbox = Inbox::new(workload.pull.batch, workload.pull.max_bytes).remembering(rules.attempts.clone());
    let inbox = Arc::new(inbox);
    let shop = Arc::new(Shop {
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
    let supervisor = Supervisor::new(shop, handlers, desired, crew, around.grace);
    let (notices, noticed) = mpsc::unbounded_channel();
    let notices_of = |consumer: &str| {
        let (notices, consumer) = (notices.clone(), Arc::<str>::from(consumer));
        move |notice| {
            // The receiver ends with the workload.
            let _ = notices.send((consumer.clone(), notice));
        }
    };
    let (notice, watch_notice) = (notices_of(&workload.queue.consumer), notices_of(&workload.queue.watch_consumer));
    drop(notices);
    tracing::info!(workload = %name, stream = workload.queue.stream, consumer = workload.queue.consumer, "ready");
    around.observer.tell(Event::Ready { workload: name });
    let run = async {
        tokio::join!(
            fetch(&inbox, pull, &consumer, notice, stopped(stop.clone())),
            supervisor.run(stopped(stop.clone())),
            monitor.run(stopped(stop.clone())),
            watch_headers(header_watch, start, watch_notice, stopped(stop.clone())),
            mend(workload, &around, noticed),
        );
    };
    tokio::select! {
        () = run => Ok(()),
        never = rules.effects.watch() => match never {},
        never = rules.letters.watch() => match never {},
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
    notice: impl FnMut(Notice),
    stop: impl Future<Output = ()>,
) {
    match watch {
        Some(watch) => watch.run(start, notice, stop).await,
        None => stop.await,
    }
}

/// Says what is wrong with the pulls, once for each reason in a row, and makes a consumer anew that somebody deleted, where the
/// configuration allows that. Ends when the fetching does.
async fn mend(workload: &Workload, around: &Surroundings, mut notices: mpsc::UnboundedReceiver<(Arc<str>, Notice)>) {
    let mut last = None;
    while let Some((consumer, notice)) = notices.recv().await {
        let gone = matches!(notice, Notice::NoResponders | Notice::ConsumerDeleted);
        let told = Some((consumer, notice));
        if let Some((consumer, notice)) = told.as_ref().filter(|_| last != told) {
            tracing::error!(workload = workload.name, stream = workload.queue.stream, %consumer, problem = %notice,
                "cannot fetch; trying again every second");
        }
        last = told;
        if gone && workload.queue.manage == Manage::Create {
            match Bound::new(&around.client, workload, &around.dead_letters, &around.host).await {
                Ok(_) => last = None,
                Err(error) => tracing::debug!(workload = workload.name, %error, "not mended"),
            }
        }
    }
}
