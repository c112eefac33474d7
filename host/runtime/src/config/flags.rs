//! The flags of `tidegate run` and `tidegate check`: what the user typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::connection::ConnectionFlags;
use super::units;
use super::words::Word;
use super::{Isolation, Manage, Retention, Source};

/// What to run, as typed.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct Flags {
    /// The configuration file [default: tidegate.toml, if it is there and no --stream is given]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub connection: ConnectionFlags,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub host: HostFlags,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub workload: WorkloadFlags,
}

/// What all workloads share, as typed.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Host")]
pub struct HostFlags {
    /// The directory with the plugins, which are *.wasm files [default: plugins]
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<String>,
    /// How often the plugin directory is read even if no event came, 100ms to 1h [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub rescan: Option<Duration>,
    /// Where compiled plugins are kept [default: $XDG_CACHE_HOME/tidegate/compiled or ~/.cache/tidegate/compiled]
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    pub cache_dir: Option<String>,
    /// Compile every plugin at every start
    #[arg(long)]
    pub no_cache: bool,
    /// The largest plugin file, 1KiB to 1GiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_plugin_size: Option<u64>,
    /// How long compiling one plugin may take, 1s to 1h [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub compile_time: Option<Duration>,
    /// Memory that compiling one plugin may take, 128MiB to 64GiB [default: 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub compile_memory: Option<u64>,
    /// The stream that keeps dead letters [default: TIDEGATE_DEAD]
    #[arg(long, value_name = "STREAM")]
    pub dead_letters: Option<String>,
    /// A file for every decision with what led to it, which `tidegate replay` reads [default: none]
    #[arg(long, value_name = "FILE")]
    pub journal: Option<String>,
    /// Where health, metrics and status can be read over HTTP; a port alone is on the loopback address [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Names under which that may be asked for, beside addresses and localhost; separated by commas [default: none]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub http_names: Option<Vec<String>>,
    /// How long workers may take to finish what they have when the host stops, at most 1h [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub grace: Option<Duration>,
}

