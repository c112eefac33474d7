//! Several calls of one instance at a time, for handlers of the asynchronous form.
//!
//! wasmtime cannot cancel a call: whoever does not wait for it only loses its result. So what ends a call ends the
//! instance with all its calls. And a timer among the calls may not be polled while the guest holds the store, so the
//! timer is around all of them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime::component::Accessor;

use super::guest::Guest;
use super::handler::{HandlerExports, HandlerInstance, answer, short};
use super::owned_delivery::{HandleAsync, OwnedDelivery};
use crate::contract::{Delivery, Failure, Fault, Outcome};
use crate::delivery::slow_lane;
use crate::plugin::capability::messaging::{self, HandleStreamed};
use crate::ports::ConcurrentCall;

/// Calls that begin in one poll. If all began at once, a guest whose calls only wait would seem to compute for long,
/// and would be moved to the slow lane.
const BEGIN: usize = 8;

/// The exported function by which calls are made.
#[derive(Clone, Copy)]
enum Entry {
    Contract(HandleAsync),
    Messages(HandleStreamed),
}

/// A call, and what shows that it has not ended yet.
type Begun = (ConcurrentCall, Arc<()>);

impl HandlerInstance {
    /// Runs the calls that come, all at once, until no more can come and all have ended. The guest runs only while this
    /// is polled.
    ///
    /// # Errors
    /// The [`Fault`] of one of the calls, nobody knows of which. The instance is gone then, with all its calls.
    /// Dropping the future while calls run ends them, and the instance cannot be called again.
    pub(crate) async fn run(&mut self, calls: UnboundedReceiver<ConcurrentCall>) -> Result<(), Fault> {
        let Some(live) = self.live.as_mut().filter(|_| !self.calling) else {
            return Err(Fault::Start("this instance ended with an earlier call".into()));
        };
        let entry = match &live.exports {
            HandlerExports::Concurrent(handle) => Entry::Contract(*handle),
            HandlerExports::Streamed(handle) => Entry::Messages(*handle),
            _ => return Err(Fault::Start("this instance handles one delivery at a time".into())),
        };
        self.calling = true;
        live.store.data_mut().quota.forget();
        live.store.set_epoch_deadline(1);
        let limit = self.limits.time;
        let (begun, inside) = unbounded_channel();
        let called = {
            let serving = async move |accessor: &Accessor<Guest>| serve(accessor, entry, inside).await;
            let running = pin!(live.store.run_concurrent(serving));
            let running = pin!(self.engines.ticker.during(running));
            let running = pin!(slow_lane::watch_each(running, |time| self.meter.spent(time)));
            within(limit, calls, begun, running).await
        };
        self.close(called.map(Result::flatten))
    }

    /// Runs one call.
    pub(super) async fn run_alone(&mut self, delivery: &Delivery) -> Outcome {
        let (begin, calls) = unbounded_channel();
        let (answer, answered) = oneshot::channel();
        let _ = begin.send(ConcurrentCall { delivery: delivery.clone(), answer });
        drop(begin);
        self.run(calls).await?;
        answered.await.map_err(|_| Fault::Start("this instance ended".into()))
    }
}

/// Polls `running`, and hands each call to it. Ends it when a call has had its time.
async fn within<T>(
    limit: Duration,
    mut calls: UnboundedReceiver<ConcurrentCall>,
    begun: UnboundedSender<Begun>,
    mut running: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Fault> {
    let (mut begun, mut deadlines) = (Some(begun), Deadlines::default());
    poll_fn(|context| {
        for left in (0..BEGIN).rev() {
            let Some(to) = &begun else { break };
            match calls.poll_recv(context) {
                // An error means that all has ended, which is seen below.
                Poll::Ready(Some(call)) => {
                    drop(to.send((call, deadlines.begin(Instant::now() + limit))));
                    if left == 0 {
                        context.waker().wake_by_ref();
                    }
                }
                Poll::Ready(None) => begun = None,
                Poll::Pending => break,
            }
        }
        match running.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Ok(ended)),
            Poll::Pending => deadlines.poll_passed(context).map(|()| Err(Fault::Time(limit))),
        }
    })
    .await
}

/// When the calls that run have to be done. All have the same time, so they are in order.
#[derive(Default)]
struct Deadlines {
    calls: VecDeque<(Instant, Weak<()>)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadlines {
    /// A call runs until what is returned is dropped.
    fn begin(&mut self, until: Instant) -> Arc<()> {
        let call = Arc::new(());
        self.calls.push_back((until, Arc::downgrade(&call)));
        call
    }

    /// Ready when a call still runs that has to be done.
    fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.calls.front().is_some_and(|(_, call)| call.strong_count() == 0) {
            self.calls.pop_front();
        }
        let Some((first, _)) = self.calls.front() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(*first)));
        if timer.deadline() != *first {
            timer.as_mut().reset(*first);
        }
        timer.as_mut().poll(context)
    }
}

/// Begins each call that comes, within the store, and waits for all of them.
async fn serve(accessor: &Accessor<Guest>, entry: Entry, mut calls: UnboundedReceiver<Begun>) -> wasmtime::Result<()> {
    let (mut running, mut open) = (FuturesUnordered::new(), true);
    loop {
        tokio::select! {
            biased;
            call = calls.recv(), if open => match call {
                Some(call) => {
                    let alone = running.is_empty();
                    running.push(one(accessor, entry, call, alone));
                }
                None => open = false,
            },
            Some(done) = running.next() => done?,
            else => return Ok(()),
        }
    }
}

async fn one(
    accessor: &Accessor<Guest>,
    entry: Entry,
    (ConcurrentCall { delivery, answer: to }, begun): Begun,
    alone: bool,
) -> wasmtime::Result<()> {
    accessor.with(|mut access| {
        let guest = access.data_mut();
        guest.begin_call();
        // Where several run, a line may be of any of them.
        guest.log.begin_call(if alone { delivery.stream_sequence } else { 0 });
    });
    let handled = match entry {
        Entry::Contract(handle) => {
            let (handled,) = handle.call_concurrent(accessor, (OwnedDelivery::from(&delivery),)).await?;
            answer(handled)
        }
        Entry::Messages(handle) => {
            messaging::handle(accessor, Guest::messaging, handle, &delivery).await?.map_err(|failure| match failure {
                Failure::Reject(reason) => Failure::Reject(short(reason)),
                failure => failure,
            })
        }
    };
    accessor.with(|mut access| access.data_mut().end_call());
    drop(begun);
    // Nobody waits for it if its worker gives it back.
    let _ = to.send(handled);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_call_that_still_runs_says_when_time_is_up() {
        let (mut deadlines, start) = (Deadlines::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(poll_fn(|context| deadlines.poll_passed(context)).now_or_never().is_none());
        let (first, second) = (deadlines.begin(at(10)), deadlines.begin(at(20)));
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(first);
        poll_fn(|context| deadlines.poll_passed(context)).await;
        assert_eq!(Instant::now(), at(20));
        drop(second);
        assert!(poll_fn(|context| deadlines.poll_passed(context)).now_or_never().is_none());
    }
}
