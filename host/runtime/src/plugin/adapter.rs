//! Puts plugins behind the traits that workers and the scaling loop use.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch as changes;

use crate::config::{RolloutConfig, Workload};
use crate::contract::Author;
use crate::contract::{Answer, Delivery, Fault, Outcome};
use crate::contract::{Decision, Observation};
use crate::delivery::slow_lane::{Lane, roam_from, step_down, step_down_later, watch};
use crate::digest::Digest;
use crate::plugin::capability::Settings;
use crate::plugin::capability::http::HttpAccess;
use crate::plugin::capability::key_value::KeyValueAccess;
use crate::plugin::capability::messaging::MessagingAccess;
use crate::plugin::generations::{Generations, HandlerFile, HandlerSwitch, author};
use crate::plugin::{
    Directory, GuestsSeen, HandlerInstance, HandlerPlugin, PolicyContext, PolicyPlugin, PolicyWatch, Room,
    SettingsReader, Wanted, WorkerContext,
};
use crate::ports::{ConcurrentCalls, Handler, Handlers, KeyValue, Policies, Policy, Requester};
use crate::rollout::switch::Switch;

/// Instances of a policy that room is kept for. Each call has an instance of its own, and calls come one after the
/// other.
const POLICY_INSTANCES: u32 = 2;

/// Makes handler instances of a workload's plugin, always of the generation that is in use, or that a rollout has for
/// the worker.
#[derive(Clone)]
pub struct PluginHandlers {
    generations: Generations,
    /// The context of each instance, but for its settings.
    context: WorkerContext,
    settings: Arc<SettingsReader>,
    /// An instance that was made ahead and that no worker owns yet, with the settings that it has.
    prepared: Arc<Mutex<Option<(PluginHandler, Settings)>>>,
    room: Arc<Room>,
    room_changes: changes::Receiver<u64>,
    /// `scale.max` of the workload.
    max: u32,
}

impl PluginHandlers {
    /// Asks the directory for the workload's plugin.
    pub fn new(directory: &Directory, workload: &Workload) -> Self {
        let room = directory.room(workload.scale.max);
        let mut context = WorkerContext::new(workload.name.as_str().into(), 0, Arc::new([]), workload.limits.clone());
        context.guest.room = Some(room.clone());
        context.http = Arc::new(HttpAccess::new(workload));
        context.key_value = KeyValueAccess::new(workload);
        context.messaging = MessagingAccess::new(workload);
        context.concurrency = workload.concurrency;
        Self {
            generations: Generations::Newest(directory.watch_for(
                workload.written_name(),
                &workload.handler,
                &Wanted::handler(workload),
                &workload.limits,
            )),
            context,
            settings: Arc::new(SettingsReader::new(&workload.settings)),
            prepared: Arc::default(),
            room_changes: room.changes(),
            room,
            max: workload.scale.max,
        }
    }

    /// From now on instances reach these buckets, as far as the workload's grants go.
    pub(crate) fn reach(&self, buckets: Arc<dyn KeyValue>) {
        self.context.key_value.reach(buckets);
    }

    /// From now on instances ask by this, as far as the workload's grants go.
    pub(crate) fn ask_by(&self, requester: Arc<dyn Requester>) {
        self.context.messaging.ask_by(requester);
    }

    fn context(&self, worker: u64, settings: Settings) -> WorkerContext {
        WorkerContext { worker, settings, ..self.context.clone() }
    }

    /// What can be seen of all instances.
    pub(crate) fn seen(&self) -> GuestsSeen {
        self.context.guest.seen()
    }

    /// From now on new generations take over as these rollouts say, which have to run, and not at once.
    pub(crate) fn roll_out(&mut self, workload: &Workload, rules: &RolloutConfig) -> Option<PendingRollouts> {
        let Generations::Newest(watch) = &self.generations else { return None };
        let file = HandlerFile::new(watch.clone());
        let switch = Switch::new(workload.name.as_str().into(), rules.clone());
        self.generations = Generations::chosen(&switch);
        Some(PendingRollouts { switch, file })
    }

