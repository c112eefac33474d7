//! Two sets of OS threads: a task whose guest computes for long goes on, on threads that get only the processor time
//! that others leave.
//!
//! A guest that spins yields at each tick, but so do all others like it, and on the runtime's own threads each turn of
//! one is a wait for everybody else. So a task that calls guests is run by [`roam`]. It begins on the runtime's own
//! threads, the fast lane. As soon as its guest was seen to compute, the task moves to threads of low priority, the
//! slow lane. It comes back when it has been calm for a while. Cheap calls never move, and pay nothing for this.
//!
//! What counts is processor time. By the wall clock, a guest that is interrupted by others seems to compute: on a busy
//! machine well-behaved guests would be moved, and among guests that spin they would never seem calm again.
//!
//! Rejected: a cap on how many guests compute at once. It wastes idle processors, and the guests below the cap are
//! still in the way.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// How much of a processor's time one poll may take on the fast lane.
const LONG: Duration = Duration::from_millis(1);
/// How long a task on the slow lane must have no long poll before it comes back.
const CALM: Duration = Duration::from_secs(1);
/// The nice value of the slow lane's threads: where both lanes want a processor, the fast lane gets 96 % of it. The
/// lowest priority would starve work that is merely slow.
const NICE: i32 = 15;

thread_local! {
    /// What was seen of the task that this thread polls now.
    static SEEN: Cell<CallSeen> = const { Cell::new(CallSeen { computed: false, suspect: false }) };
}

#[derive(Debug, Clone, Copy)]
struct CallSeen {
    /// A guest computed for long in this poll.
    computed: bool,
    /// A call took long by the wall clock, so the next call is timed in processor time too. Reading that clock takes
    /// half a microsecond, which is a tenth of a small call.
    suspect: bool,
}

type LaneWork<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn note(change: impl FnOnce(&mut CallSeen)) {
    let mut seen = SEEN.get();
    change(&mut seen);
    SEEN.set(seen);
}

/// The processor time that this thread has used.
pub(crate) fn spent() -> Duration {
    // This clock is never negative, and exists wherever there are threads.
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// Polls a guest's call that was not done at its first poll, and notes if a poll computes for long.
pub(crate) fn watch<T>(call: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = T> {
    watch_each(call, |_| {})
}

/// The same, and tells the processor time of each poll.
pub(crate) fn watch_each<T>(
    mut call: Pin<&mut impl Future<Output = T>>,
    tell: impl Fn(Duration),
) -> impl Future<Output = T> {
    poll_fn(move |context| {
        let began = spent();
        let polled = call.as_mut().poll(context);
        let time = spent().saturating_sub(began);
        if time >= LONG {
            note(|seen| seen.computed = true);
        }
        tell(time);
        polled
    })
}

/// A call that may be done at its first poll.
#[derive(Debug)]
pub(crate) struct Call {
    /// The processor time when the call began, if it is measured.
    spent: Option<Duration>,
}

impl Call {
    pub(crate) fn begin() -> Self {
        Self { spent: SEEN.get().suspect.then(spent) }
    }

    /// Must be awaited when the call was done at its first poll, after `time` by the wall clock. If that is long, this
    /// yields to other tasks: no tick interrupts a guest that hands over many bytes, because the host copies them.
    pub(crate) async fn make_way(self, time: Duration) {
        let long = time >= LONG;
        let computed = long && self.spent.is_some_and(|before| spent().saturating_sub(before) >= LONG);
        if long || self.spent.is_some() {
            note(|seen| *seen = CallSeen { computed: seen.computed || computed, suspect: long });
        }
        if long {
            tokio::task::yield_now().await;
        }
    }
}

/// Must be awaited when a guest's call ended badly. Making its instance anew costs more than most calls do, so it is
/// done on the slow lane.
pub(crate) async fn step_down() {
    step_down_later();
    tokio::task::yield_now().await;
}

/// The same where the outcome is needed first: the task moves when it next waits.
pub(crate) fn step_down_later() {
    note(|seen| seen.computed = true);
}

/// The lane that work of one kind was on when it last ended.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    slow: AtomicBool,
}

/// Runs work that calls guests, on the lane that fits its cost. Dropping the future ends the work. The future is small,
/// however large the work: a worker's is kept as long as it lives.
pub(crate) fn roam<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send + 'static {
    let work: LaneWork<T> = Box::pin(work);
    async move { roam_boxed(&Lane::default(), work).await }
}

