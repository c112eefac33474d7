//! Makes guests yield: at each tick a guest that runs lets other tasks have their turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::EngineWeak;

/// How long a guest computes before it yields.
const TICK: Duration = Duration::from_millis(10);

/// An OS thread that increments the engines' epochs while guests' calls run. After a tick in which none ran it sleeps
/// until one does, so an idle host wakes for its decisions alone.
///
/// It is a thread and not a task, because guests that spin may hold every thread of the async runtime.
pub(crate) struct Ticker {
    state: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerState {
    engines: Mutex<Vec<EngineWeak>>,
    /// Whether a guest ran since the last tick. It is no counter, because every call of every worker would write to
    /// that.
    ran: AtomicBool,
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl Ticker {
    /// Starts the thread. It holds the engines weakly, and ends when this value is dropped.
    pub(crate) fn start(engines: Vec<EngineWeak>) -> std::io::Result<Self> {
        let state = Arc::new(TickerState { engines: Mutex::new(engines), ..TickerState::default() });
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("tidegate-ticker".into()).spawn(move || tick(&shared))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Increments the epoch of one more engine from now on.
    pub(crate) fn add(&self, engine: EngineWeak) {
        self.state.engines.lock().push(engine);
    }

    /// Runs a guest's call under the ticker. A call that computes for longer than a tick yields, and keeps the thread
    /// awake by being polled again.
    pub(crate) fn during<T>(&self, mut call: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = T> {
        poll_fn(move |context| {
            self.keep_awake();
            call.as_mut().poll(context)
        })
    }

    fn keep_awake(&self) {
        if !self.state.ran.load(Ordering::SeqCst) {
            self.state.ran.store(true, Ordering::SeqCst);
        }
        if self.state.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.wake();
        // The thread is not joined: this may be dropped on an async thread, and the thread ends within a tick.
    }
}

fn tick(state: &TickerState) {
    while !state.ended.load(Ordering::SeqCst) {
        // `sleep` parks too, so an unpark may come here. It only shortens a tick.
        std::thread::park_timeout(TICK);
        for engine in state.engines.lock().iter() {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            engine.increment_epoch();
        }
        if !state.ran.swap(false, Ordering::SeqCst) {
            sleep(state);
        }
    }
}

/// Sleeps until a guest runs or the ticker ends.
fn sleep(state: &TickerState) {
    // Announced first, checked second: a call that begins between the two sees the announcement or is seen.
    state.asleep.store(true, Ordering::SeqCst);
    while !state.ran.load(Ordering::SeqCst) && !state.ended.load(Ordering::SeqCst) {
        std::thread::park();
    }
    state.asleep.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn wait_until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_while_no_guest_runs_and_wakes_with_the_next_call() {
        let ticker = Ticker::start(Vec::new()).unwrap();
        let asleep = || ticker.state.asleep.load(Ordering::SeqCst);
        wait_until(asleep);
        assert_eq!(ticker.during(pin!(std::future::ready(1))).now_or_never(), Some(1));
        wait_until(|| !asleep());
        wait_until(asleep);
    }

    #[test]
    fn its_thread_ends_with_it_even_asleep() {
        let ticker = Ticker::start(Vec::new()).unwrap();
        let state = Arc::downgrade(&ticker.state);
        wait_until(|| ticker.state.asleep.load(Ordering::SeqCst));
        drop(ticker);
        wait_until(|| state.upgrade().is_none());
    }
}
