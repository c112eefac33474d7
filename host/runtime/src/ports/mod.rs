//! What the scaling loop and the workers need of JetStream and of the component host, and no more.
//!
//! `jetstream` and `plugin` implement these traits. For tests, models implement them.

mod concurrent;
mod excused;
mod fleet;
mod held;
mod key_value;
mod plugin_objects;
mod request;

use std::future::Future;
use std::time::Duration;

use crate::contract::{Answer, Author, Decision, Delivery, Fault, Observation, Outcome};
use crate::permissions::Verb;

pub use concurrent::{ConcurrentCall, ConcurrentCalls};
pub use excused::Excused;
pub(crate) use fleet::{FleetBucket, Forgetting, KeyChange, KeyChanges};
pub use held::{Confirmed, EffectError, Held, Kept, PublicationIds, Published};
pub(crate) use key_value::{KeyValue, KvEntry, KvError, KvFuture, KvPage};
pub(crate) use plugin_objects::{
    BucketMark, BucketSeen, ObjectContent, ObjectEvent, ObjectEvents, ObjectFuture, PluginObject, PluginObjects,
};
pub(crate) use request::{GuestRequest, RequestAnswer, RequestFailed, RequestFuture, Requester};

/// What came of asking a consumer for deliveries.
#[derive(Debug)]
pub(crate) enum Pulled<D> {
    /// A delivery.
    Delivery(D),
    /// The server has ended a pull in an ordinary way; [`Pull::asked`] says what is still to come.
    Ended,
    /// Some deliveries that were asked for will not come: the connection was lost, or nobody has answered.
    Lost,
    /// The connection is there again.
    Connected,
    /// A pull ended for a reason that asks for attention.
    Failed(Notice),
}

/// Why a pull failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Nobody answers for the consumer.
    #[error("nobody answers for the consumer: it or its stream is gone, or JetStream is not available")]
    NoResponders,
    /// The consumer was deleted.
    #[error("the consumer was deleted")]
    ConsumerDeleted,
    /// Too many pulls wait.
    #[error("too many pulls wait at the consumer: its max_waiting is too small for the hosts that share it")]
    MaxWaiting,
    /// Too many deliveries are unsettled.
    #[error("too many deliveries are unsettled: the consumer's max_ack_pending is too small for its workers")]
    MaxAckPending,
    /// The server does not let this user do something without which no pull is answered.
    #[error("the NATS server does not let this user {0} to `{1}`")]
    Denied(Verb, String),
    /// Pulls are not answered at all.
    #[error("the server does not answer pulls: it stands still, or does not let this user ask or hear")]
    Unanswered,
    /// The server ended the pull for another reason, in its words.
    #[error("the server ended a pull at once: {0}")]
    Other(String),
}

impl Notice {
    /// What mends it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoResponders | Self::ConsumerDeleted => {
                "make the stream and the consumer again, or set manage = \"create\" and the host does"
            }
            Self::MaxWaiting => {
                "make the consumer anew with a larger max_waiting (four for each host), or run fewer hosts"
            }
            Self::MaxAckPending => "raise the consumer's max_ack_pending, or lower scale.max or pull.batch",
            Self::Denied(..) => "allow it; `tidegate permissions` prints what the host must be allowed",
            Self::Unanswered => "see that it runs, and that it allows what `tidegate permissions` prints",
            Self::Other(_) => {
                "edit the consumer so that it takes such pulls (`nats consumer edit`), or name another one"
            }
        }
    }
}

/// Asks a consumer for deliveries.
pub(crate) trait Pull: Send + 'static {
    /// The deliveries that come.
    type Held: Held;

    /// Deliveries that were asked for and may still come.
    fn asked(&self) -> usize;

    /// Asks for up to `count` more, of `bytes` together, or for nothing while the consumer lets no more pulls wait. One
    /// message may be larger than that.
    ///
    /// # Errors
    /// If there is no connection now. It can be tried again.
    fn ask(&mut self, count: usize, bytes: usize) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Waits for what comes next. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Pulled<Self::Held>> + Send;

    /// What has come already.
    fn ready(&mut self) -> Option<Pulled<Self::Held>>;

    /// Nothing more is asked for, and nothing can come: another host may be given the messages from now on.
    fn leave(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        std::future::ready(())
    }
}

