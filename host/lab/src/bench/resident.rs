//! Resident memory of this process.

use anyhow::Context as _;

use tidegate_runtime::process_status::ProcessStatus;

/// In KiB.
pub(super) fn resident_kib() -> anyhow::Result<u64> {
    let status = ProcessStatus::read().context("resident memory can be read on Linux only")?;
    status.number("VmRSS").context("VmRSS")
}
