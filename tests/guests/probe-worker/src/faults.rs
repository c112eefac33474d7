//! What a handler should not do.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use crate::bindings::wasi::config::store;
use crate::bindings::wasi::logging::logging::{Level, log};
use crate::script::Storm;

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

/// Calls a function of the host until it is stopped.
pub(crate) fn storm(storm: Storm) -> ! {
    let mut stdout = std::io::stdout();
    loop {
        match storm {
            Storm::Clock => drop(black_box(Instant::now())),
            Storm::Log => log(Level::Trace, "storm", "a line"),
            Storm::Settings => drop(black_box(store::get_all())),
            // What is refused is no reason to stop.
            Storm::Stdout => drop(stdout.write_all(b"a line of standard output\n")),
        }
    }
}

/// Writes so many bytes to standard error, in lines of 100.
pub(crate) fn flood(bytes: usize) {
    let line = [[b'x'; 99].as_slice(), b"\n"].concat();
    let block = line.repeat(640);
    let mut stderr = std::io::stderr();
    for _ in 0..bytes.div_ceil(block.len()) {
        // What is refused is no reason to stop.
        drop(stderr.write_all(&block));
    }
}

/// Calls itself until the stack is used up.
#[allow(unconditional_recursion, reason = "that is the fault")]
pub(crate) fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    overflow(depth.wrapping_add(1)).wrapping_add(frame.iter().copied().fold(0, u64::wrapping_add))
}
