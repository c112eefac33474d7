//! Puts files into place.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Puts a file in place whole, for a host may be looking.
pub(super) fn put(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let for_all = Permissions::from_mode(0o644);
    let mut part = tempfile::Builder::new().prefix(".").suffix(".part").permissions(for_all).tempfile_in(dir)?;
    part.write_all(bytes)?;
    part.persist(file).map_err(|error| error.error)?;
    Ok(())
}
