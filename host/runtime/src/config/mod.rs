//! What the program uses: every value decided, every default in place.
//!
//! What the user wrote is another type, in `file`; `resolve` turns one into the other before anything is opened.

mod connection;
mod context;
mod document;
mod error;
mod file;
mod flags;
mod flags_file;
mod journal_file;
mod load;
mod names;
mod resolve;
#[cfg(test)]
mod tests;
pub mod units;
mod value;
mod words;
mod written;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use connection::ConnectionFlags;
pub use error::{ConfigError, ConfigErrors, Wrong};
pub use flags::{Flags, HostFlags, WorkloadFlags, setting};
pub use journal_file::JournalFile;
pub use load::{Environment, process_environment};
pub(crate) use names::is_plugin_name;
pub use names::{nearest, overlap as subjects_overlap};
pub use written::Written;

/// Everything [`crate::host()`] needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How to reach the servers.
    pub nats: Nats,
    /// Where the plugins are.
    pub plugins: Plugins,
    /// Where dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Where decisions are kept; nowhere by default.
    pub journal: Journal,
    /// How long workers may take to finish what they have when the host stops (30 s).
    pub grace: Duration,
    /// Where health, metrics and status can be read over HTTP; nowhere by default.
    pub http: Option<SocketAddr>,
    /// Names under which that may be asked for, beside addresses and `localhost` (none).
    pub http_names: Vec<String>,
    /// At least one, with distinct names and distinct consumers.
    pub workloads: Vec<Workload>,
}

/// The stream that keeps dead letters. All but its name counts only where the host makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// Its name (`TIDEGATE_DEAD`).
    pub stream: String,
    /// Servers that keep a copy (1).
    pub replicas: usize,
    /// How long a letter is kept; `None` is for ever.
    pub max_age: Option<Duration>,
    /// Bytes of all letters together; `None` is no limit. A letter that does not fit is not taken, and its message stays
    /// in its own stream.
    pub max_bytes: Option<i64>,
}

impl DeadLetters {
    /// The stream that is used if no other is named.
    pub const STREAM: &str = "TIDEGATE_DEAD";
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { stream: Self::STREAM.to_owned(), replicas: 1, max_age: None, max_bytes: None }
    }
}

/// Where every decision is kept with what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Journal {
    /// A file of this host alone.
    pub file: Option<JournalFile>,
    /// A stream.
    pub stream: Option<JournalStream>,
}

/// The stream that keeps a journal. All but its name counts only where the host makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStream {
    /// Its name.
    pub name: String,
    /// Servers that keep a copy (1).
    pub replicas: usize,
    /// How long a line is kept; `None` is until there is no room.
    pub max_age: Option<Duration>,
    /// Bytes of all lines together (1 GiB); the oldest go first.
    pub max_bytes: i64,
}

/// A NATS connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nats {
    /// Server URLs, at least one.
    pub servers: Vec<String>,
    /// Who the host says it is.
    pub auth: Auth,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The first tokens of the subjects on which this client listens for answers; `None` is `_INBOX`, as everybody has it.
    pub inbox_prefix: Option<String>,
}

impl Nats {
    /// The first tokens of the subjects on which this client listens for answers.
    pub fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }
}

/// How a client proves who it is. Its `Debug` keeps the secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// It does not.
    #[default]
    None,
    /// User and password.
    User {
        /// The user's name.
        name: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Token(String),
    /// A file with an nkey seed.
    Nkey(PathBuf),
    /// A `.creds` file with a JWT and a seed.
    Creds(PathBuf),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::User { name, .. } => f.debug_struct("User").field("name", name).finish_non_exhaustive(),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Nkey(file) => f.debug_tuple("Nkey").field(file).finish(),
            Self::Creds(file) => f.debug_tuple("Creds").field(file).finish(),
        }
    }
}

