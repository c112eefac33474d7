//! What an instance's store holds: an empty WASI, the quota, the log, the settings.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::quota::Quota;
use super::source_lines::SourceLines;
use super::stdio::{GuestLog, GuestOutput};
use crate::plugin::capability::Settings;
use crate::plugin::capability::http::HttpState;
use crate::plugin::capability::key_value::KeyValueState;
use crate::plugin::capability::messaging::MessagingState;
use crate::plugin::limits::instance::{CALL_HANDLES, CALL_RESOURCES, RANDOM_BYTES, RESOURCES};

/// The data of an instance's store.
pub struct Guest {
    /// Before the resources, which then hold nothing that is under way.
    pub(crate) http: HttpState,
    wasi: WasiCtx,
    pub(crate) resources: ResourceTable,
    pub(crate) quota: Quota,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) settings: Settings,
    pub(crate) key_value: KeyValueState,
    /// Where its code is from, if the component tells.
    pub(crate) lines: Option<Arc<SourceLines>>,
    pub(crate) messaging: MessagingState,
    /// What a policy can ask; nothing of a handler's.
    pub(crate) signals: Signals,
}

/// What a policy can ask beside its observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signals {
    /// Whether a limit, and not the number of workers, keeps messages waiting.
    pub limited: bool,
    /// Of how many keys messages wait or are handled, if no others can come.
    pub keys_waiting: Option<u32>,
}

impl Guest {
    /// Begins a call: limits of a call hold anew.
    pub(crate) fn begin_call(&mut self) {
        self.http.begin_call();
        self.key_value.begin_call();
    }

    /// What `wasmcloud:messaging` works on.
    pub(crate) fn messaging(&mut self) -> &mut MessagingState {
        &mut self.messaging
    }

    /// Ends a call.
    pub(crate) fn end_call(&mut self) {
        self.http.end_call();
        self.key_value.end_call();
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http.view(&mut self.resources)
    }
}

/// Where a guest's clocks and random numbers come from.
pub(crate) enum Inputs<'a> {
    /// The host's clocks and random numbers.
    Real,
    /// Values that depend on a call's inputs only, so that the call can be replayed.
    Replayed {
        /// The time that every clock reads, in milliseconds since the Unix epoch.
        now_ms: u64,
        /// The random bytes, which are repeated. Not empty.
        random: &'a [u8],
        /// What a policy can ask.
        signals: Signals,
    },
}

/// A store for one instance, which may hand over `response` bytes at once. Nothing is granted: no directory, address,
/// variable or argument.
pub(crate) fn store(
    engine: &Engine,
    response: usize,
    quota: Quota,
    log: Arc<GuestLog>,
    settings: Settings,
    inputs: Inputs<'_>,
) -> Store<Guest> {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(GuestOutput { log: Arc::clone(&log), stderr: false })
        .stderr(GuestOutput { log: Arc::clone(&log), stderr: true })
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_BYTES);
    let mut asked = Signals::default();
    if let Inputs::Replayed { now_ms, random, signals } = inputs {
        asked = signals;
        wasi.wall_clock(Frozen(now_ms))
            .monotonic_clock(Frozen(now_ms))
            .secure_random(Deterministic::new(random.to_vec()))
            .insecure_random(Deterministic::new(random.to_vec()))
            .insecure_random_seed(random.iter().take(16).fold(0, |seed, byte| seed << 8 | u128::from(*byte)));
    }
    let mut resources = ResourceTable::new();
    resources.set_max_capacity(RESOURCES);
    let guest = Guest {
        wasi: wasi.build(),
        resources,
        quota,
        log,
        settings,
        http: HttpState::default(),
        key_value: KeyValueState::default(),
        lines: None,
        messaging: MessagingState::default(),
        signals: asked,
    };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.quota);
    store.set_hostcall_fuel(response);
    store.set_max_component_handles(RESOURCES);
    // The guest yields at each tick. The wall clock ends its call.
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store
}

/// Lets an instance of the asynchronous form have what so many calls need at once.
pub(crate) fn allow_for(store: &mut Store<Guest>, calls: usize) {
    let with = |each: usize| RESOURCES.saturating_add(calls.saturating_mul(each));
    store.data_mut().resources.set_max_capacity(with(CALL_RESOURCES));
    store.set_max_component_handles(with(CALL_HANDLES));
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(with(CALL_HANDLES));
    }
}

/// A clock that always reads this number of milliseconds since the Unix epoch.
struct Frozen(u64);

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}