/// As [`roam`], for work that ends and is done again: it begins on the lane where the last run ended.
pub(crate) fn roam_from<T: Send + 'static>(
    lane: &Lane,
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send {
    roam_boxed(lane, Box::pin(work))
}

async fn roam_boxed<T: Send + 'static>(lane: &Lane, mut work: LaneWork<T>) -> T {
    let mut slowly = lane.slow.load(Relaxed);
    let mut suspect = false;
    loop {
        if !slowly && let Some(done) = poll_fn(|context| on_fast(&mut work, &mut suspect, context)).await {
            return done;
        }
        slowly = false;
        let Some(slow) = slow() else { return work.await };
        let mut moved = Moved(slow.spawn(on_slow(work, Handle::current())));
        match (&mut moved.0).await {
            Ok((_, Some((done, computed)))) => {
                lane.slow.store(computed, Relaxed);
                return done;
            }
            Ok((back, None)) => work = back,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The task is cancelled only when this future is dropped, so nobody waits.
                Err(_) => return std::future::pending().await,
            },
        }
    }
}

/// Polls on the fast lane. `None` if the work has to move to the slow lane.
fn on_fast<T>(work: &mut LaneWork<T>, suspect: &mut bool, context: &mut Context<'_>) -> Poll<Option<T>> {
    match look(work, suspect, context) {
        (Poll::Ready(done), _) => Poll::Ready(Some(done)),
        (Poll::Pending, true) => Poll::Ready(None),
        (Poll::Pending, false) => Poll::Pending,
    }
}

/// Polls once, and returns also whether a guest computed for long. Where one roaming task polls another, only the inner
/// one learns of it, and moves.
fn look<T>(work: &mut LaneWork<T>, suspect: &mut bool, context: &mut Context<'_>) -> (Poll<T>, bool) {
    let outer = SEEN.replace(CallSeen { computed: false, suspect: *suspect });
    let polled = work.as_mut().poll(context);
    let seen = SEEN.replace(outer);
    *suspect = seen.suspect;
    (polled, seen.computed)
}

