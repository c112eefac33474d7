//! The thread that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::entry::Entry;
use super::file::{OpenError, Rotated};
use super::line::LineWriter;
use super::room::ByteBudget;
use super::trouble::Trouble;
use crate::clock::time_of_day;
use crate::config::JournalFile;
use crate::text::one_line;

/// Entries that may wait to be written.
const WAITING: usize = 4096;
/// How long a host that stops waits for what is still to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Takes a workload's line, without its end and without waiting.
pub(crate) type Take = Box<dyn FnMut(&str, &[u8]) + Send>;

/// Brings lines elsewhere.
pub(crate) struct JournalSink {
    /// Takes each of them.
    pub take: Take,
    /// Lines that did not get there, ever: counted where they are dropped.
    pub lost: Arc<AtomicU64>,
    /// Why they do not get there now.
    pub trouble: Arc<Trouble>,
}

/// Where entries are handed over. Clones write to the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: Arc<RwLock<Option<SyncSender<Entry>>>>,
    room: Arc<ByteBudget>,
    /// Lines that did not get into the file, or anywhere.
    dropped: Arc<AtomicU64>,
    /// Lines that did not get through the sink.
    lost: Arc<AtomicU64>,
    /// Why lines do not get into the file, and why not through the sink.
    troubles: [Arc<Trouble>; 2],
    ended: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

impl Journal {
    /// A journal that is not kept: entries are ignored.
    pub fn none() -> Self {
        Self {
            entries: Arc::default(),
            room: Arc::default(),
            dropped: Arc::default(),
            lost: Arc::default(),
            troubles: Default::default(),
            ended: Arc::default(),
        }
    }

    /// Begins to write, to a file, to a sink or to both.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn start(host: String, file: Option<JournalFile>, sink: Option<JournalSink>) -> Result<Self, OpenError> {
        if file.is_none() && sink.is_none() {
            return Ok(Self::none());
        }
        let path = file.as_ref().map(|options| options.path.clone()).unwrap_or_default();
        let file = file.map(Rotated::open).transpose()?;
        let (entries, waiting) = sync_channel(WAITING);
        let (end, ended) = oneshot::channel();
        let (dropped, room) = (Arc::new(AtomicU64::new(0)), Arc::new(ByteBudget::default()));
        let lost = sink.as_ref().map(|sink| sink.lost.clone()).unwrap_or_default();
        let (trouble, of_sink) = (Arc::default(), sink.as_ref().map(|sink| sink.trouble.clone()).unwrap_or_default());
        let mut writer = JournalWriter {
            lines: LineWriter::new(host),
            file,
            sink,
            dropped: dropped.clone(),
            told: 0,
            lost: 0,
            has_failed: false,
            trouble: Arc::clone(&trouble),
            room: room.clone(),
        };
        let run = move || {
            writer.run(&waiting);
            // An error means that the journal was dropped without being closed.
            let _ = end.send(());
        };
        Builder::new().name("tidegate-journal".to_owned()).spawn(run).map_err(|error| OpenError::Io { path, error })?;
        Ok(Self {
            entries: Arc::new(RwLock::new(Some(entries))),
            room,
            dropped,
            lost,
            troubles: [trouble, of_sink],
            ended: Arc::new(Mutex::new(Some(ended))),
        })
    }

    /// Whether it is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.entries.read().is_some()
    }

    /// Has an entry written. Never waits.
    pub(crate) fn record(&self, entry: Entry) {
        let Some(entries) = &*self.entries.read() else { return };
        let size = entry.size();
        let has_room = self.room.take(size);
        if has_room && entries.try_send(entry).is_ok() {
            return;
        }
        if has_room {
            self.room.give(size);
        }
        self.dropped.fetch_add(1, Relaxed);
    }

    /// Lines that were not written, ever.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed) + self.lost.load(Relaxed)
    }

    /// Why lines are not kept now.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.troubles.iter().filter_map(|trouble| trouble.now()).collect()
    }

    /// Takes no more entries, and waits for a bounded time until those before are written.
    pub(crate) async fn close(&self) {
        self.entries.write().take();
        let ended = self.ended.lock().take();
        if let Some(ended) = ended
            && timeout(LAST_WORDS, ended).await.is_err()
        {
            tracing::warn!("the journal's last lines are not written: its disk does not answer");
        }
    }
}

