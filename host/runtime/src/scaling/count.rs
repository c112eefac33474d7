//! From a policy's decision to the number of workers that is wanted. Pure: no clock, no IO.

/// The number of workers that is wanted after a decision, where `before` were wanted: the decided count within the
/// limits. But the last worker stays while it is `needed`: while messages wait, and for one interval after a message
/// started it. So no message is left behind, and a policy that wants no workers does not stop each worker that a
/// message starts.
pub fn carried_out(desired: u32, (min, max): (u32, u32), before: u32, needed: bool) -> u32 {
    match clamp(desired, min, max) {
        0 if before > 0 && needed => 1,
        count => count,
    }
}

/// A decided count within the limits. `min <= max` is checked when the configuration is read.
pub fn clamp(desired: u32, min: u32, max: u32) -> u32 {
    desired.min(max).max(min.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_worker_stays_while_it_is_needed() {
        assert_eq!(carried_out(0, (0, 8), 3, true), 1);
        assert_eq!(carried_out(0, (0, 8), 3, false), 0);
        // A worker is started by a message that finds none, not because messages wait.
        assert_eq!(carried_out(0, (0, 8), 0, true), 0);
        assert_eq!(carried_out(0, (2, 8), 3, true), 2);
        assert_eq!(carried_out(9, (0, 8), 0, true), 8);
    }
}
