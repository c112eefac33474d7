//! What was fetched from registries, kept on disk: a host that starts while a registry is away goes on with it.
//!
//! A file a reference, with the manifest and the component in one, so that both change together. What is read counts
//! only with its digests. Which manifest belongs to a tag is told by nothing else, so the directory must be this user's
//! alone, as that of compiled code.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cache::{self, CacheError};
use crate::clock::time_of_day;
use crate::digest::sha256;
use crate::registry::Artifact;

/// The first line of each file, before the length of the manifest.
const FIRST: &str = "tidegate-oci-v1 ";
/// The extension of each.
const EXTENSION: &str = "oci";
/// The key of the configuration that names the directory.
const KEY: &str = "plugins.oci.cache";
/// Bytes of the largest file beside the component itself.
const BESIDE: u64 = 1 << 20;
/// How many references are kept. The oldest make room.
const KEPT: usize = 64;

/// The directory, or why nothing is kept.
#[derive(Debug, Clone)]
pub(super) struct RegistryCache(Option<PathBuf>);

impl RegistryCache {
    /// Opens it, and makes it if it is not there. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, String> {
        let prepared = dir.map(cache::prepare).transpose();
        prepared.map(Self).map_err(|error| of_key(&error))
    }

    /// One that keeps nothing.
    pub(super) fn off() -> Self {
        Self(None)
    }

    fn file(&self, reference: &str) -> Option<PathBuf> {
        Some(file(self.0.as_ref()?, reference))
    }

    /// What is kept of a reference, if it is whole and has at most so many bytes. Blocks.
    pub(super) fn get(&self, reference: &str, most: u64) -> Option<(Artifact, Vec<u8>)> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(self.file(reference)?).ok()?;
        // The oldest make room, and this one is used. A directory that cannot be written to keeps what it has.
        let _ = file.set_modified(time_of_day());
        file.take(most.saturating_add(BESIDE)).read_to_end(&mut bytes).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let length = std::str::from_utf8(bytes.get(..end)?).ok()?.strip_prefix(FIRST)?.parse::<usize>().ok()?;
        let rest = bytes.get(end + 1..)?;
        let (manifest, component) = rest.split_at_checked(length)?;
        let artifact = Artifact::of(manifest.to_vec()).ok()?;
        (sha256(component) == artifact.component).then(|| (artifact, component.to_vec()))
    }

    /// Keeps this in place of what was kept of the reference. Says whether it did: one that keeps nothing does not. A
    /// directory that somebody has removed is made again. Blocks.
    ///
    /// # Errors
    /// Why it cannot be written, in the same words each time.
    pub(super) fn put(&self, reference: &str, artifact: &Artifact, component: &[u8]) -> Result<bool, String> {
        let Some(dir) = &self.0 else { return Ok(false) };
        cache::forget_abandoned(dir);
        let written = match write(dir, reference, artifact, component) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = cache::prepare(dir).map_err(|error| of_key(&error))?;
                write(&dir, reference, artifact, component)
            }
            other => other,
        };
        written.map_err(|error| format!("{}: {} ({KEY})", dir.display(), cache::words(&error)))?;
        make_room(dir);
        Ok(true)
    }
}

/// What is wrong with the directory, with the key that names it.
fn of_key(error: &CacheError) -> String {
    format!("{error} ({KEY})")
}

/// The file that keeps what a reference leads to.
fn file(dir: &Path, reference: &str) -> PathBuf {
    dir.join(format!("{}.{EXTENSION}", sha256(reference.as_bytes())))
}

/// Writes it beside the file that is there, and then in its place.
fn write(dir: &Path, reference: &str, artifact: &Artifact, component: &[u8]) -> io::Result<()> {
    let mut whole = tempfile::NamedTempFile::new_in(dir)?;
    writeln!(whole, "{FIRST}{}", artifact.manifest.len())?;
    whole.write_all(&artifact.manifest)?;
    whole.write_all(component)?;
    whole.persist(file(dir, reference))?;
    Ok(())
}

/// Removes the oldest files beyond those that are kept. What cannot be removed stays, and is tried again the next time.
fn make_room(dir: &Path) {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            // Another host may just have removed it.
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            kept.push((modified, path));
        }
    }
    kept.sort_unstable();
    let more = kept.len().saturating_sub(KEPT);
    for (_, path) in kept.into_iter().take(more) {
        let removed = std::fs::remove_file(&path);
        tracing::debug!(file = %path.display(), ?removed, "made room where plugins of registries are kept");
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const NAME: &str = "oci://r.io/a:1";

    /// The artifact of this component, as a registry would describe it.
    pub(in crate::plugin::load) fn artifact(component: &[u8]) -> Artifact {
        let digest = sha256(component);
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"","size":0}},
            "layers":[{{"mediaType":"application/wasm","digest":"sha256:{digest}","size":{}}}]}}"#,
            component.len()
        );
        Artifact::of(manifest.into_bytes()).unwrap()
    }

    #[test]
    fn what_is_kept_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RegistryCache::open(Some(&dir.path().join("oci"))).unwrap();
        assert_eq!(cache.get(NAME, 100), None);
        cache.put(NAME, &artifact(b"one"), b"one").unwrap();
        cache.put(NAME, &artifact(b"two\n"), b"two\n").unwrap();
        assert_eq!(cache.get(NAME, 100), Some((artifact(b"two\n"), b"two\n".to_vec())));
        assert_eq!(cache.get("oci://r.io/a:2", 100), None);
        let file = cache.file(NAME).unwrap();
        let whole = std::fs::read(&file).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&file, &whole[..cut]).unwrap();
            assert_eq!(cache.get(NAME, 100), None, "{cut}");
        }
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&file, other).unwrap();
        assert_eq!(cache.get(NAME, 100), None);
    }

    #[test]
    fn a_directory_that_was_removed_is_made_again_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("oci");
        let cache = RegistryCache::open(Some(&dir)).unwrap();
        std::fs::remove_dir(&dir).unwrap();
        assert_eq!(cache.put(NAME, &artifact(b"one"), b"one"), Ok(true));
        assert_eq!(cache.get(NAME, 100), Some((artifact(b"one"), b"one".to_vec())));
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_cannot_be_written_is_told_in_the_same_words_each_time_with_the_key() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("oci");
        let cache = RegistryCache::open(Some(&dir)).unwrap();
        std::fs::remove_dir(&dir).unwrap();
        std::fs::write(&dir, "no directory").unwrap();
        let problem = || cache.put(NAME, &artifact(b"one"), b"one").unwrap_err();
        assert_eq!(problem(), problem());
        assert!(problem().starts_with(dir.to_str().unwrap()) && problem().ends_with("(plugins.oci.cache)"));
        // The directory of this test has such a name itself.
        assert!(!problem().replace(dir.to_str().unwrap(), "").contains(".tmp"), "{}", problem());
    }

    #[test]
    fn there_is_a_bound_on_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RegistryCache::open(Some(dir.path())).unwrap();
        for number in 0..KEPT + 3 {
            cache.put(&format!("oci://r.io/a:{number}"), &artifact(b"one"), b"one").unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), KEPT);
    }

    #[test]
    fn what_was_not_written_to_its_end_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RegistryCache::open(Some(dir.path())).unwrap();
        let half = dir.path().join(".tmphalf");
        std::fs::write(&half, "half").unwrap();
        let old = time_of_day() - std::time::Duration::from_secs(3 * 60 * 60);
        std::fs::File::options().append(true).open(&half).unwrap().set_modified(old).unwrap();
        assert!(cache.put(NAME, &artifact(b"one"), b"one").unwrap() && !half.exists());
    }
}
