//! What happens in a trial: how the workload is set up, and the steps. Each is shown on one line.

use std::fmt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::{Batching, BreakerConfig, Isolation, Rate, Retry, StartLimits};

/// How long a guest's call may take.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(3);

/// How often a message is tried.
pub(super) const MAX_ATTEMPTS: u32 = 3;

pub(super) fn retry() -> Retry {
    Retry { max_attempts: MAX_ATTEMPTS, backoff: [1, 5, 20].map(Duration::from_secs).to_vec() }
}

/// What is decided before the first step.
#[derive(Clone, Copy)]
pub(super) struct ModelSetup {
    pub(super) isolation: Isolation,
    pub(super) batch: usize,
    /// The most deliveries of a call and the milliseconds that they wait for more, if the handler handles batches.
    pub(super) batches: Option<(usize, u64)>,
    /// The most deliveries of an instance at once, if the handler is of the asynchronous form.
    pub(super) concurrency: Option<usize>,
    pub(super) ack_wait: Duration,
    pub(super) max_ack_pending: usize,
    pub(super) grace: Duration,
    /// How many messages may wait for an earlier one of their key, if the order of keys is kept.
    pub(super) order: Option<usize>,
    /// How many of a key may be handled at once and how many may wait for that, where no order is kept.
    pub(super) per_key: Option<(usize, usize)>,
    /// When deliveries may begin, if that is limited.
    pub(super) limits: Option<ModelLimits>,
}

/// When deliveries may begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelLimits {
    pub(super) rate: Option<Rate>,
    pub(super) most: Option<usize>,
    pub(super) breaker: Option<BreakerConfig>,
}

impl ModelSetup {
    pub(super) fn start_limits(&self) -> StartLimits {
        let Some(ModelLimits { rate, most, breaker }) = self.limits else { return StartLimits::default() };
        StartLimits { rate, max_in_flight: most, breaker }
    }

    /// Whether a generation handles batches: every third does not, where the others do.
    pub(super) fn handles_batches(&self, generation: u64) -> bool {
        self.batches.is_some() && !generation.is_multiple_of(3)
    }

    pub(super) fn concurrency(&self) -> usize {
        self.concurrency.filter(|_| self.isolation == Isolation::Worker).unwrap_or(1)
    }

    pub(super) fn batching(&self) -> Batching {
        let (size, wait_ms) = self.batches.unwrap_or((1, 0));
        let size = if self.isolation == Isolation::Message { 1 } else { size };
        Batching { size, max_bytes: usize::MAX, wait: Duration::from_millis(wait_ms), wanted: false }
    }
}

/// How a handler's call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// With so many publications, and a reply.
    Ok(usize),
    /// Asking for another try, after a delay in milliseconds of its own.
    Retry(Option<u64>),
    Reject,
    Trap,
    /// Not within [`TIME_LIMIT`].
    Hang,
    /// With a publication that cannot be carried out.
    Nonsense,
    /// In a batch, with an answer too few.
    Short,
}

/// What a message makes of its handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) end: CallEnd,
    /// From this attempt on all is well.
    pub(super) well_from: u32,
    pub(super) takes_ms: u64,
    pub(super) key: u8,
}

impl Script {
    pub(super) fn at(&self, attempt: u32) -> CallEnd {
        if attempt < self.well_from { self.end } else { CallEnd::Ok(1) }
    }
}

/// Whether a new generation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GenerationStart {
    Works,
    /// It does, after most of the time that it may take.
    Slow,
    Fails,
}

/// How the streams of publications and dead letters do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Works,
    /// It says that it does not store.
    Refuses,
    /// It neither stores nor answers.
    Silent,
    /// It stores and does not say so.
    Mute,
}

/// A step. What has no sense at that moment, such as to cut a connection that is cut, does nothing.
#[derive(Clone, Copy)]
pub(super) enum ModelStep {
    Publish(usize, Script),
    Desire(u32),
    Pass(u64),
    Swap(GenerationStart),
    /// At the moment at which the next delivery comes.
    SwapAtNext(GenerationStart),
    Publications(Store),
    DeadLetters(Store),
    Cut,
    Mend,
    Stop,
    Lose,
    Begin,
}

fn setup() -> impl Strategy<Value = ModelSetup> {
    let isolation = prop_oneof![4 => Just(Isolation::Worker), 1 => Just(Isolation::Message)];
    let batches = (1usize..5, prop_oneof![Just(0), 1u64..3_000]);
    // One instance has either.
    let several = prop_oneof![
        Just((None, None)),
        batches.prop_map(|batches| (Some(batches), None)),
        (2usize..6).prop_map(|concurrency| (None, Some(concurrency))),
    ];
    let max_ack_pending = prop_oneof![3 => Just(100), 1 => 1usize..4];
    let limits = prop_oneof![2 => Just(None), 1 => limits().prop_map(Some)];
    let buffer = || prop_oneof![Just(100), 1usize..8];
    let keys = prop_oneof![
        2 => Just((None, None)),
        2 => buffer().prop_map(|buffer| (Some(buffer), None)),
        1 => (1usize..3, buffer()).prop_map(|few| (None, Some(few))),
    ];
    (isolation, 1usize..5, several, prop_oneof![Just(30), Just(4)], max_ack_pending, 0u64..6, limits, keys).prop_map(
        |(isolation, batch, (batches, concurrency), ack_wait, max_ack_pending, grace, limits, keys)| ModelSetup {
            isolation,
            batch: batch.max(batches.map_or(0, |(size, _)| size)).max(concurrency.unwrap_or_default()),
            batches,
            concurrency,
            ack_wait: Duration::from_secs(ack_wait),
            max_ack_pending,
            grace: Duration::from_secs(grace),
            order: keys.0,
            per_key: keys.1,
            limits,
        },
    )
}