/// One workload, as typed: a workload of its own, or changes to one in the configuration file.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Workload (the one in the file, or one made of flags alone)")]
pub struct WorkloadFlags {
    /// The workload's name; with a file of several workloads, the one that the flags change [default: the handler's name]
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// The stream to work on
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// The durable consumer [default: WORKLOAD-workers]
    #[arg(long, value_name = "CONSUMER")]
    pub consumer: Option<String>,
    /// Whether the host makes a stream and consumer that are missing [default: create without a file, bind with one]
    #[arg(long, value_name = "HOW", value_parser = word::<Manage>())]
    pub manage: Option<Manage>,
    /// Subjects of the stream, where the host makes it; separated by commas
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    pub subjects: Option<Vec<String>>,
    /// When the stream lets go of a message, where the host makes it [default: limits]
    #[arg(long, value_name = "WHEN", value_parser = word::<Retention>())]
    pub retention: Option<Retention>,
    /// Subjects that the consumer is limited to; separated by commas [default: all]
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    pub filter: Option<Vec<String>>,
    /// How long the server waits for a settlement before it delivers again, 1s to 24h [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub ack_wait: Option<Duration>,
    /// Deliveries that may be unsettled at once, more than max x batch; -1 is no limit [default: max x batch x 2, at least 1000]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub max_ack_pending: Option<i64>,
    /// Pulls that may wait at once, of all hosts, at least 16; a host has a few [default: 512]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub max_waiting: Option<i64>,
    /// The plugin that handles a message, by name: receipts for receipts.wasm
    #[arg(long, value_name = "PLUGIN")]
    pub handler: Option<String>,
    /// The plugin that decides the number of workers, by name
    #[arg(long, value_name = "PLUGIN")]
    pub policy: Option<String>,
    /// How long a handler instance lives [default: worker]
    #[arg(long, value_name = "LIFE", value_parser = word::<Isolation>())]
    pub isolation: Option<Isolation>,
    /// A setting that the handler reads; may be given several times
    #[arg(long = "setting", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// A setting that the policy gets; may be given several times
    #[arg(long = "policy-setting", value_name = "KEY=VALUE", value_parser = setting)]
    pub policy_settings: Vec<(String, String)>,
    /// A policy that is asked too, by name; what it decides is only noted
    #[arg(long, value_name = "PLUGIN")]
    pub shadow: Option<String>,
    /// A setting that the shadow gets; may be given several times [default: those of the policy]
    #[arg(long = "shadow-setting", value_name = "KEY=VALUE", value_parser = setting)]
    pub shadow_settings: Vec<(String, String)>,
    /// The fewest workers, 0 to max; with 0 an idle workload has none [default: 0]
    #[arg(long, value_name = "WORKERS", allow_negative_numbers = true)]
    pub min: Option<i64>,
    /// The most workers, 1 to 10000 [default: 16]
    #[arg(long, value_name = "WORKERS", allow_negative_numbers = true)]
    pub max: Option<i64>,
    /// Time between decisions of the policy, 10ms to 1h [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub interval: Option<Duration>,
    /// What rates are measured over, interval to 1h [default: 5s, or the interval if that is longer]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub window: Option<Duration>,
    /// Where the policy's signals come from: consumer state, or a headers-only consumer [default: info]
    #[arg(long, value_name = "SOURCE", value_parser = word::<Source>())]
    pub source: Option<Source>,
    /// The durable consumer of --source headers [default: CONSUMER-watch]
    #[arg(long, value_name = "CONSUMER")]
    pub watch_consumer: Option<String>,
    /// The most deliveries a worker holds at once, 1 to 10000 [default: 100]
    #[arg(long, value_name = "DELIVERIES", allow_negative_numbers = true)]
    pub batch: Option<i64>,
    /// Bytes of messages that wait for workers, 1MiB to 64GiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub max_bytes: Option<u64>,
    /// How long a pull waits at the server, 1s to 5m [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub expires: Option<Duration>,
    /// Wall-clock time of one handler call, 1ms to 1h [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub limit_time: Option<Duration>,
    /// Memory of one instance, 64KiB to 4GiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub limit_memory: Option<u64>,
    /// Elements of one instance's tables, all together, 1 to 10000000 [default: 100000]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub limit_table_elements: Option<i64>,
    /// Core instances, memories and tables, each, of one component, 1 to 10000 [default: 100]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub limit_instances: Option<i64>,
    /// Instructions of one policy call, as fuel, at least 10000 [default: 1000000000]
    #[arg(long, value_name = "FUEL", allow_negative_numbers = true)]
    pub limit_fuel: Option<i64>,
    /// Bytes that a guest may hand the host at once, as in a response with all its publications, 64KiB to 256MiB [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub limit_response: Option<u64>,
    /// Publications of one response, 0 to 100000 [default: 1000]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub limit_publications: Option<i64>,
    /// Bytes that all instances of a plugin may log in a second, 1KiB to 1GiB [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub limit_log_rate: Option<u64>,
    /// Instances made anew in a second after a call that did not end well, 1 to 100000 [default: 100]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub limit_respawns: Option<i64>,
    /// Subjects that the handler may publish on; separated by commas [default: none]
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    pub grant_publish: Option<Vec<String>>,
    /// Subjects that a requester may have the reply sent to; separated by commas [default: _INBOX.>]
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    pub grant_reply: Option<Vec<String>>,
    /// How often a message is delivered before it becomes a dead letter, 1 to 10000 [default: 5]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub max_attempts: Option<i64>,
    /// Delays after the first, second, ... failed attempt; the last one repeats; 0s to 7days each [default: 1s,5s,30s,2m]
    #[arg(long, value_name = "DURATION", value_delimiter = ',', value_parser = units::duration)]
    pub backoff: Option<Vec<Duration>>,
}

fn word<W: Word>() -> impl TypedValueParser<Value = W> {
    PossibleValuesParser::new(W::WORDS.iter().map(|(word, _)| *word)).try_map(|word| W::parse(&word))
}

/// A setting as `KEY=VALUE`.
///
/// # Errors
/// If it has no key.
pub fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}
