use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::ConfigFiles;
use crate::plugin::Stamp;

/// The files as they are at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Option<Stamp>>);

impl Snapshot {
    pub(super) fn take(files: &ConfigFiles) -> Self {
        let fragments = files.fragments().unwrap_or_default();
        let paths = [files.file().to_owned()].into_iter().chain(fragments);
        Self(paths.map(|path| (of(&path), path)).map(|(print, path)| (path, print)).collect())
    }
}

fn of(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}
