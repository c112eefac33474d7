//! What the benchmark can measure, by name.

/// A kind of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// Components against native code and against the example's loop.
    Throughput,
    /// Batches of different sizes against native code.
    Batches,
    /// An order of keys against none.
    Order,
    /// The memory of messages that wait for their key.
    KeyMemory,
    /// Handlers that wait for a service.
    Waiting,
    /// Sequential requests.
    Requests,
    /// The first request to a host without workers. Its ratio is to the slowest of [`Row::Requests`].
    FromZero,
    /// A handler's file that is replaced.
    Swap,
    /// Time and memory of an instance.
    Instance,
    /// An idle host.
    Idle,
    /// Requests to instances that live for one message.
    Isolated,
    /// A publication a message, of components against native code.
    Publications,
    /// A host that starts with plugins that were compiled before.
    Start,
    /// The memory of an idle host.
    IdleMemory,
    /// A thousand idle workloads.
    ManyIdle,
    /// A thousand busy workloads.
    ManyBusy,
    /// Ten thousand workers.
    ManyWorkers,
}

impl Row {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 17] = [
        Self::Throughput,
        Self::Batches,
        Self::Order,
        Self::KeyMemory,
        Self::Waiting,
        Self::Requests,
        Self::FromZero,
        Self::Swap,
        Self::Instance,
        Self::Idle,
        Self::Isolated,
        Self::Publications,
        Self::Start,
        Self::IdleMemory,
        Self::ManyIdle,
        Self::ManyBusy,
        Self::ManyWorkers,
    ];

    /// Whether it is measured without being asked for. A thousand workloads take long to start on a busy machine.
    #[must_use]
    pub fn is_usual(self) -> bool {
        !matches!(self, Self::ManyIdle | Self::ManyBusy | Self::ManyWorkers)
    }

    /// Whether its hosts are processes of their own.
    pub(super) fn has_processes(self) -> bool {
        use Row::{IdleMemory, ManyBusy, ManyWorkers, Publications, Start};
        matches!(self, Publications | Start | IdleMemory | ManyBusy | ManyWorkers)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Batches => "batches",
            Self::Order => "order",
            Self::KeyMemory => "key-memory",
            Self::Waiting => "waiting",
            Self::Requests => "requests",
            Self::FromZero => "from-zero",
            Self::Swap => "swap",
            Self::Instance => "instance",
            Self::Idle => "idle",
            Self::Isolated => "isolated",
            Self::Publications => "publications",
            Self::Start => "start",
            Self::IdleMemory => "idle-memory",
            Self::ManyIdle => "many-idle",
            Self::ManyBusy => "many-busy",
            Self::ManyWorkers => "many-workers",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }
}

/// Some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows(Vec<Row>);

impl Rows {
    /// These.
    #[must_use]
    pub fn of(rows: Vec<Row>) -> Self {
        Self(rows)
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(&self, row: Row) -> bool {
        self.0.contains(&row)
    }

    /// Whether there is one like this.
    pub(super) fn any(&self, is: impl Fn(Row) -> bool) -> bool {
        self.0.iter().any(|row| is(*row))
    }

    /// As [`Rows::has`], as a number.
    pub(super) fn count(&self, row: Row) -> u64 {
        u64::from(self.has(row))
    }
}
