//! From what the user wrote, in a file, flags and variables, to what the program uses: every value decided, every
//! default in place.
//!
//! Here belong the table of keys ([`keys`]), the readers of files and variables, and the types of the answer. The
//! command line does not: it makes [`Flags`] out of the same table. Whether servers and plugins fit the answer is found
//! out by those who use it.
//!
//! A key is looked up in [`keys`], found by `document`, `environment` or a flag, kept in a [`Layer`] with its place,
//! and made a value of the right type by `reader`, for a field of [`Config`].

mod batching;
mod changes;
mod concurrency;
mod connection;
mod context;
mod dead_letters;
mod document;
mod environment;
mod error;
mod files;
mod fingerprints;
mod flags;
mod fleet;
mod grants;
mod http_admin;
mod http_grants;
mod journal;
pub mod keys;
mod kv_grants;
mod layer;
mod limits;
mod load;
mod locate;
mod loops;
mod names;
mod nats;
mod nats_headers;
mod oci;
mod oci_reference;
mod order;
mod order_key;
mod own_subjects;
mod partitions;
mod per_key;
mod plugins;
mod queue;
mod reader;
mod retry;
mod rollout;
mod scale;
mod service;
mod setting;
mod spread;
mod start_limits;
mod telemetry;
#[cfg(test)]
mod tests;
pub mod units;
mod userinfo;
mod value;
mod words;
mod workload;
mod workloads;
mod written;

pub use batching::Batching;
pub use changes::{Change, ReloadPlan, plan};
pub use dead_letters::DeadLetters;
pub use environment::{Environment, process_environment};
pub use error::{ConfigError, ConfigErrors, Wrong};
pub use files::{ConfigFiles, DEFAULT_FILE};
pub use fingerprints::Fingerprints;
pub use flags::Flags;
pub use fleet::FleetConfig;
pub use grants::Grants;
pub use http_admin::HttpAdmin;
pub use http_grants::HttpGrant;
pub use journal::{JournalConfig, JournalFile, JournalStream};
pub(crate) use kv_grants::check_key;
pub use kv_grants::{KvAccess, KvGrant};
pub use layer::Layer;
pub use limits::Limits;
pub use load::{Config, Reading};
pub use locate::KeyLocator;
pub use names::{is_plugin_name, is_workload_name, nearest, overlap as subjects_overlap};
pub(crate) use nats::JETSTREAM_API;
pub use nats::{Auth, Nats};
pub use nats_headers::NatsHeaders;
pub use oci::OciConfig;
pub use oci_reference::{OciReference, OciVersion};
pub use order::Order;
pub use order_key::OrderKey;
pub(crate) use own_subjects::{DEAD_LETTERS, JOURNAL, own_subject};
pub(crate) use partitions::published;
pub use partitions::{Partition, SubjectMapping};
pub use per_key::PerKey;
pub use plugins::{Compile, Origin, Plugins};
pub(crate) use queue::HOSTS_AHEAD;
pub use queue::Queue;
pub use retry::Retry;
pub use rollout::RolloutConfig;
pub use scale::{PullConfig, Scale};
pub use service::ServiceConfig;
pub use setting::Setting;
pub use start_limits::{BreakerConfig, Rate, StartLimits};
pub use telemetry::TelemetryConfig;
pub use value::{Value, ValueType, setting};
pub use words::{Isolation, Manage, Retention, SignalSource};
pub use workload::{ShadowConfig, Workload};
