//! One consumer's work.

use super::batching::Batching;
use super::concurrency;
use super::connection::ConnectionLayers;
use super::environment::Environment;
use super::error::{At, ConfigError, SourcePosition};
use super::fingerprints::{Fingerprints, fingerprints};
use super::grants::Grants;
use super::keys::WORKLOAD;
use super::layer::Layer;
use super::limits::Limits;
use super::names;
use super::nats::Nats;
use super::order::{self, Order};
use super::partitions;
use super::per_key::PerKey;
use super::queue::{Queue, Unsettled};
use super::reader::{Reader, place};
use super::retry::Retry;
use super::rollout::RolloutConfig;
use super::scale::{PullConfig, Scale};
use super::setting::Setting;
use super::start_limits::StartLimits;
use super::words::{Isolation, Manage};
use crate::digest::Digest;

/// One consumer's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The name, which is also the first token of its dead letters' subject.
    pub name: String,
    /// Its own connection, for an account of its own; the host's if `None`.
    pub nats: Option<Nats>,
    /// The stream and the consumer.
    pub queue: Queue,
    /// The handler's plugin name.
    pub handler: String,
    /// The digest of the only file that runs as the handler; any if there is none.
    pub handler_pin: Option<Digest>,
    /// The policy's plugin name.
    pub policy: String,
    /// The digest of the only file that runs as the policy; any if there is none.
    pub policy_pin: Option<Digest>,
    /// How long a handler instance lives.
    pub isolation: Isolation,
    /// How many deliveries a handler of batches is given in one call.
    pub batching: Batching,
    /// How many deliveries one instance of an asynchronous handler has at once; at least 1.
    pub concurrency: usize,
    /// What the handler reads through `wasi:config/store`.
    pub settings: Vec<(String, Setting)>,
    /// What the policy gets in `init`.
    pub policy_settings: Vec<(String, String)>,
    /// A policy that is asked too, and not listened to.
    pub shadow: Option<ShadowConfig>,
    /// How many workers, and how that is decided.
    pub scale: Scale,
    /// How workers fetch.
    pub pull: PullConfig,
    /// Where the handler's effects may go.
    pub grants: Grants,
    /// What a guest may spend.
    pub limits: Limits,
    /// What happens after a failure.
    pub retry: Retry,
    /// Which messages are handled one after the other; `None` where no order is kept.
    pub order: Option<Order>,
    /// How many deliveries of one key may be handled at once; `None` where any number may.
    pub per_key: Option<PerKey>,
    /// How many workloads a message may have come through.
    pub max_hops: u32,
    /// When a delivery may begin.
    pub start_limits: StartLimits,
    /// How a new generation of the handler takes over; at once if `None`.
    pub rollout: Option<RolloutConfig>,
    /// Whether its consumer is paused or resumed when it starts; left as it is if nothing is said.
    pub paused: Option<bool>,
}

/// A policy that is asked beside the one that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowConfig {
    /// Its plugin name.
    pub policy: String,
    /// The digest of the only file that runs as it; any if there is none.
    pub pin: Option<Digest>,
    /// What it gets in `init`: its own settings, or the workload's `policy-settings` if it has no table of them.
    pub settings: Vec<(String, String)>,
}

impl Workload {
    /// How many deliveries have to be unsettled at once at least, where the configuration does not say how many may be.
    pub(crate) fn least_unsettled(&self) -> Option<i64> {
        // What waits for its turn is unsettled too.
        let buffers = [self.order.as_ref().map(|of| of.buffer), self.per_key.as_ref().map(|of| of.buffer)];
        let buffer = buffers.into_iter().flatten().max().map_or(0, |buffer| i64::try_from(buffer).unwrap_or(i64::MAX));
        let Unsettled { needed, wanted } = Unsettled::of(&self.scale, &self.pull, buffer);
        (self.queue.max_ack_pending == wanted).then_some(needed)
    }

    /// The name as it is written: several partitions have one.
    pub fn written_name(&self) -> &str {
        self.queue.partition.as_ref().map_or(&self.name, |partition| &partition.workload)
    }

    /// Whether it is the first of the partitions of its name, or has none.
    pub fn is_first(&self) -> bool {
        self.queue.partition.as_ref().is_none_or(|partition| partition.number == 0)
    }

    /// What a person should know, as far as the file says it.
    pub fn warnings(&self) -> Vec<String> {
        let reads = if self.queue.filter.is_empty() { &self.queue.subjects } else { &self.queue.filter };
        let mut warnings = self.grants.loops_over(&self.queue.stream, reads);
        if self.grants.http_ca.is_some() && self.grants.http.is_empty() {
            let said = "grants.http-ca is of no use without grants.http, which says where requests may go";
            warnings.push(said.to_owned());
        }
        warnings
    }

    /// The plugins that it names: as what (`handler`, `policy`, `shadow`), by which name, and what they are pinned to.
    pub fn plugins(&self) -> impl Iterator<Item = (&'static str, &str, Option<&Digest>)> {
        let shadow = self.shadow.as_ref().map(|shadow| ("shadow", shadow.policy.as_str(), shadow.pin.as_ref()));
        let handler = ("handler", self.handler.as_str(), self.handler_pin.as_ref());
        let policy = ("policy", self.policy.as_str(), self.policy_pin.as_ref());
        [handler, policy].into_iter().chain(shadow)
    }
}

