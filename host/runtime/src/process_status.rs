//! What Linux tells of this process in `/proc/self/status`; nothing elsewhere.

/// All of it, read at one moment.
#[derive(Debug)]
pub struct ProcessStatus(String);

impl ProcessStatus {
    /// None where there is no such file.
    pub fn read() -> Option<Self> {
        std::fs::read_to_string("/proc/self/status").ok().map(Self)
    }

    /// The number of a field such as `Threads`. Sizes as `VmRSS` are in KiB.
    pub fn number(&self, field: &str) -> Option<u64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = ProcessStatus("VmSize:\t  12 kB\nVmRSS:\t   345 kB\nThreads:\t7\n".to_owned());
        assert_eq!(
            (status.number("VmRSS"), status.number("Threads"), status.number("Thread")),
            (Some(345), Some(7), None)
        );
    }
}