    /// Waits for a generation after the one that was loaded, or given by this, that came into use at once, and says
    /// whose it is.
    pub(crate) async fn another(&mut self) -> Author {
        author(self.generations.another().await.generation())
    }

    /// Waits until a generation of the plugin is loaded, where no rollout says which is used.
    pub(crate) async fn is_loaded(&mut self) {
        self.generations.first().await;
    }

    /// Waits until a generation of the plugin is loaded.
    pub async fn loaded(&mut self) {
        let plugin = self.generations.first().await;
        self.room.each_needs(plugin.need());
        let most = self.most();
        if most < self.max {
            tracing::warn!(
                workload = %self.context.guest.workload, plugin = %plugin.generation().plugin, most, max = self.max,
                "this host has no room for as many workers as scale.max says: {}", self.room.why()
            );
        }
    }
}

async fn make(plugin: &HandlerPlugin, context: &WorkerContext) -> Result<PluginHandler, Fault> {
    let instance = watch(pin!(plugin.instantiate(context))).await?;
    Ok(PluginHandler { instance, author: author(plugin.generation()) })
}

/// The same, of the generation that a rollout compares this one with if this one does not start.
async fn make_or_stable(
    generations: &Generations,
    plugin: &Arc<HandlerPlugin>,
    context: &WorkerContext,
) -> Result<PluginHandler, Fault> {
    let made = make(plugin, context).await;
    match made.as_ref().err().and_then(|fault| generations.in_place_of(plugin, fault)) {
        Some(stable) => make(&stable, context).await,
        None => made,
    }
}

fn not_loaded() -> Fault {
    Fault::Start("its plugin is not loaded".to_owned())
}

/// The rollouts of a handler, before they run.
pub(crate) struct PendingRollouts {
    pub(crate) switch: Arc<HandlerSwitch>,
    pub(crate) file: HandlerFile,
}

/// A handler instance, and the code that it runs.
pub struct PluginHandler {
    instance: HandlerInstance,
    author: Author,
}

impl Handlers for PluginHandlers {
    type Instance = PluginHandler;

    async fn instantiate(&mut self, worker: u64) -> Result<PluginHandler, Fault> {
        let plugin = self.generations.take(worker);
        let plugin = plugin.ok_or_else(not_loaded)?;
        self.context.http.ready().await?;
        let settings = self.settings.read().await?;
        let prepared = self.prepared.lock().take();
        let fits = |(prepared, with): &(PluginHandler, Settings)| {
            prepared.author == author(plugin.generation()) && *with == settings
        };
        if let Some((prepared, _)) = prepared.filter(fits) {
            prepared.instance.assign(worker);
            return Ok(prepared);
        }
        make_or_stable(&self.generations, &plugin, &self.context(worker, settings)).await
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        let plugin = self.generations.take(0);
        let (generations, context) = (self.generations.clone(), self.context.clone());
        let (prepared, reader) = (self.prepared.clone(), self.settings.clone());
        async move {
            let plugin = plugin.ok_or_else(not_loaded)?;
            context.http.ready().await?;
            let settings = reader.read().await?;
            let context = WorkerContext { settings: settings.clone(), ..context };
            let made = make_or_stable(&generations, &plugin, &context).await?;
            *prepared.lock() = Some((made, settings));
            Ok(())
        }
    }

    fn most(&mut self) -> u32 {
        self.room_changes.mark_unchanged();
        self.room.most()
    }

    fn why_no_more(&self) -> String {
        self.room.why()
    }

    fn room_changed(&self, small: bool) -> impl Future<Output = ()> + Send + use<> {
        let (room, mut changes) = (self.room.clone(), self.room_changes.clone());
        async move {
            tokio::select! {
                // The sender lives as long as the room, so an error never comes.
                _ = changes.changed() => {}
                () = room.ask_for_more(), if small => {}
            }
        }
    }

    fn is_newer(&mut self) -> bool {
        self.generations.has_newer()
    }

