//! Which files are source, and when they change.
//!
//! Files are looked at, again and again. Rejected: to be told by the system, which wants a watch for each directory and
//! has no bound for how many there are, and tells nothing on some file systems that are mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

/// How often files are looked at.
const EVERY: Duration = Duration::from_millis(200);
/// Files that a project may have.
const MOST: usize = 50_000;
/// During how many builds, one after the other, a file changes that they write themselves.
const OWN: u32 = 3;
/// What builds make, by name, beside hidden files.
const MADE: [&str; 9] = [
    "target",
    "node_modules",
    "plugins",
    "build",
    "dist",
    "bindings",
    "__pycache__",
    "Cargo.lock",
    "package-lock.json",
];

/// Each file, with what changes when it is written.
type Files = BTreeMap<PathBuf, (SystemTime, u64)>;

/// What tells a file from all others: its device, and its number there.
type FileId = (u64, u64);

/// The files that this process's output goes into. They change as it says that something has.
fn own_output() -> Vec<FileId> {
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let duplicates = [out.as_fd().try_clone_to_owned(), err.as_fd().try_clone_to_owned()];
    let metadata = duplicates.into_iter().filter_map(|output| File::from(output.ok()?).metadata().ok());
    metadata.map(|of| (of.dev(), of.ino())).collect()
}

/// What is no source though it lies there.
struct LeftOut {
    /// Names.
    ignore: Vec<String>,
    own_output: Vec<FileId>,
}

/// The source of a project.
pub(super) struct Sources {
    dir: PathBuf,
    left_out: Arc<LeftOut>,
    /// As the last build found them, or found them at its beginning.
    seen: Files,
    own_writes: OwnWrites,
}

impl Sources {
    pub(super) fn new(dir: PathBuf, ignore: Vec<String>) -> Self {
        let left_out = Arc::new(LeftOut { ignore, own_output: own_output() });
        Self { dir, left_out, seen: Files::new(), own_writes: OwnWrites::default() }
    }

    /// Changes count from now on.
    pub(super) async fn now(&mut self) -> anyhow::Result<()> {
        self.seen = self.look().await?;
        Ok(())
    }

    /// A build has ended. What changed during it starts the next one, but for what builds seem to write themselves. Of
    /// that gives a file that was not told before.
    pub(super) async fn built(&mut self) -> anyhow::Result<Option<PathBuf>> {
        let now = self.look().await?;
        let changed = changes(&self.seen, &now).cloned().collect();
        let (own, untold) = self.own_writes.note(changed);
        for path in own {
            match now.get(&path) {
                Some(file) => self.seen.insert(path, *file),
                None => self.seen.remove(&path),
            };
        }
        Ok(untold.map(|path| self.shown(&path)))
    }