/// A workload and where it was written, for what must hold among all of them.
pub(super) struct WrittenWorkload {
    pub(super) workload: Workload,
    /// How many partitions it has, and by which token of the subject, if it has any.
    pub(super) partitions: Option<(u32, usize)>,
    name: SourcePosition,
    layer: Layer,
}

impl WrittenWorkload {
    /// Decides every value of the workload `name`.
    pub(super) fn read(
        name: At<String>,
        layer: Layer,
        variables: &Environment,
        problems: &mut Vec<ConfigError>,
    ) -> Self {
        let mut keys = Reader::new(WORKLOAD, &layer, &name.place, variables, problems);
        let wrong = names::workload(&name.value).err();
        let named = wrong.is_none();
        if let Some(wrong) = wrong {
            keys.note(wrong.at(&name.place));
        }
        let (handler, handler_pin) = plugin(&mut keys, "handler").unwrap_or_default();
        let (policy, policy_pin) = plugin(&mut keys, "policy").unwrap_or_default();
        let at_once = keys.maybe("batching.size");
        let concurrency: usize = keys.get("concurrency");
        let held = at_once.max(Some(concurrency));
        let (scale, pull) = (Scale::read(&mut keys), PullConfig::read(&mut keys, held));
        // Without a file nobody has said that something else looks after the consumer.
        let manage = if name.place.is_flag() { Manage::Create } else { Manage::Bind };
        let buffer = keys.maybe("order-buffer");
        // What waits for its turn is unsettled too.
        let waiting = if keys.is_set("order-key") { buffer.unwrap_or(order::USUAL) } else { 0 };
        let waiting = waiting.max(PerKey::waiting(&mut keys));
        let queue = Queue::read(&mut keys, &name.value, named, manage, &scale, &pull, waiting);
        let isolation = keys.get("isolation");
        let batching = Batching::read(&mut keys, at_once, isolation, pull.batch, queue.ack_wait);
        concurrency::check(&mut keys, concurrency, batching.wanted, isolation, pull.batch);
        let order = Order::read(&mut keys, buffer, queue.max_ack_pending);
        let may_create = queue.manage == Manage::Create;
        let partitions = partitions::read(&mut keys, order.as_ref().map(|order| &order.key), may_create);
        let per_key = PerKey::read(&mut keys, queue.max_ack_pending);
        let policy_settings: Vec<_> = keys.get("policy-settings");
        let own = ConnectionLayers::of_workload(&Layer::default(), (&layer, &name.place), variables, keys.problems);
        let nats = own.map(|layers| layers.resolve(variables, keys.problems));
        let workload = Workload {
            name: name.value,
            nats,
            queue,
            handler,
            handler_pin,
            policy,
            policy_pin,
            isolation,
            batching,
            concurrency,
            settings: keys.get("settings"),
            shadow: shadow(&mut keys, &policy_settings),
            policy_settings,
            scale,
            pull,
            grants: Grants::read(&mut keys),
            limits: Limits::read(&mut keys),
            retry: Retry::read(&mut keys),
            order,
            per_key,
            max_hops: keys.get("max-hops"),
            start_limits: StartLimits::read(&mut keys, at_once),
            rollout: RolloutConfig::read(&mut keys),
            paused: keys.maybe("paused"),
        };
        Self { workload, partitions, name: name.place, layer }
    }

    /// Its name, and what its settings come to.
    pub(super) fn fingerprints(&self) -> (String, Fingerprints) {
        (self.workload.name.clone(), fingerprints(&self.layer))
    }

    /// Where the key at `path` was written, or would be.
    pub(super) fn place(&self, path: &str) -> SourcePosition {
        place(WORKLOAD, &self.layer, &self.name, path)
    }
}

/// A plugin's name, and its pin. What cannot be one was told by the key's rule.
fn plugin(keys: &mut Reader<'_>, path: &str) -> Option<(String, Option<Digest>)> {
    let text: String = keys.maybe(path)?;
    Some(names::pinned_plugin(&text).unwrap_or((text, None)))
}

fn shadow(keys: &mut Reader<'_>, of_policy: &[(String, String)]) -> Option<ShadowConfig> {
    // An empty table is one of its own: its settings are those that it has by default.
    let own: Option<Vec<_>> = keys.is_set("shadow.policy-settings").then(|| keys.get("shadow.policy-settings"));
    let Some((policy, pin)) = plugin(keys, "shadow.policy") else {
        if own.is_some_and(|own| !own.is_empty()) {
            let problem = "is missing, though the shadow has settings";
            let remedy = "give the name of a plugin that decides, or remove the settings";
            keys.note(keys.place("shadow.policy").error(problem, remedy));
        }
        return None;
    };
    Some(ShadowConfig { policy, pin, settings: own.unwrap_or_else(|| of_policy.to_vec()) })
}