/// Runs work on the slow lane until it is done or calm. If it is done, also returns whether it has computed for long.
/// The work's timers and tasks stay on the runtime it came from.
async fn on_slow<T>(mut work: LaneWork<T>, home: Handle) -> (LaneWork<T>, Option<(T, bool)>) {
    let came = Instant::now();
    let mut last = came;
    let done = poll_fn(|context| {
        let _home = home.enter();
        // All work on the slow lane is suspect.
        let (polled, computed) = look(&mut work, &mut true, context);
        let now = Instant::now();
        if computed {
            last = now;
        }
        match polled {
            Poll::Ready(done) => Poll::Ready(Some((done, last > came))),
            Poll::Pending if now.duration_since(last) >= CALM => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    (work, done)
}

/// Aborts the task when this is dropped.
struct Moved<T>(JoinHandle<T>);

impl<T> Drop for Moved<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The slow lane of this process. It has as many threads as there are processors, so it may use all that nobody else
/// needs.
fn slow() -> Option<&'static Runtime> {
    static SLOW: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || {
        let threads = available_parallelism().map_or(1, Into::into);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("tidegate-slow").on_thread_start(lower_priority);
        builder.build().inspect_err(|error| tracing::warn!(%error, "no threads for guests that compute")).ok()
    };
    SLOW.get_or_init(start).as_ref()
}

/// Lowers the priority of this thread alone. That is possible on Linux only; elsewhere all threads stay equal.
fn lower_priority() {
    if cfg!(target_os = "linux") {
        // A process may always lower its priority. If the system refuses, all threads stay equal.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::pin::pin;
    use std::thread::{current, sleep};

    use tokio::task::yield_now;

    use super::*;

    fn lane() -> String {
        current().name().unwrap_or_default().to_owned()
    }

    /// A guest that computes for some polls of a few milliseconds.
    async fn compute(polls: u32) {
        for _ in 0..polls {
            yield_now().await;
            spin();
        }
    }

    fn spin() {
        let began = spent();
        while spent() - began < LONG * 3 {}
    }

    #[test]
    fn it_keeps_large_work_once_and_is_small_itself() {
        let large = || async {
            let kept = [0u8; 10_000];
            yield_now().await;
            kept.len()
        };
        assert!(size_of_val(&large()) >= 10_000);
        let of = Lane::default();
        let (once, again) = (size_of_val(&roam(large())), size_of_val(&roam_from(&of, large())));
        assert!(once < 1_000 && again < 1_000, "{once} and {again} bytes");
    }

    #[tokio::test]
    async fn work_that_computes_moves_and_the_rest_stays() {
        let moved = roam(async {
            watch(pin!(compute(3))).await;
            lane()
        });
        assert_eq!(moved.await, "tidegate-slow");
        let stays = roam(async {
            watch(pin!(yield_now())).await;
            lane()
        });
        assert_ne!(stays.await, "tidegate-slow");
    }

    #[tokio::test]
    async fn it_comes_back_when_it_is_calm() {
        roam(async {
            watch(pin!(compute(3))).await;
            assert_eq!(lane(), "tidegate-slow");
            while lane() == "tidegate-slow" {
                tokio::time::sleep(CALM / 10).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn who_is_only_interrupted_stays() {
        let stays = roam(async {
            for _ in 0..3 {
                watch(pin!(async {
                    yield_now().await;
                    sleep(LONG * 3);
                }))
                .await;
                let call = Call::begin();
                sleep(LONG * 3);
                call.make_way(LONG * 3).await;
            }
            lane()
        });
        assert_ne!(stays.await, "tidegate-slow");
    }

    #[tokio::test]
    async fn a_call_that_is_done_at_once_is_measured_too() {
        let moved = roam(async {
            Call::begin().make_way(LONG / 2).await;
            for time in 1..=2 {
                assert_ne!(lane(), "tidegate-slow", "before time {time}");
                let call = Call::begin();
                spin();
                call.make_way(LONG * 3).await;
            }
            lane()
        });
        assert_eq!(moved.await, "tidegate-slow");
    }

    #[tokio::test]
    async fn who_steps_down_is_on_the_slow_lane_at_once() {
        let moved = roam(async {
            step_down().await;
            lane()
        });
        assert_eq!(moved.await, "tidegate-slow");
    }

    #[tokio::test]
    async fn work_begins_where_it_ended_last() {
        let of = Lane::default();
        let first = async |polls| {
            roam_from(&of, async move {
                let first = lane();
                watch(pin!(compute(polls))).await;
                first
            })
            .await
        };
        assert_ne!(first(3).await, "tidegate-slow");
        assert_eq!(first(3).await, "tidegate-slow");
        assert_eq!(first(0).await, "tidegate-slow");
        assert_ne!(first(0).await, "tidegate-slow");
    }

    #[tokio::test]
    async fn dropping_it_ends_what_has_moved() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let (moved, has_moved) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(roam(async move {
            let _alive = alive;
            watch(pin!(compute(3))).await;
            moved.send(()).unwrap();
            std::future::pending::<()>().await;
        }));
        has_moved.await.unwrap();
        task.abort();
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    async fn a_panic_is_that_of_the_task() {
        let task = tokio::spawn(roam(async {
            watch(pin!(compute(3))).await;
            assert_eq!(lane(), "", "on purpose");
        }));
        let panic = task.await.unwrap_err().into_panic();
        assert!(panic.downcast_ref::<String>().unwrap().contains("on purpose"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_slow_lane_has_a_low_priority() {
        let nice = async || {
            watch(pin!(compute(3))).await;
            rustix::process::getpriority_process(None).unwrap()
        };
        assert_eq!(roam(async move { nice().await }).await, NICE);
        assert!(rustix::process::getpriority_process(None).unwrap() < NICE);
    }
}
