//! What is there without a host: the plugins of a place, and of one file its digest and its signature.

use std::io;
use std::path::{Path, PathBuf};

use super::source::{hash, parsed, read_signature};
use crate::config::Plugins;
use crate::config::units::show_size;
use crate::digest::Digest;
use crate::signature::{Signature, SignatureError};

/// A plugin that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPlugin {
    /// Its name.
    pub name: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its digest, if it could be read.
    pub digest: Option<Digest>,
    /// Whose signature it has, whatever that is worth.
    pub signed_by: Option<String>,
    /// Why a host would not take it, as far as that can be said without compiling it.
    pub problem: Option<String>,
}

/// Why plugins cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("the plugin directory {} cannot be read: {reason}; create it, or name another with --plugins or plugins.dir",
    dir.display())]
pub struct ListError {
    dir: PathBuf,
    reason: io::Error,
}

/// The plugins in the directory of a configuration, by name.
///
/// # Errors
/// If the directory cannot be read. What is wrong with one plugin is told with it.
pub fn found_in(plugins: &Plugins) -> Result<Vec<FoundPlugin>, ListError> {
    let failed = |reason| ListError { dir: plugins.dir.clone(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&plugins.dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "wasm") {
            found.push(of_file(&path, plugins));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn of_file(file: &Path, plugins: &Plugins) -> FoundPlugin {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let most = plugins.compile.max_size;
    let digest = match bytes {
        bytes if bytes > most => Err(format!("it has {bytes} bytes, more than {}", show_size(&most))),
        _ => digest_of_file(file).map_err(|error| format!("it cannot be read: {error}")),
    };
    let signature = parsed(&read_signature(file));
    let trusted = &plugins.origin.trusted;
    let problem = match (&digest, &signature) {
        (Err(problem), _) => Some(problem.clone()),
        _ if trusted.is_empty() => None,
        (Ok(digest), Ok(signature)) => signature.check(digest, trusted).err().map(|error| error.to_string()),
        (Ok(_), Err(error)) => Some(error.to_string()),
    };
    let signed_by = signature.ok().map(|signature| signature.key().to_owned());
    FoundPlugin { name, bytes, digest: digest.ok(), signed_by, problem }
}

/// The digest that names a generation of a plugin: the SHA-256 of its file.
///
/// # Errors
/// If it is no file, or cannot be read.
pub fn digest_of_file(file: &Path) -> io::Result<Digest> {
    // It is looked at before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    hash(std::fs::File::open(file)?)
}

/// The signature beside a file.
///
/// # Errors
/// If there is none.
pub fn signature_of(file: &Path) -> Result<Signature, SignatureError> {
    parsed(&read_signature(file))
}
