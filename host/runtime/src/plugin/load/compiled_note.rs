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
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use wasmtime::Engine;

use crate::clock::time_of_day;
use crate::digest::sha256;

/// Where notes are, as deep in the directory as code is: what lies elsewhere in it, wasmtime's cache removes.
const NOTES: &str = "notes";
/// The directory of notes. Each names the engine, so that all versions of this program with that engine share it.
const BY_ENGINE: &str = "by-engine";
/// Bytes of code that a cache has at most, as wasmtime's own limit is.
const KEPT: u64 = 512 << 20;
/// How long notes stay that this program does not read: another version may.
const UNREAD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What is noted of one component for one engine.
#[derive(Debug)]
pub(super) struct CompiledNote {
    cache: PathBuf,
    file: PathBuf,
}

impl CompiledNote {
    /// Of the component with this digest, compiled for this engine into the cache in this directory.
    pub(super) fn of(cache: &Path, engine: &Engine, component: &str) -> Self {
        // It has wasmtime's version in it. Another compiler of Rust may make another hash of it, which costs a compile.
        let mut settings = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let file = cache.join(NOTES).join(BY_ENGINE).join(format!("{component}-{:016x}", settings.finish()));
        Self { cache: cache.to_owned(), file }
    }

    /// Whether the cache has the code that is noted, as it was then, which counts as a use of it. Blocks.
    pub(super) fn holds(&self) -> bool {
        let Some((digest, file)) = noted(&self.cache, &self.file) else { return false };
        let of_version = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let holds =
            is_looked_at(&of_version, time_of_program()) && fs::read(&file).is_ok_and(|code| sha256(&code) == digest);
        // What was not used for longest makes room. In a directory that cannot be written to nothing does.
        if holds && let Ok(code) = File::options().append(true).open(&file) {
            let _ = code.set_modified(time_of_day());
        }
        holds
    }

    /// Moves the code that is the only file of the cache in `from` into this one, and notes it. Blocks.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be moved.
    pub(super) fn take(&self, from: &Path) -> io::Result<()> {
        let code = files_of_code(from).pop().ok_or_else(|| io::Error::other("nothing was compiled"))?;
        let name = code.strip_prefix(from).map_err(io::Error::other)?;
        let digest = sha256(&fs::read(&code)?);
        let kept = self.cache.join(name);
        make_parent(&kept)?;
        fs::rename(&code, kept)?;
        // The code is there. Without a note it is compiled again at the next start, and no more.
        let _ = self.write(&digest, name);
        make_room(&self.cache, KEPT);
        Ok(())
    }

    fn write(&self, digest: &str, name: &Path) -> io::Result<()> {
        make_parent(&self.file)?;
        let mut note = NamedTempFile::new_in(&self.cache)?;
        writeln!(note, "{digest} {}", name.to_str().ok_or_else(|| io::Error::other("a path that is no text"))?)?;
        note.persist(&self.file).map(|_: File| ()).map_err(|error| error.error)
    }
}

/// What a note says: the digest of the code, and its file.
fn noted(cache: &Path, note: &Path) -> Option<(String, PathBuf)> {
    let text = fs::read_to_string(note).ok()?;
    let (digest, file) = text.trim_end().split_once(' ')?;
    let within = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    within.then(|| (digest.to_owned(), cache.join(file)))
}

/// Whether wasmtime, as it is in this program, looks for code in the directory of this name. That has wasmtime's
/// version in it; where wasmtime was built within a git repository, the commit and the time of the program's file.
fn is_looked_at(of_version: &str, program: Option<u128>) -> bool {
    let version = of_version.strip_prefix("wasmtime-").unwrap_or_default();
    let is_plain = !version.is_empty() && version.chars().all(|part| part.is_ascii_digit() || part == '.');
    is_plain || program.is_some_and(|time| of_version.ends_with(&format!("-{time}")))
}

/// When the file of this program was written, in milliseconds.
fn time_of_program() -> Option<u128> {
    let written = std::env::current_exe().ok()?.metadata().ok()?.modified().ok()?;
    Some(written.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis())
}

/// Removes the code that was not used for longest, until what is left has no more than so many bytes, and then the
/// notes of what is gone. The last code stays. What cannot be removed stays too: all that was compiled is kept by now.
fn make_room(cache: &Path, most: u64) {
    remove_code(cache, most);
    remove_notes(cache, time_of_day());
}

fn remove_code(cache: &Path, most: u64) {
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for file in files_of_code(cache) {
        // Another process may have removed it.
        let Ok(metadata) = file.metadata() else { continue };
        let Ok(modified) = metadata.modified() else { continue };
        kept.push((modified, metadata.len(), file));
    }
    kept.sort();
    let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    let _newest = kept.pop();
    for (_, of_it, file) in kept {
        if bytes <= most {
            break;
        }
        let _ = fs::remove_file(file.with_extension("stats"));
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            _ => bytes -= of_it,
        }
    }
}

