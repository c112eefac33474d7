//! What Linux tells of another process.

use std::fs;

use anyhow::Context as _;

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib_of(process: u32) -> anyhow::Result<u64> {
    status(process, "VmRSS")
}

/// A part of a process's memory as `/proc/PID/smaps_rollup` names it, in KiB.
pub(crate) fn smaps_kib(process: u32, field: &str) -> anyhow::Result<u64> {
    let file = format!("/proc/{process}/smaps_rollup");
    number(&fs::read_to_string(&file).with_context(|| file.clone())?, field).context(file)
}

/// The memory mappings of a process.
pub(crate) fn mappings(process: u32) -> anyhow::Result<usize> {
    let file = format!("/proc/{process}/maps");
    let maps = fs::read(&file).context(file)?;
    Ok(maps.iter().filter(|byte| **byte == b'\n').count())
}

fn status(process: u32, field: &str) -> anyhow::Result<u64> {
    let file = format!("/proc/{process}/status");
    number(&fs::read_to_string(&file).with_context(|| file.clone())?, field).context(file)
}

fn number(text: &str, field: &str) -> anyhow::Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()).context(field.to_owned())?;
    Ok(number.parse()?)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_has_memory_and_mappings() {
        let own = std::process::id();
        assert!(resident_kib_of(own).unwrap() > 0 && mappings(own).unwrap() > 0);
        assert!(smaps_kib(own, "Anonymous").unwrap() > 0 && smaps_kib(own, "Nothing").is_err());
        assert!(resident_kib_of(u32::MAX).is_err());
    }
}