struct JournalWriter {
    lines: LineWriter,
    file: Option<Rotated>,
    sink: Option<JournalSink>,
    dropped: Arc<AtomicU64>,
    /// How many drops the journal has lines about.
    told: u64,
    /// How many lines were lost on their way through the sink when the last one was written.
    lost: u64,
    /// Whether lines since then did not get into the file for a reason that was told.
    has_failed: bool,
    trouble: Arc<Trouble>,
    room: Arc<ByteBudget>,
}

impl JournalWriter {
    fn run(&mut self, entries: &Receiver<Entry>) {
        while let Ok(entry) = entries.recv() {
            self.write(&entry);
            self.room.give(entry.size());
        }
        self.tell_drops();
    }

    fn write(&mut self, entry: &Entry) {
        let is_there = self.follow();
        if is_there {
            self.tell_drops();
        }
        self.look_at_losses();
        let mut line = self.lines.line(entry);
        let mut is_well = is_there;
        if self.file.as_ref().is_some_and(|file| is_there && file.is_full(line.len())) {
            self.lines.begin();
            line = self.lines.line(entry);
            is_well = self.turn_over();
        }
        if !is_there || !self.put(&line) {
            self.dropped.fetch_add(1, Relaxed);
            self.has_failed = true;
            // What it said of the state is not known to the reader.
            self.lines.begin();
        } else if is_well {
            self.trouble.end("the journal's file");
        }
        if let Some(sink) = &mut self.sink {
            (sink.take)(&entry.workload, line.trim_ascii_end());
        }
    }

    /// What a line said that was lost on its way is not known to a reader of those that came through.
    fn look_at_losses(&mut self) {
        let lost = self.sink.as_ref().map_or(0, |sink| sink.lost.load(Relaxed));
        if std::mem::replace(&mut self.lost, lost) != lost {
            self.lines.begin();
        }
    }

    /// Whether the file is where it belongs. One that was moved away or removed is begun anew.
    fn follow(&mut self) -> bool {
        match self.file.as_mut().map(Rotated::follow) {
            Some(Err(error)) => {
                self.trouble.begin(&one_line(&error.to_string()));
                false
            }
            Some(Ok(true)) => {
                tracing::warn!("the journal's file was moved away or removed; a new one is begun");
                self.lines.begin();
                true
            }
            Some(Ok(false)) | None => true,
        }
    }

    fn turn_over(&mut self) -> bool {
        let Some(Err(error)) = self.file.as_mut().map(Rotated::turn_over) else { return true };
        self.trouble.begin(&format!("cannot turn the journal's file over, so it grows: {error}"));
        false
    }

    fn put(&mut self, line: &[u8]) -> bool {
        match self.file.as_mut().map(|file| file.write(line)) {
            Some(Err(error)) => {
                self.trouble.begin(&format!("cannot write to the journal: {error}"));
                false
            }
            Some(Ok(())) | None => true,
        }
    }