    /// A file that has changed since the build began, but for those that builds seem to write themselves.
    pub(super) async fn changed_meanwhile(&self) -> anyhow::Result<Option<PathBuf>> {
        let now = self.look().await?;
        let changed = changes(&self.seen, &now).find(|path| !self.own_writes.files.contains(*path));
        Ok(changed.map(|path| self.shown(path)))
    }

    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).unwrap_or(path).to_owned()
    }

    /// Waits until there was a change, and then until there is no more of it: an editor writes several files, and some
    /// twice. Gives one that changed.
    pub(super) async fn changed(&mut self) -> anyhow::Result<PathBuf> {
        loop {
            let mut files = self.look().await?;
            let changed = changes(&self.seen, &files).next().cloned();
            if let Some(changed) = changed {
                loop {
                    tokio::time::sleep(EVERY).await;
                    let before = std::mem::replace(&mut files, self.look().await?);
                    if before == files {
                        break;
                    }
                }
                self.seen = files;
                return Ok(self.shown(&changed));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&self) -> anyhow::Result<Files> {
        let (dir, left_out) = (self.dir.clone(), self.left_out.clone());
        tokio::task::spawn_blocking(move || look(&dir, &left_out)).await.context("cannot look at the source")?
    }
}

/// Those that are new or written anew, and then those that are gone.
fn changes<'a>(before: &'a Files, now: &'a Files) -> impl Iterator<Item = &'a PathBuf> {
    let written = now.iter().filter(|(path, file)| before.get(*path) != Some(file)).map(|(path, _)| path);
    written.chain(before.keys().filter(|path| !now.contains_key(*path)))
}

/// What builds seem to write among the source: each would start the next one, without end.
#[derive(Default)]
struct OwnWrites {
    /// What changed during each of the last builds.
    files: BTreeSet<PathBuf>,
    /// How many these are.
    builds: u32,
    told: BTreeSet<PathBuf>,
}

impl OwnWrites {
    /// Takes what changed during a build. Gives what is to start none, for it changed during each of several builds
    /// that came one after the other, and one of it that was not told before. A person may have written a file during a
    /// build, and a build may make one that is missing, so the first times count.
    fn note(&mut self, changed: BTreeSet<PathBuf>) -> (BTreeSet<PathBuf>, Option<PathBuf>) {
        let again: BTreeSet<PathBuf> = self.files.intersection(&changed).cloned().collect();
        (self.files, self.builds) = match again.is_empty() {
            true => (changed, 1),
            false => (again, self.builds.saturating_add(1)),
        };
        if self.builds < OWN {
            return (BTreeSet::new(), None);
        }
        let untold = self.files.difference(&self.told).next().cloned();
        self.told.extend(self.files.iter().cloned());
        (self.files.clone(), untold)
    }
}

fn is_source(name: &str, ignore: &[String]) -> bool {
    let made = ["~", ".wasm", ".log"].iter().any(|end| name.ends_with(end));
    !made && !name.starts_with('.') && !MADE.contains(&name) && !ignore.iter().any(|ignored| ignored == name)
}

fn look(dir: &Path, left_out: &LeftOut) -> anyhow::Result<Files> {
    let (mut files, mut left) = (Files::new(), vec![dir.to_owned()]);
    while let Some(within) = left.pop() {
        let entries = match std::fs::read_dir(&within) {
            Ok(entries) => entries,
            // It may just have been removed.
            Err(_) if within != dir => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", within.display())),
        };
        for entry in entries.filter_map(Result::ok) {
            if !is_source(&entry.file_name().to_string_lossy(), &left_out.ignore) {
                continue;
            }
            // A link to a directory may lead round in a circle, and is not followed.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            } else if let Ok(metadata) = std::fs::metadata(entry.path())
                && !left_out.own_output.contains(&(metadata.dev(), metadata.ino()))
            {
                let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.insert(entry.path(), (written, metadata.len()));
            }
        }
        if files.len() > MOST {
            bail!("{} has more than {MOST} files of source; leave some out by --ignore NAME", dir.display());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_was_written_made_or_removed_is_a_change_and_what_builds_make_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let mut left_out = LeftOut { ignore: vec!["generated".to_owned()], own_output: Vec::new() };
        let changed = |before: &Files, left_out: &LeftOut| {
            let now = look(dir.path(), left_out).unwrap();
            let changed = changes(before, &now).next().cloned();
            (changed.map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned()), now)
        };
        write("src/lib.rs", "one");
        let (first, seen) = changed(&Files::new(), &left_out);
        assert_eq!(first.as_deref(), Some("src/lib.rs"));
        for made in
            ["target/x", "node_modules/a/b.js", ".git/index", "build.wasm", "Cargo.lock", "generated/x.rs", "dev.log"]
        {
            write(made, "made");
        }
        let (none, seen) = changed(&seen, &left_out);
        assert_eq!(none, None);
        write("src/lib.rs", "three");
        let (written, seen) = changed(&seen, &left_out);
        assert_eq!(written.as_deref(), Some("src/lib.rs"));
        write("wit/new.wit", "");
        let (new, seen) = changed(&seen, &left_out);
        assert_eq!(new.as_deref(), Some("wit/new.wit"));
        std::fs::remove_file(dir.path().join("src/lib.rs")).unwrap();
        let (gone, seen) = changed(&seen, &left_out);
        assert_eq!(gone.as_deref(), Some("src/lib.rs"));
        write("said.txt", "said");
        let said = std::fs::metadata(dir.path().join("said.txt")).unwrap();
        left_out.own_output.push((said.dev(), said.ino()));
        assert_eq!(changed(&seen, &left_out).0, None);
    }

    #[test]
    fn what_changes_with_each_build_starts_none_and_is_told_once() {
        let set = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<PathBuf>>();
        let mut own = OwnWrites::default();
        let none = (set(&[]), None);
        // A person writes during one build, and another file during the next.
        assert_eq!(own.note(set(&["lib.rs"])), none);
        assert_eq!(own.note(set(&["wit", "stamp"])), none);
        assert_eq!(own.note(set(&["stamp"])), none);
        assert_eq!(own.note(set(&["lib.rs", "stamp"])), (set(&["stamp"]), Some("stamp".into())));
        assert_eq!(own.note(set(&["stamp"])), (set(&["stamp"]), None));
        // A build that writes nothing begins anew.
        assert_eq!(own.note(set(&[])), none);
        assert_eq!([own.note(set(&["stamp"])), own.note(set(&["stamp"]))], [none.clone(), none]);
        assert_eq!(own.note(set(&["stamp"])), (set(&["stamp"]), None));
    }

    #[tokio::test]
    async fn a_file_that_each_build_writes_is_no_change_after_some_and_an_edit_still_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        write("lib.rs", "one");
        let mut sources = Sources::new(dir.path().to_owned(), Vec::new());
        sources.now().await.unwrap();
        for build in 1..OWN {
            write("stamp", &"s".repeat(build as usize));
            assert_eq!(sources.built().await.unwrap(), None);
            assert_eq!(sources.changed().await.unwrap(), Path::new("stamp"));
        }
        write("stamp", &"s".repeat(OWN as usize));
        assert_eq!(sources.built().await.unwrap().as_deref(), Some(Path::new("stamp")));
        write("stamp", "another");
        assert_eq!(sources.changed_meanwhile().await.unwrap(), None);
        assert_eq!(sources.built().await.unwrap(), None);
        // Its name comes after that of the other, which would be named if it counted.
        write("text", "new");
        assert_eq!(sources.changed_meanwhile().await.unwrap().as_deref(), Some(Path::new("text")));
        assert_eq!(sources.changed().await.unwrap(), Path::new("text"));
    }

    #[test]
    fn links_that_lead_round_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("round")).unwrap();
        assert!(look(dir.path(), &LeftOut { ignore: Vec::new(), own_output: Vec::new() }).unwrap().len() <= 1);
    }
}
