//! What a call has under way. It ends with the call, whatever the guest keeps: a connection is the host's.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// The exchanges of one call.
#[derive(Debug)]
pub(super) struct Exchanges {
    ended: watch::Sender<bool>,
    bodies: Mutex<Vec<Weak<Slot>>>,
}

/// A response's body, until it has been read or the call ends.
type Slot = Mutex<Option<OpenBody>>;

#[derive(Debug)]
struct OpenBody {
    body: WasiBody,
    _place: Place,
}

/// A place among the requests under way, until both bodies of one are done with.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

impl Default for Exchanges {
    fn default() -> Self {
        Self { ended: watch::Sender::new(false), bodies: Mutex::default() }
    }
}

impl Exchanges {
    /// Runs until the call ends.
    pub(super) async fn during<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(Error::ConnectionTerminated),
            done = work => done,
        }
    }

    /// Whether the call has ended. Those that wait learn it one after the other, and the first give their places back
    /// to the last.
    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// What the guest sends, which ends in an error when the call ends: otherwise its connection would wait for the
    /// rest of it.
    pub(super) fn sends(&self, body: WasiBody, place: Place) -> RequestBody {
        let mut ended = self.ended.subscribe();
        let ended = Box::pin(async move { drop(ended.wait_for(|ended| *ended).await) });
        RequestBody { body, ended, _place: place }
    }

    /// A body that is gone when the call ends.
    pub(super) fn hold(&self, body: WasiBody, place: Place, pause: Option<Duration>) -> ResponseBody {
        let is_read = body.is_end_stream();
        let open = (!is_read).then_some(OpenBody { body, _place: place });
        let slot = Arc::new(Mutex::new(open));
        let mut bodies = self.bodies.lock();
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&slot));
        // Between the response and this the call may have ended.
        if self.has_ended() {
            drop(slot.lock().take());
        }
        ResponseBody { slot, is_read, pause: pause.map(|pause| (pause, Box::pin(sleep(pause)))) }
    }

    pub(super) fn end(&self) {
        self.ended.send_replace(true);
        for slot in self.bodies.lock().drain(..) {
            if let Some(slot) = slot.upgrade() {
                drop(slot.lock().take());
            }
        }
    }
}

/// What the guest sends.
pub(super) struct RequestBody {
    body: WasiBody,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: Place,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() && self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the guest reads.
pub(super) struct ResponseBody {
    slot: Arc<Slot>,
    is_read: bool,
    /// How long the guest wants to wait for the next part of it.
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let slot = Arc::clone(&self.slot);
        let mut slot = slot.lock();
        let Some(open) = slot.as_mut() else {
            let was_read = std::mem::replace(&mut self.is_read, true);
            return Poll::Ready((!was_read).then_some(Err(Error::ConnectionTerminated)));
        };
        let mut polled = Pin::new(&mut open.body).poll_frame(context);
        if let (Poll::Pending, Some((_, sleep))) = (&polled, &mut self.pause)
            && sleep.as_mut().poll(context).is_ready()
        {
            polled = Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        }
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) => {
                if let Some((pause, sleep)) = &mut self.pause {
                    sleep.as_mut().reset(Instant::now() + *pause);
                }
            }
            Poll::Ready(None | Some(Err(_))) => {
                self.is_read = true;
                *slot = None;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_read || self.slot.lock().as_ref().is_some_and(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.slot.lock().as_ref().map(|open| open.body.size_hint()).unwrap_or_default()
    }
}
