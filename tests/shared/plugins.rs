//! Plugin directories.

use std::io;
use std::path::Path;

use tidegate_artifacts::policies;
use tidegate_test_artifacts::probes;

/// Puts `probe` (handler), `probe-batch`, `probe-policy`, `fixed`, `step` and `backlog` into place.
pub(crate) fn install_all(dir: &Path) -> io::Result<()> {
    let all = [
        ("probe", probes::WORKER_V1),
        ("probe-batch", probes::BATCH),
        ("probe-policy", probes::POLICY_V1),
        ("fixed", policies::FIXED),
        ("step", policies::STEP),
        ("backlog", policies::BACKLOG),
    ];
    all.into_iter().try_for_each(|(name, bytes)| install(dir, name, bytes))
}

/// Puts a plugin into place as users should: written beside, then renamed.
pub(crate) fn install(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = dir.join(format!(".{name}.new"));
    std::fs::write(&beside, bytes)?;
    std::fs::rename(beside, dir.join(format!("{name}.wasm")))
}
