//! What a policy's signals are where there is no host.

use std::cell::Cell;

thread_local! {
    static LIMITED: Cell<bool> = const { Cell::new(false) };
    static KEYS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Says what [`policy::limited`](crate::policy::limited) answers from now on, on this thread. In a component the host
/// answers, and this changes nothing.
pub fn limited(limited: bool) {
    LIMITED.set(limited);
}

/// What it answers.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn is_limited() -> bool {
    LIMITED.get()
}

/// Says what [`policy::keys_waiting`](crate::policy::keys_waiting) answers from now on, on this thread. In a component
/// the host answers, and this changes nothing.
pub fn keys_waiting(keys: Option<u32>) {
    KEYS.set(keys);
}

/// What it answers.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn keys() -> Option<u32> {
    KEYS.get()
}
