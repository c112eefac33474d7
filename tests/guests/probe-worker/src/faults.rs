//! What a handler should not do.

use std::hint::black_box;

/// Runs until it is stopped.
pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Takes memory until there is none, and touches all of it.
pub(crate) fn grow() -> ! {
    loop {
        std::mem::forget(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Calls itself until the stack is used up.
#[allow(unconditional_recursion, reason = "that is the fault")]
pub(crate) fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    overflow(depth.wrapping_add(1)).wrapping_add(frame.iter().copied().fold(0, u64::wrapping_add))
}
