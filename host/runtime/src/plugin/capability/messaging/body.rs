//! The bodies of messages as streams of bytes, which the host holds whole.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wasmtime::{AsContextMut as _, Result, StoreContextMut};

use super::held_bytes::Part;
use super::refused::Refused;

/// Bytes that are handed over at once where the host itself reads them, as of a body that is sent on.
const CHUNK: usize = 64 << 10;

/// A body that a guest reads.
pub(super) struct Body {
    unread: Arc<Mutex<Bytes>>,
    /// What of the call's bytes it is, but for the body of the delivery.
    part: Option<Part>,
}

/// Ends the bodies of a call when it has ended, so that an instance that keeps them keeps nothing of the host's memory.
#[derive(Debug, Default)]
pub(super) struct OpenBodies(Vec<Weak<Mutex<Bytes>>>);

impl OpenBodies {
    /// A body that can be read until the call has ended.
    pub(super) fn open(&mut self, bytes: Bytes, part: Option<Part>) -> Body {
        self.0.retain(|body| body.strong_count() > 0);
        let unread = Arc::new(Mutex::new(bytes));
        self.0.push(Arc::downgrade(&unread));
        Body { unread, part }
    }
}

impl Drop for OpenBodies {
    fn drop(&mut self) {
        for body in self.0.iter().filter_map(Weak::upgrade) {
            body.lock().clear();
        }
    }
}

impl<D: 'static> StreamProducer<D> for Body {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        to: Destination<'a, u8, VecBuffer<u8>>,
        _: bool,
    ) -> Poll<Result<StreamResult>> {
        let body = &mut *self;
        let mut unread = body.unread.lock();
        // Of a read without room is asked whether there is something.
        if to.remaining(store.as_context_mut()) != Some(0) {
            let mut to = to.as_direct(store, unread.len().min(CHUNK));
            let room = to.remaining();
            let count = room.len().min(unread.len());
            let read = unread.split_to(count);
            room.iter_mut().zip(&read).for_each(|(to, from)| *to = *from);
            to.mark_written(read.len());
            if let Some(part) = &mut body.part {
                part.give_back(read.len());
            }
        }
        let ended = unread.is_empty();
        Poll::Ready(Ok(if ended { StreamResult::Dropped } else { StreamResult::Completed }))
    }
}

/// All that a guest has written, and what it takes of what its call may have.
type Whole = (Vec<u8>, Part);

/// What a guest writes, once it has written all of it.
pub(super) type Written = oneshot::Receiver<Result<Whole, Refused>>;

/// Collects what a guest writes, within what its call may have.
pub(super) struct Collector {
    /// What was written, until it is handed over.
    written: Option<Whole>,
    to: Option<oneshot::Sender<Result<Whole, Refused>>>,
}

impl Collector {
    pub(super) fn new(part: Part) -> (Self, Written) {
        let (to, written) = oneshot::channel();
        (Self { written: Some((Vec::new(), part)), to: Some(to) }, written)
    }

    fn end(&mut self, refused: Option<Refused>) {
        let written = self.written.take();
        if let (Some(to), Some(written)) = (self.to.take(), written) {
            // An error means that the call that waited has ended.
            let _ = to.send(refused.map_or(Ok(written), Err));
        }
    }
}

/// The stream has ended.
impl Drop for Collector {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl<D: 'static> StreamConsumer<D> for Collector {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let more = source.remaining();
        let Some((bytes, part)) = &mut self.written else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        if let Err(refused) = part.add(more.len()) {
            self.end(Some(refused));
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        bytes.extend_from_slice(more);
        let count = more.len();
        source.mark_read(count);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