/// The plugin directory and the cache of compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    /// The directory with `*.wasm` files.
    pub dir: PathBuf,
    /// How often the directory is read even if no event came (5 s).
    pub rescan: Duration,
    /// Where compiled code is kept; `None` compiles at every start.
    pub cache: Option<PathBuf>,
    /// What a plugin's file may cost before it runs.
    pub compile: Compile,
}

/// What a plugin's file may cost before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compile {
    /// The program that compiles, in a process of its own and within the bounds below: `tidegate` itself, as
    /// [`Compile::by_this_program`] has it. With `None` this process compiles, without a bound.
    pub program: Option<PathBuf>,
    /// Bytes of a plugin's file (64 MiB).
    pub max_size: u64,
    /// Wall-clock time of compiling one plugin (60 s).
    pub time: Duration,
    /// Bytes of memory of compiling one plugin (2 GiB).
    pub memory: u64,
}

impl Default for Compile {
    fn default() -> Self {
        Self { program: None, max_size: 64 << 20, time: Duration::from_secs(60), memory: 2 << 30 }
    }
}

impl Compile {
    /// The same in a process of its own, for programs that have the command `compile` of `tidegate`.
    ///
    /// # Errors
    /// If this program's file cannot be found.
    pub fn by_this_program(self) -> std::io::Result<Self> {
        // On Linux the program that runs, even if its file was replaced meanwhile: what one compiles the other must load.
        let program =
            if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe()? };
        Ok(Self { program: Some(program), ..self })
    }
}

/// One consumer's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The name, which is also the first token of its dead letters' subject.
    pub name: String,
    /// The stream and the consumer.
    pub queue: Queue,
    /// The handler's plugin name.
    pub handler: String,
    /// The policy's plugin name.
    pub policy: String,
    /// How long a handler instance lives.
    pub isolation: Isolation,
    /// What the handler reads through `wasi:config/store`.
    pub settings: Vec<(String, String)>,
    /// What the policy gets in `init`.
    pub policy_settings: Vec<(String, String)>,
    /// A policy that is asked too, and not listened to.
    pub shadow: Option<Shadow>,
    /// How many workers, and how that is decided.
    pub scale: Scale,
    /// How workers fetch.
    pub pull: Pull,
    /// Where the handler's effects may go.
    pub grants: Grants,
    /// What a guest may spend.
    pub limits: Limits,
    /// What happens after a failure.
    pub retry: Retry,
}

/// A policy that is asked beside the one that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Its plugin name.
    pub policy: String,
    /// What it gets in `init`: its own settings, or the workload's `policy-settings` if it has none.
    pub settings: Vec<(String, String)>,
}

impl Workload {
    /// What a person should know, as far as the file says it.
    pub fn warnings(&self) -> Vec<String> {
        let reads = if self.queue.filter.is_empty() { &self.queue.subjects } else { &self.queue.filter };
        self.grants.loop_over(reads).into_iter().collect()
    }
}

/// A stream and the durable consumer that a workload works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The stream's name.
    pub stream: String,
    /// The durable consumer's name.
    pub consumer: String,
    /// Whether the host makes what is missing.
    pub manage: Manage,
    /// The stream's subjects, where the host makes the stream.
    pub subjects: Vec<String>,
    /// The stream's retention, where the host makes the stream.
    pub retention: Retention,
    /// Bytes of the stream, where the host makes it; `None` is no limit.
    pub max_bytes: Option<i64>,
    /// The subjects the consumer is limited to; empty means all.
    pub filter: Vec<String>,
    /// How long the server waits for a settlement before it delivers again (30 s).
    pub ack_wait: Duration,
    /// Deliveries that may be unsettled at once; derived from workers and batch unless given.
    pub max_ack_pending: i64,
    /// Pulls that may wait at once, of all hosts (512). A host has a few, however many workers it runs.
    pub max_waiting: i64,
    /// The durable consumer of the `headers` source.
    pub watch_consumer: String,
}

/// Whether the host may make streams and consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {
    /// They must be there, with settings that can work.
    Bind,
    /// What is missing is created; what is there must have settings that can work.
    Create,
}

