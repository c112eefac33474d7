//! The time that another process has spent on all cores.

use std::fs;
use std::time::Duration;

/// By what Linux tells of each of its threads; `None` elsewhere, or if there is no such process.
pub(super) fn process_time(process: u32) -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // A thread that has ended meanwhile is left out.
        let Ok(told) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        nanos += told.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_this_process_grows_as_it_computes() {
        let time = || process_time(std::process::id()).unwrap_or_default();
        let before = time();
        while time() < before + Duration::from_millis(20) {}
        assert_eq!(process_time(u32::MAX), None);
    }
}