    async fn newer(&mut self) {
        self.generations.newer().await;
    }
}

impl Handler for PluginHandler {
    async fn handle(&mut self, delivery: &Delivery) -> Outcome {
        let outcome = pin!(self.instance.handle(delivery)).await;
        if outcome.is_err() {
            step_down().await;
        }
        outcome
    }

    fn handles_batches(&self) -> bool {
        self.instance.handles_batches()
    }

    async fn handle_batch(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Answer>, Fault> {
        let answers = pin!(self.instance.handle_batch(deliveries)).await;
        if answers.is_err() {
            step_down().await;
        }
        answers
    }

    fn handles_concurrently(&self) -> bool {
        self.instance.handles_concurrently()
    }

    async fn run(&mut self, calls: ConcurrentCalls) -> Result<(), Fault> {
        let ended = self.instance.run(calls).await;
        if ended.is_err() {
            // The calls that end with it are told as ended by the same poll.
            step_down_later();
        }
        ended
    }

    fn last_words(&self) -> &str {
        self.instance.last_words()
    }

    fn author(&self) -> &Author {
        &self.author
    }
}

/// A policy of a workload, in the generation that is in use.
pub struct PluginPolicies {
    watch: PolicyWatch,
    context: PolicyContext,
    given: Option<Digest>,
}

impl PluginPolicies {
    /// Asks the directory for the plugin of this name, pinned to a digest if there is one.
    pub fn new(directory: &Directory, workload: &Workload, plugin: &str, pin: Option<&Digest>) -> Self {
        Self {
            watch: directory.watch_for(workload.written_name(), plugin, &Wanted::policy(pin), &workload.limits),
            context: PolicyContext::new(workload.name.as_str().into(), workload.limits.clone())
                .within(directory.room(POLICY_INSTANCES)),
            given: None,
        }
    }

    /// The same policy for a new start of the workload: no generation of it was given yet.
    pub(crate) fn anew(&self) -> Self {
        Self { watch: self.watch.clone(), context: self.context.clone(), given: None }
    }

    /// Waits until a generation of the plugin is loaded.
    pub(crate) async fn is_loaded(&mut self) {
        self.watch.loaded().await;
    }

    /// What can be seen of all calls.
    pub(crate) fn seen(&self) -> GuestsSeen {
        self.context.seen()
    }
}

/// One generation of a policy.
pub struct PluginPolicy {
    plugin: Arc<PolicyPlugin>,
    lane: Lane,
    context: PolicyContext,
    author: Author,
}

impl Policies for PluginPolicies {
    type Policy = PluginPolicy;

    fn latest(&mut self) -> Option<PluginPolicy> {
        let plugin = self.watch.current()?;
        let author = author(plugin.generation());
        self.given = Some(author.generation.clone());
        Some(PluginPolicy { plugin, lane: Lane::default(), context: self.context.clone(), author })
    }

    async fn newer(&mut self) {
        loop {
            // The plugin may have been loaded for another workload before this one asked for it.
            let current = self.watch.current().map(|plugin| plugin.generation().digest.clone());
            if current.is_some() && current != self.given {
                return;
            }
            self.watch.changed().await;
        }
    }
}

impl Policy for PluginPolicy {
    async fn init(
        &self,
        settings: &[(String, String)],
        previous: Option<&[u8]>,
    ) -> Result<Result<Vec<u8>, String>, Fault> {
        let (plugin, context) = (self.plugin.clone(), self.context.clone());
        let (settings, previous) = (settings.to_vec(), previous.map(<[u8]>::to_vec));
        roam_from(&self.lane, async move { plugin.init(&context, &settings, previous.as_deref()).await }).await
    }

    async fn decide(&self, seen: &Observation, state: &[u8]) -> Result<Decision, Fault> {
        let (plugin, context) = (self.plugin.clone(), self.context.clone());
        let (seen, state) = (*seen, state.to_vec());
        roam_from(&self.lane, async move { plugin.decide(&context, &seen, &state).await }).await
    }

    fn author(&self) -> &Author {
        &self.author
    }
}
