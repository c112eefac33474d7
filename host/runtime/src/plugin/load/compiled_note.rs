//! Notes in the cache what was compiled, so that a host that starts again needs no process to find it there.
//!
//! wasmtime's cache cannot be asked whether it has something: who asks for what it does not have compiles, without a
//! bound. So the process that compiles does so into an empty cache of its own, where what came of it is the only file,
//! moves that to where the host's cache looks, and notes which it was. Rejected: to look for the file by its name,
//! which is made of what wasmtime does not tell.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;
use wasmtime::Engine;

use crate::clock::time_of_day;
use crate::digest::sha256;

/// Where notes are, as deep in the directory as code is: what lies elsewhere in it, wasmtime's cache removes.
const NOTES: &str = "notes/tidegate-";
/// Bytes of code that a cache has at most, as wasmtime's own limit is.
const KEPT: u64 = 512 << 20;

/// What is noted of one component for one engine of this version.
#[derive(Debug)]
pub(super) struct CompiledNote {
    cache: PathBuf,
    file: PathBuf,
}

impl CompiledNote {
    /// Of the component with this digest, compiled for this engine into the cache in this directory.
    pub(super) fn of(cache: &Path, engine: &Engine, component: &str) -> Self {
        let mut settings = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let name = format!("{component}-{:016x}", settings.finish());
        let file = cache.join(format!("{NOTES}{}", env!("CARGO_PKG_VERSION"))).join(name);
        Self { cache: cache.to_owned(), file }
    }

    /// Whether the cache has the code that is noted, as it was then, which counts as a use of it. Blocks.
    pub(super) fn holds(&self) -> bool {
        let Some((digest, file)) = self.noted() else { return false };
        let holds = fs::read(&file).is_ok_and(|code| sha256(&code) == digest);
        // What was not used for longest makes room. In a directory that cannot be written to nothing does.
        if holds && let Ok(code) = File::options().append(true).open(&file) {
            let _ = code.set_modified(time_of_day());
        }
        holds
    }

    /// The digest of the code, and its file.
    fn noted(&self) -> Option<(String, PathBuf)> {
        let text = fs::read_to_string(&self.file).ok()?;
        let (digest, file) = text.trim_end().split_once(' ')?;
        let within = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        within.then(|| (digest.to_owned(), self.cache.join(file)))
    }

    /// Moves the code that is the only file of the cache in `from` into this one, and notes it. Blocks.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be moved or noted.
    pub(super) fn take(&self, from: &Path) -> io::Result<()> {
        let code = files_of_code(from)?.pop().ok_or_else(|| io::Error::other("nothing was compiled"))?;
        let name = code.strip_prefix(from).map_err(io::Error::other)?;
        let digest = sha256(&fs::read(&code)?);
        let kept = self.cache.join(name);
        make_parent(&kept)?;
        fs::rename(&code, kept)?;
        make_parent(&self.file)?;
        let mut note = NamedTempFile::new_in(&self.cache)?;
        writeln!(note, "{digest} {}", name.to_str().ok_or_else(|| io::Error::other("a path that is no text"))?)?;
        note.persist(&self.file).map(|_: File| ()).map_err(|error| error.error)?;
        make_room(&self.cache, KEPT)
    }
}

/// Removes the code that was not used for longest, until what is left has no more than so many bytes. The last stays.
fn make_room(cache: &Path, most: u64) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for file in files_of_code(cache)? {
        // Another process may have removed it.
        let Ok(metadata) = file.metadata() else { continue };
        kept.push((metadata.modified()?, metadata.len(), file));
    }
    kept.sort();
    let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    let _newest = kept.pop();
    for (_, of_it, file) in kept {
        if bytes <= most {
            break;
        }
        let _ = fs::remove_file(file.with_extension("stats"));
        fs::remove_file(file)?;
        bytes -= of_it;
    }
    Ok(())
}

fn make_parent(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

/// The files of code in a cache. Beside them stand counts of use, and what is being written.
fn files_of_code(cache: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for of_version in fs::read_dir(cache.join("modules"))? {
        for file in fs::read_dir(of_version?.path())? {
            files.push(file?.path());
        }
    }
    files.retain(|file| file.extension().is_none());
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::plugin::run::engine_config::{handlers, policies};

    #[test]
    fn code_is_there_as_long_as_it_is_as_it_was_noted() {
        let (cache, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let engine = Engine::new(&handlers(None)).unwrap();
        let note = CompiledNote::of(cache.path(), &engine, "abc");
        assert!(!note.holds() && note.take(own.path()).is_err());
        let made = own.path().join("modules/wasmtime-1");
        fs::create_dir_all(&made).unwrap();
        fs::write(made.join("x.stats"), "counts").unwrap();
        assert!(note.take(own.path()).is_err() && !note.holds());
        fs::write(made.join("x"), "code").unwrap();
        note.take(own.path()).unwrap();
        let code = cache.path().join("modules/wasmtime-1/x");
        assert!(note.holds() && code.is_file());
        assert!(CompiledNote::of(cache.path(), &engine, "abc").holds());
        // Of another component, or for another engine.
        assert!(!CompiledNote::of(cache.path(), &engine, "abd").holds());
        let other = Engine::new(&policies(None)).unwrap();
        assert!(!CompiledNote::of(cache.path(), &other, "abc").holds());
        fs::write(&code, "cod").unwrap();
        assert!(!note.holds());
        fs::write(&code, "code").unwrap();
        assert!(note.holds());
        fs::remove_file(&code).unwrap();
        assert!(!note.holds());
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let cache = tempfile::tempdir().unwrap();
        let dir = cache.path().join("modules/wasmtime-1");
        fs::create_dir_all(&dir).unwrap();
        for (age, name) in ["newest", "older", "oldest"].into_iter().enumerate() {
            let file = dir.join(name);
            fs::write(&file, [0; 100]).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000 - 100 * age as u64);
            File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
        }
        fs::write(dir.join("oldest.stats"), "counts").unwrap();
        let left = |most| {
            make_room(cache.path(), most).unwrap();
            let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
            left.sort();
            left
        };
        assert_eq!(left(300).len(), 4);
        assert_eq!(left(299), ["newest", "older"]);
        assert_eq!(left(0), ["newest"]);
    }

    #[test]
    fn a_note_of_something_outside_the_cache_is_none() {
        let cache = tempfile::tempdir().unwrap();
        let note = CompiledNote::of(cache.path(), &Engine::new(&handlers(None)).unwrap(), "abc");
        make_parent(&note.file).unwrap();
        let outside = cache.path().with_extension("code");
        fs::write(&outside, "code").unwrap();
        let digest = sha256(b"code");
        for path in [outside.to_str().unwrap().to_owned(), format!("../{}", outside.file_name().unwrap().display())] {
            fs::write(&note.file, format!("{digest} {path}\n")).unwrap();
            assert!(!note.holds(), "{path}");
        }
        fs::remove_file(outside).unwrap();
    }
}