/// One handler instance.
pub trait Handler: Send + 'static {
    /// Handles one delivery. After a [`Fault`] the instance is thrown away.
    fn handle(&mut self, delivery: &Delivery) -> impl Future<Output = Outcome> + Send;

    /// Whether it handles several deliveries in one call. Cheap.
    fn handles_batches(&self) -> bool {
        false
    }

    /// What the message ids of its publications are made of. Cheap.
    fn publication_ids(&self) -> PublicationIds {
        if self.handles_batches() { PublicationIds::OfContent } else { PublicationIds::OfPlace }
    }

    /// Handles several deliveries in one call: as many answers, in the same order.
    ///
    /// # Errors
    /// A [`Fault`] of the whole call; the instance is thrown away.
    fn handle_batch(&mut self, deliveries: &[&Delivery]) -> impl Future<Output = Result<Vec<Answer>, Fault>> + Send {
        let _ = deliveries;
        std::future::ready(Err(Fault::Start("it does not handle batches".to_owned())))
    }

    /// Whether it may handle several deliveries at a time, each in a call of its own. Cheap.
    fn handles_concurrently(&self) -> bool {
        false
    }

    /// Runs the calls that come, all at once, until no more can come and all have ended. The guest runs only while this
    /// is polled.
    ///
    /// # Errors
    /// A [`Fault`] of one of the calls, nobody knows of which; the instance is thrown away, and the calls that run are
    /// not answered.
    fn run(&mut self, calls: ConcurrentCalls) -> impl Future<Output = Result<(), Fault>> + Send {
        drop(calls);
        std::future::ready(Err(Fault::Start("it handles one delivery at a time".to_owned())))
    }

    /// What the guest wrote to standard error in the last call, or the end of it; also after a [`Fault`].
    fn last_words(&self) -> &str {
        ""
    }

    /// The code that it runs.
    fn author(&self) -> &Author;
}

/// Makes handler instances, always of the newest generation.
pub trait Handlers: Clone + Send + Sync + 'static {
    /// The instances that are made.
    type Instance: Handler;

    /// Makes an instance for a worker.
    ///
    /// # Errors
    /// [`Fault::Start`] if the guest does not start.
    fn instantiate(&mut self, worker: u64) -> impl Future<Output = Result<Self::Instance, Fault>> + Send;

    /// Makes an instance of the newest generation ahead, so that the next [`Handlers::instantiate`] has it at once. If
    /// that fails, the next `instantiate` would fail too.
    ///
    /// # Errors
    /// As of [`Handlers::instantiate`].
    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<Self>;

    /// How many instances this process has room for at once. [`Handlers::room_changed`] tells of changes since this was
    /// called last.
    fn most(&mut self) -> u32 {
        u32::MAX
    }

    /// Why there is no room for more, and what mends it.
    fn why_no_more(&self) -> String {
        String::new()
    }

    /// Waits until there may be room for another number of instances. If the room is too `small` now, the system is
    /// asked for more.
    fn room_changed(&self, small: bool) -> impl Future<Output = ()> + Send + use<Self> {
        let _ = small;
        std::future::pending()
    }

    /// Whether there is a newer generation than that of the last instance made or prepared. Cheap.
    fn is_newer(&mut self) -> bool;

    /// Waits until [`Handlers::is_newer`] is true.
    fn newer(&mut self) -> impl Future<Output = ()> + Send;
}

/// One generation of a policy.
pub trait Policy: Send + Sync + 'static {
    /// Checks the settings and makes the first state, from the state of the generation before if there was one. The
    /// inner `Err` is the policy's own refusal.
    ///
    /// # Errors
    /// If the policy did not answer.
    fn init(
        &self,
        settings: &[(String, String)],
        previous: Option<&[u8]>,
    ) -> impl Future<Output = Result<Result<Vec<u8>, String>, Fault>> + Send;

    /// Decides.
    ///
    /// # Errors
    /// If the policy did not answer.
    fn decide(&self, seen: &Observation, state: &[u8]) -> impl Future<Output = Result<Decision, Fault>> + Send;

    /// The code of this generation.
    fn author(&self) -> &Author;
}

/// Gives the newest generation of a policy.
pub trait Policies: Send + 'static {
    /// A generation.
    type Policy: Policy;

    /// The newest generation, if there is one yet.
    fn latest(&mut self) -> Option<Self::Policy>;

    /// Waits until there is a generation that [`Policies::latest`] has not given.
    fn newer(&mut self) -> impl Future<Output = ()> + Send;
}

/// Reads the signals of a stream and a consumer.
pub trait Source: Send + 'static {
    /// Takes a sample. `redelivered` counts the deliveries of a second or later attempt that this host has seen, ever.
    ///
    /// # Errors
    /// If the signals cannot be read.
    fn sample(&mut self, redelivered: u64) -> impl Future<Output = anyhow::Result<Sample>> + Send;
}

/// The signals are not read because the server is away, which is told once for all that need it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the server is away")]
pub struct ServerAway;

/// What the stream and the consumer said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Messages that arrived since the host started to watch. Only grows.
    pub arrivals: u64,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Deliveries not settled yet.
    pub ack_pending: u64,
    /// Messages delivered more than once and not settled yet.
    pub redelivered: u64,
    /// When the oldest message that is not settled was published: milliseconds since the Unix epoch.
    pub oldest_ms: Option<u64>,
    /// The server's time of day when it answered, by the same clock as `oldest_ms`: milliseconds since the Unix epoch.
    /// Where it is not known, the host's clock is used.
    pub now_ms: Option<u64>,
    /// When the last message arrived, since the host started to watch, if the source has seen it arrive. Otherwise the
    /// first sample that counts it tells the time.
    pub last_arrival: Option<Duration>,
}
