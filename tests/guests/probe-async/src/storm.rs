//! What a handler should not do: use what the host keeps for it, without end.

use std::task::Poll;

use crate::bindings::wasi::clocks::monotonic_clock::wait_for;
use crate::bindings::wit_stream;

/// Begins waits of years, and never ends one.
pub(crate) async fn subtasks() {
    loop {
        let mut waiting = Box::pin(wait_for(u64::MAX / 2));
        let begun = std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await;
        assert!(begun, "the wait is over");
        std::mem::forget(waiting);
    }
}

/// Makes streams, and keeps them.
pub(crate) fn streams() {
    loop {
        std::mem::forget(wit_stream::new::<u8>());
    }
}
