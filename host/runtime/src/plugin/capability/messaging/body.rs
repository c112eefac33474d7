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
    /// What of the call's bytes it is, but for the body of the delivery: all of it until it is read whole, for so long
    /// the host has all of it.
    _part: Option<Part>,
}

/// Ends the bodies of a call when it has ended, so that an instance that keeps them keeps nothing of the host's memory.
#[derive(Debug, Default)]
pub(super) struct OpenBodies {
    read: Vec<Weak<Mutex<Bytes>>>,
    written: Vec<Weak<Mutex<Option<Writing>>>>,
}

impl OpenBodies {
    /// A body that can be read until the call has ended.
    pub(super) fn open(&mut self, bytes: Bytes, part: Option<Part>) -> Body {
        self.read.retain(|body| body.strong_count() > 0);
        let unread = Arc::new(Mutex::new(bytes));
        self.read.push(Arc::downgrade(&unread));
        Body { unread, _part: part }
    }

    /// Collects a body that can be written until the call has ended.
    pub(super) fn collect(&mut self, part: Part) -> (Collector, Written) {
        self.written.retain(|body| body.strong_count() > 0);
        let (to, written) = oneshot::channel();
        let writing = Arc::new(Mutex::new(Some(Writing { whole: (Vec::new(), part), to })));
        self.written.push(Arc::downgrade(&writing));
        (Collector(writing), written)
    }
}

impl Drop for OpenBodies {
    fn drop(&mut self) {
        for body in self.read.iter().filter_map(Weak::upgrade) {
            body.lock().clear();
        }
        for body in self.written.iter().filter_map(Weak::upgrade) {
            body.lock().take();
        }
    }
}

impl<D: 'static> StreamProducer<D> for Body {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        to: Destination<'a, u8, VecBuffer<u8>>,
        _: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut unread = self.unread.lock();
        // Of a read without room is asked whether there is something.
        if to.remaining(store.as_context_mut()) != Some(0) {
            let mut to = to.as_direct(store, unread.len().min(CHUNK));
            let room = to.remaining();
            let count = room.len().min(unread.len());
            let read = unread.split_to(count);
            room.iter_mut().zip(&read).for_each(|(to, from)| *to = *from);
            to.mark_written(read.len());
        }
        let ended = unread.is_empty();
        Poll::Ready(Ok(if ended { StreamResult::Dropped } else { StreamResult::Completed }))
    }
}

/// All that a guest has written, and what it takes of what its call may have.
pub(super) type Whole = (Vec<u8>, Part);

/// What a guest writes, once it has written all of it. An error means that its call has ended before.
pub(super) type Written = oneshot::Receiver<Result<Whole, Refused>>;

/// What a guest has written so far, until it is handed over.
#[derive(Debug)]
struct Writing {
    whole: Whole,
    to: oneshot::Sender<Result<Whole, Refused>>,
}

/// Collects what a guest writes, within what its call may have.
pub(super) struct Collector(Arc<Mutex<Option<Writing>>>);

impl Collector {
    fn end(writing: Option<Writing>, refused: Option<Refused>) {
        if let Some(Writing { whole, to }) = writing {
            // An error means that nobody waits any more.
            let _ = to.send(refused.map_or(Ok(whole), Err));
        }
    }
}

/// The stream has ended.
impl Drop for Collector {
    fn drop(&mut self) {
        Self::end(self.0.lock().take(), None);
    }
}

impl<D: 'static> StreamConsumer<D> for Collector {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        _: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let more = source.remaining();
        let mut writing = self.0.lock();
        let Some(Writing { whole: (bytes, part), .. }) = &mut *writing else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        if let Err(refused) = part.add(more.len()) {
            Self::end(writing.take(), Some(refused));
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        bytes.extend_from_slice(more);
        let count = more.len();
        source.mark_read(count);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::oneshot::error::TryRecvError;

    use super::super::held_bytes::HeldBytes;
    use super::*;

    #[test]
    fn what_is_written_ends_with_its_call_and_takes_no_more_of_its_bytes() {
        let (bytes, mut bodies) = (HeldBytes::new(10), OpenBodies::default());
        let (whole, mut came) = bodies.collect(bytes.part(4).unwrap());
        drop(whole);
        assert!(came.try_recv().unwrap().is_ok());
        let (kept, mut written) = bodies.collect(bytes.part(10).unwrap());
        assert_eq!(written.try_recv().unwrap_err(), TryRecvError::Empty);
        assert!(bytes.part(1).is_err());
        drop(bodies);
        assert_eq!(written.try_recv().unwrap_err(), TryRecvError::Closed);
        bytes.part(10).unwrap();
        drop(kept);
    }
}