/// When a stream lets go of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// When its limits say so.
    Limits,
    /// When every consumer has acknowledged it.
    Interest,
    /// When the one consumer has acknowledged it.
    Workqueue,
}

/// How long a handler instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// As long as its worker.
    Worker,
    /// For one message.
    Message,
}

/// How many workers, and how that is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// The fewest workers. 0 parks the workload when its policy says so.
    pub min: u32,
    /// The most workers.
    pub max: u32,
    /// Time between decisions (1 s).
    pub interval: Duration,
    /// What rates are measured over (5 s).
    pub window: Duration,
    /// Where the signals come from.
    pub source: Source,
}

/// Where the signals of an observation come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Consumer and stream state.
    Info,
    /// A headers-only consumer that sees every message.
    Headers,
}

/// How workers fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The most deliveries a worker holds at once (100).
    pub batch: usize,
    /// Bytes of messages that wait for workers (64 MiB).
    pub max_bytes: usize,
    /// How long a pull waits at the server (5 s).
    pub expires: Duration,
}

/// What a guest may spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time of one handler call (10 s).
    pub time: Duration,
    /// Bytes of memory of one instance, all its memories together (64 MiB).
    pub memory: usize,
    /// Elements of one instance's tables, all together (100,000).
    pub table_elements: usize,
    /// Core instances, memories and tables, each, that one component may have (100).
    pub instances: usize,
    /// Instructions of one policy call, as wasmtime counts fuel (1,000,000,000).
    pub fuel: u64,
    /// Bytes that a guest may hand the host at once, as in a response with all its publications (16 MiB).
    pub response: usize,
    /// Publications of one response (1,000).
    pub publications: usize,
    /// Bytes that all instances of a workload's handler, or of its policy, may log in a second (256 KiB).
    pub log_rate: usize,
    /// Handler instances made anew in a second after a call that did not end well (100).
    pub respawns: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            memory: 64 << 20,
            table_elements: 100_000,
            instances: 100,
            fuel: 1_000_000_000,
            response: 16 << 20,
            publications: 1_000,
            log_rate: 256 << 10,
            respawns: 100,
        }
    }
}

/// Where the effects of a handler may go: subjects, with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// What it may publish on; nothing by default.
    pub publish: Vec<String>,
    /// Where a requester may have the reply sent (`_INBOX.>`). Whoever may publish to the stream chooses that subject, and
    /// the host's rights are not theirs.
    pub reply: Vec<String>,
}

impl Default for Grants {
    fn default() -> Self {
        Self { publish: Vec::new(), reply: vec!["_INBOX.>".to_owned()] }
    }
}

impl Grants {
    /// Whether the handler may publish on a literal subject.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish.iter().any(|granted| names::overlap(granted, subject))
    }

    /// What a person should know where the handler may publish on a subject that its own workload reads.
    pub fn loop_over(&self, reads: &[String]) -> Option<String> {
        let (granted, read) = self
            .publish
            .iter()
            .find_map(|granted| reads.iter().find(|read| names::overlap(granted, read)).map(|read| (granted, read)))?;
        Some(format!(
            "grants.publish has `{granted}`, and this workload reads `{read}`: what its handler publishes there comes back to \
             it, maybe without end; grant less, or limit the consumer with filter"
        ))
    }

    /// Whether a reply may go to a literal subject.
    pub fn may_reply(&self, subject: &str) -> bool {
        self.reply.iter().any(|granted| names::overlap(granted, subject))
    }
}

/// What happens after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often a handler tries a message before it becomes a dead letter (5); at least 1.
    pub max_attempts: u32,
    /// The delay after the first, second, ... attempt; the last one repeats.
    pub backoff: Vec<Duration>,
}

impl Retry {
    /// How often a message is delivered at most. Deliveries that no host saw the end of, for it was killed, count here alone.
    pub fn max_deliveries(&self) -> u32 {
        self.max_attempts.saturating_mul(3)
    }

    /// The delay after a failed attempt, which counts from 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff.get(index).or(self.backoff.last()).copied().unwrap_or_default()
    }
}