    /// Says in the journal how many lines are missing, where they are.
    fn tell_drops(&mut self) {
        let dropped = self.dropped.load(Relaxed);
        if dropped > self.told && self.put(&self.lines.dropped(time_of_day(), dropped - self.told)) {
            let lines = dropped - self.told;
            if std::mem::take(&mut self.has_failed) {
                tracing::warn!(lines, "lines of the journal are missing: its file could not be written, as was told");
            } else {
                tracing::warn!(lines, "lines of the journal were dropped: it does not keep up");
            }
            self.told = dropped;
            self.lines.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::mpsc;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::Limits;
    use crate::contract::Author;
    use crate::journal::{Adoption, PolicyBounds, PolicyCall, Role};

    fn entry(first: u8) -> Entry {
        Entry {
            at: UNIX_EPOCH,
            workload: "orders".into(),
            role: Role::Live,
            policy: Author { plugin: "p".into(), generation: "g".into() },
            settings: [].into(),
            bounds: PolicyBounds::of(&Limits::default()),
            call: PolicyCall::Init(Adoption { previous: None, answer: Ok(Ok(vec![first])) }),
        }
    }

    #[tokio::test]
    async fn a_file_that_is_moved_away_is_begun_anew_and_a_directory_that_is_gone_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (place, path) = (dir.path().join("place"), dir.path().join("place/j"));
        std::fs::create_dir(&place).unwrap();
        let (wrote, written) = mpsc::channel();
        let take = Box::new(move |_: &str, _: &[u8]| wrote.send(()).unwrap());
        let sink = JournalSink { take, lost: Arc::default(), trouble: Arc::default() };
        let file = JournalFile { path: path.clone(), max_size: 1 << 30, keep: 0 };
        let journal = Journal::start("host:1".to_owned(), Some(file), Some(sink)).unwrap();
        let record = |first| {
            journal.record(entry(first));
            written.recv().unwrap();
        };
        let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().lines().count();
        record(0);
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        record(0);
        assert_eq!((lines(&dir.path().join("old")), lines(&path)), (1, 1));
        // A reader of the new file knows the state.
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"bytes\""));
        std::fs::remove_dir_all(&place).unwrap();
        record(0);
        record(0);
        let problems = journal.problems();
        assert!(problems[0].contains("cannot be written: No such file"), "{problems:?}");
        assert_eq!(journal.dropped(), 2);
        std::fs::create_dir(&place).unwrap();
        record(0);
        assert_eq!(journal.problems(), Vec::<String>::new());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"journal\"") && text.contains("\"event\":\"dropped\",\"lines\":2"), "{text}");
        journal.close().await;
    }

    #[tokio::test]
    async fn after_a_line_that_was_lost_on_its_way_the_state_is_told_again() {
        let (wrote, written) = mpsc::channel();
        let take =
            Box::new(move |_: &str, line: &[u8]| wrote.send(String::from_utf8_lossy(line).into_owned()).unwrap());
        let lost = Arc::new(AtomicU64::new(0));
        let sink = JournalSink { take, lost: lost.clone(), trouble: Arc::default() };
        let journal = Journal::start("host:1".to_owned(), None, Some(sink)).unwrap();
        let has_bytes = || {
            journal.record(entry(1));
            written.recv().unwrap().contains("\"bytes\"")
        };
        assert_eq!([has_bytes(), has_bytes()], [true, false]);
        lost.fetch_add(1, Relaxed);
        assert_eq!([has_bytes(), has_bytes()], [true, false]);
        journal.close().await;
    }

    #[tokio::test]
    async fn what_does_not_keep_up_drops_and_says_how_much() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (go, gate) = mpsc::channel::<()>();
        let (began, has_begun) = mpsc::channel();
        // The thread stands still in the first line until it may go on.
        let mut first = true;
        let take = Box::new(move |_: &str, _: &[u8]| {
            if std::mem::take(&mut first) {
                began.send(()).unwrap();
                gate.recv().unwrap();
            }
        });
        let sink = JournalSink { take, lost: Arc::default(), trouble: Arc::default() };
        let file = JournalFile { path: path.clone(), max_size: 1 << 30, keep: 0 };
        let journal = Journal::start("host:1".to_owned(), Some(file), Some(sink)).unwrap();
        journal.record(entry(0));
        has_begun.recv().unwrap();
        for _ in 0..WAITING + 7 {
            journal.record(entry(1));
        }
        assert_eq!(journal.dropped(), 7);
        go.send(()).unwrap();
        journal.close().await;
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 1 + WAITING);
        assert!(lines[1].contains("\"event\":\"dropped\",\"lines\":7"), "{}", lines[1]);
        // After a gap the state is told again.
        assert!(lines[2].contains("\"bytes\":\"AQ==\""), "{}", lines[2]);
        assert!(!lines[3].contains("\"bytes\""), "{}", lines[3]);
    }
}