fn limits() -> impl Strategy<Value = ModelLimits> {
    let rate = (1u64..400, 1u32..5).prop_map(|(every, burst)| Rate { every: Duration::from_millis(every), burst });
    let breaker = (1u32..4, 50u64..1_000).prop_map(|(min_calls, probe_ms)| BreakerConfig {
        ratio: 0.5,
        window: Duration::from_secs(5),
        min_calls,
        probe_interval: Duration::from_millis(probe_ms),
    });
    (proptest::option::of(rate), proptest::option::of(1usize..4), proptest::option::of(breaker))
        .prop_map(|(rate, most, breaker)| ModelLimits { rate, most, breaker })
}

fn script() -> impl Strategy<Value = Script> {
    let end = prop_oneof![
        6 => (0usize..3).prop_map(CallEnd::Ok),
        2 => proptest::option::of(0u64..10_000).prop_map(CallEnd::Retry),
        1 => Just(CallEnd::Reject),
        2 => Just(CallEnd::Trap),
        1 => Just(CallEnd::Hang),
        1 => Just(CallEnd::Nonsense),
        1 => Just(CallEnd::Short),
    ];
    let takes = prop_oneof![3 => Just(0), 3 => 0u64..200, 1 => 200u64..2900];
    (end, 2u32..=MAX_ATTEMPTS + 1, takes, 0u8..3).prop_map(|(end, well_from, takes_ms, key)| Script {
        end,
        well_from,
        takes_ms,
        key,
    })
}

fn store() -> impl Strategy<Value = Store> {
    prop_oneof![3 => Just(Store::Works), 1 => Just(Store::Refuses), 1 => Just(Store::Silent), 1 => Just(Store::Mute)]
}

fn start() -> impl Strategy<Value = GenerationStart> {
    prop_oneof![3 => Just(GenerationStart::Works), 1 => Just(GenerationStart::Slow), 1 => Just(GenerationStart::Fails)]
}

fn step() -> impl Strategy<Value = ModelStep> {
    prop_oneof![
        8 => (1usize..5, script()).prop_map(|(count, script)| ModelStep::Publish(count, script)),
        3 => (0u32..4).prop_map(ModelStep::Desire),
        8 => prop_oneof![2 => 1u64..50, 3 => 50u64..3_000, 1 => 3_000u64..40_000].prop_map(ModelStep::Pass),
        2 => start().prop_map(ModelStep::Swap),
        1 => start().prop_map(ModelStep::SwapAtNext),
        2 => store().prop_map(ModelStep::Publications),
        2 => store().prop_map(ModelStep::DeadLetters),
        1 => Just(ModelStep::Cut),
        2 => Just(ModelStep::Mend),
        1 => Just(ModelStep::Stop),
        1 => Just(ModelStep::Lose),
        2 => Just(ModelStep::Begin),
    ]
}

/// Any trial.
pub(super) fn trials() -> impl Strategy<Value = (ModelSetup, Vec<ModelStep>)> {
    (setup(), vec(step(), 1..40))
}

impl fmt::Debug for ModelSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { isolation, batch, batches, concurrency, ack_wait, max_ack_pending, grace, limits, order, per_key } =
            self;
        let life = match isolation {
            Isolation::Worker => "worker",
            Isolation::Message => "message",
        };
        write!(
            f,
            "an instance a {life}, batch {batch}, ack wait {ack_wait:?}, max ack pending {max_ack_pending}, grace \
             {grace:?}"
        )?;
        if let Some((size, wait_ms)) = batches {
            write!(f, ", calls with {size} that wait {wait_ms} ms for more")?;
        }
        if let Some(concurrency) = concurrency {
            write!(f, ", {concurrency} calls of an instance at once")?;
        }
        if let Some(buffer) = order {
            write!(f, ", in order, {buffer} wait")?;
        }
        if let Some((each, buffer)) = per_key {
            write!(f, ", {each} of a key at once, {buffer} wait")?;
        }
        limits.as_ref().map_or(Ok(()), |limits| write!(f, ", {limits:?}"))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, well_from, takes_ms, key } = self;
        write!(f, "key {key}, {end:?}")?;
        if *well_from > 2 {
            write!(f, " until attempt {well_from}")?;
        }
        if *takes_ms > 0 {
            write!(f, " after {takes_ms} ms")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ModelStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(count, script) => write!(f, "publish {count}: {script:?}"),
            Self::Desire(count) => write!(f, "desire {count}"),
            Self::Pass(ms) => write!(f, "{ms} ms pass"),
            Self::Swap(start) => write!(f, "swap the handler: {start:?}"),
            Self::SwapAtNext(start) => write!(f, "swap the handler as the next delivery comes: {start:?}"),
            Self::Publications(store) => write!(f, "publications: {store:?}"),
            Self::DeadLetters(store) => write!(f, "dead letters: {store:?}"),
            Self::Cut => f.write_str("cut the connection"),
            Self::Mend => f.write_str("mend the connection"),
            Self::Stop => f.write_str("stop the host"),
            Self::Lose => f.write_str("lose the host"),
            Self::Begin => f.write_str("start a host"),
        }
    }
}
