//! The guests that ship as components, built from their sources.
//!
//! The build script builds them, with a cargo of its own and for WebAssembly; the constants here are the bytes.

macro_rules! component {
    ($file:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".wasm"))
    };
}

/// The policies that ship with tidegate.
pub mod policies {
    /// So many workers that each has a given share of the backlog.
    pub const BACKLOG: &[u8] = component!("backlog");
    /// As many workers as process the backlog in a given time.
    pub const DRAIN: &[u8] = component!("drain");
    /// Always the same number of workers.
    pub const FIXED: &[u8] = component!("fixed");
    /// As many workers as the messages in the system need, with a stable and a panic window.
    pub const KPA: &[u8] = component!("kpa");
    /// As few workers as let a share of the messages wait no longer than an objective.
    pub const OBJECTIVE: &[u8] = component!("objective");
    /// One worker more a tick while the rate needs it, one less a tick after a quiet time.
    pub const STEP: &[u8] = component!("step");
    /// As many workers as keep them busy to a target.
    pub const UTILIZATION: &[u8] = component!("utilization");
    /// All of them, by the names of their plugins.
    pub const ALL: &[(&str, &[u8])] = &[
        ("backlog", BACKLOG),
        ("drain", DRAIN),
        ("fixed", FIXED),
        ("kpa", KPA),
        ("objective", OBJECTIVE),
        ("step", STEP),
        ("utilization", UTILIZATION),
    ];
}

/// The handlers that ship with tidegate.
pub mod workers {
    /// Puts the messages of a batch into one.
    pub const ARCHIVE: &[u8] = component!("archive");
    /// Publishes each message on once, and drops what it has seen.
    pub const DEDUPE: &[u8] = component!("dedupe");
    /// Replies with the payload.
    pub const ECHO: &[u8] = component!("echo");
    /// Publishes each message on, so many times.
    pub const FAN_OUT: &[u8] = component!("fan-out");
    /// Asks a price service by HTTP and publishes the answer.
    pub const FETCH: &[u8] = component!("fetch");
    /// The same in the asynchronous form.
    pub const FETCH_ASYNC: &[u8] = component!("fetch-async");
    /// Has each message published once more, later.
    pub const LATER: &[u8] = component!("later");
    /// From an order to a receipt.
    pub const RECEIPTS: &[u8] = component!("receipts");
    /// An empty reply to every message: the no-op of measurements.
    pub const REPLY: &[u8] = component!("reply");
    /// The same for batches.
    pub const REPLY_BATCH: &[u8] = component!("reply-batch");
    /// Waits as long as the payload says.
    pub const WAIT: &[u8] = component!("wait");
    /// Counts words as long as its instance lives.
    pub const WORD_COUNT: &[u8] = component!("word-count");
    /// All of them, by the names of their plugins.
    pub const ALL: &[(&str, &[u8])] = &[
        ("archive", ARCHIVE),
        ("dedupe", DEDUPE),
        ("echo", ECHO),
        ("fan-out", FAN_OUT),
        ("fetch", FETCH),
        ("fetch-async", FETCH_ASYNC),
        ("later", LATER),
        ("receipts", RECEIPTS),
        ("reply", REPLY),
        ("reply-batch", REPLY_BATCH),
        ("wait", WAIT),
        ("word-count", WORD_COUNT),
    ];
}