fn remove_notes(cache: &Path, now: SystemTime) {
    let own = cache.join(NOTES).join(BY_ENGINE);
    for directory in entries(&cache.join(NOTES)) {
        for note in entries(&directory) {
            let has_code = noted(cache, &note).map(|(_, code)| code.is_file());
            let written = note.metadata().and_then(|metadata| metadata.modified());
            let age = written.ok().and_then(|written| now.duration_since(written).ok()).unwrap_or_default();
            if is_useless(has_code, directory == own, age) {
                let _ = fs::remove_file(note);
            }
        }
        if directory != own {
            // It stays unless it is empty.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Whether a note is of no use: its code is gone, or it was not for this program to read for long. One that is removed
/// too early costs a compile.
fn is_useless(has_code: Option<bool>, is_read: bool, age: Duration) -> bool {
    has_code == Some(false) || (has_code.is_none() || !is_read) && age > UNREAD
}

fn make_parent(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

/// The files of code in a cache. Beside them stand counts of use, and what is being written.
fn files_of_code(cache: &Path) -> Vec<PathBuf> {
    let of_versions = entries(&cache.join("modules"));
    let files = of_versions.flat_map(|of_version| entries(&of_version));
    files.filter(|file| file.extension().is_none() && file.is_file()).collect()
}

/// What is in a directory; nothing if it is none, or is gone.
fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
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
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - 100 * age as u64);
            File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
        }
        fs::write(dir.join("oldest.stats"), "counts").unwrap();
        let left = |most| {
            make_room(cache.path(), most);
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

    /// A cache with one file of code, as a process has compiled it.
    fn compiled(name: &str) -> tempfile::TempDir {
        let own = tempfile::tempdir().unwrap();
        let dir = own.path().join("modules/wasmtime-1");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), name).unwrap();
        own
    }

    #[test]
    fn what_lies_among_the_code_and_cannot_be_removed_does_not_keep_code_from_being_kept() {
        let cache = tempfile::tempdir().unwrap();
        let engine = Engine::new(&handlers(None)).unwrap();
        let stray = cache.path().join("modules/wasmtime-1/stray");
        fs::create_dir_all(&stray).unwrap();
        fs::write(cache.path().join("modules/file"), "no directory").unwrap();
        let large = File::create(cache.path().join("modules/wasmtime-1/large")).unwrap();
        large.set_len(KEPT + 1).unwrap();
        large.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        File::open(&stray).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let note = CompiledNote::of(cache.path(), &engine, "abc");
        note.take(compiled("x").path()).unwrap();
        assert!(note.holds() && stray.is_dir());
        assert!(!cache.path().join("modules/wasmtime-1/large").exists());
    }

    #[test]
    fn processes_that_make_room_at_once_keep_what_they_compiled() {
        let cache = tempfile::tempdir().unwrap();
        let engine = Engine::new(&handlers(None)).unwrap();
        let dir = cache.path().join("modules/wasmtime-1");
        fs::create_dir_all(&dir).unwrap();
        for number in 0..500 {
            let file = File::create(dir.join(format!("old{number}"))).unwrap();
            file.set_len(KEPT).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let names = ["a", "b", "c", "d"];
        let note = |name| CompiledNote::of(cache.path(), &engine, name);
        std::thread::scope(|threads| {
            for name in names {
                threads.spawn(move || note(name).take(compiled(name).path()).unwrap());
            }
        });
        assert!(names.into_iter().all(|name| note(name).holds()));
        assert!(entries(&dir).count() <= names.len() + 1);
    }

    #[test]
    fn notes_go_with_their_code_and_those_of_other_versions_in_time() {
        let cache = tempfile::tempdir().unwrap();
        let engine = Engine::new(&handlers(None)).unwrap();
        let note = |name| CompiledNote::of(cache.path(), &engine, name);
        note("gone").take(compiled("gone").path()).unwrap();
        fs::remove_file(cache.path().join("modules/wasmtime-1/gone")).unwrap();
        let others = ["tidegate-0.0.1", "tidegate-0.0.2"].map(|name| cache.path().join(NOTES).join(name));
        note("x").take(compiled("x").path()).unwrap();
        for (other, age) in others.iter().zip([UNREAD * 2, UNREAD / 2]) {
            fs::create_dir_all(other).unwrap();
            fs::copy(&note("x").file, other.join("x")).unwrap();
            let file = File::options().append(true).open(other.join("x")).unwrap();
            file.set_modified(time_of_day() - age).unwrap();
        }
        note("y").take(compiled("y").path()).unwrap();
        assert!(!note("gone").file.exists());
        assert!(note("x").holds() && note("y").holds());
        assert_eq!(others.map(|other| other.exists()), [false, true]);
    }

    #[test]
    fn a_note_is_as_deep_as_code_and_has_nothing_of_the_version_of_this_program() {
        let note = CompiledNote::of(Path::new("/c"), &Engine::new(&handlers(None)).unwrap(), "abc");
        let within = note.file.strip_prefix("/c").unwrap();
        assert_eq!(within.components().count(), Path::new("modules/wasmtime-1/x").components().count());
        assert!(!within.to_str().unwrap().contains(env!("CARGO_PKG_VERSION")), "{within:?}");
    }

    #[test]
    fn code_counts_only_where_it_is_looked_for() {
        assert!(is_looked_at("wasmtime-48.0.8", None));
        for of_version in ["wasmtime-0123abc-1700", "wasmtime-0123abc-no-mtime", "wasmtime-", "other"] {
            assert!(!is_looked_at(of_version, None) && !is_looked_at(of_version, Some(170)), "{of_version}");
        }
        assert!(is_looked_at("wasmtime-0123abc-1700", Some(1700)));
    }
}
