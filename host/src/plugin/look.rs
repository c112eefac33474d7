//! What to do about one plugin's file, from what a look at it found. Pure.

use std::time::{Duration, SystemTime};

/// A file that changed less than this ago may still be being written, and may change again with the same time stamp.
const FRESH: Duration = Duration::from_secs(1);

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    pub(super) modified: Option<SystemTime>,
    /// Seconds and nanoseconds; it cannot be set back as `modified` can.
    pub(super) changed: (i64, i64),
}

impl Fingerprint {
    #[cfg(unix)]
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        let modified = metadata.modified().ok();
        Self { device: 0, inode: 0, length: metadata.len(), modified, changed: (0, 0) }
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        // A time in the future says nothing; it counts as old, or the file would be read at every look.
        self.modified.is_some_and(|modified| now.duration_since(modified).is_ok_and(|age| age < FRESH))
    }
}

/// What is known about one plugin's file.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The fingerprint under which the content is known and need not be read again.
    settled: Option<Fingerprint>,
    /// The digest of the content that was loaded or refused last.
    digest: Option<String>,
    /// The digest that is in use.
    loaded: Option<String>,
    /// What was last told about a file that cannot be read, so that it is told once.
    told: Option<String>,
}

/// What to tell about a file that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It was told before.
    Nothing,
    /// The workload waits for it.
    Waiting,
    /// This generation stays in use.
    Kept(String),
}

/// What to do about a refused file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again soon: it may only be half written.
    Wait,
    /// Tell the reason.
    Tell,
}

impl Progress {
    /// Whether the file has to be read.
    pub(super) fn needs_reading(&self, fingerprint: Fingerprint) -> bool {
        self.settled != Some(fingerprint)
    }

    /// Whether content with this digest has to be loaded.
    pub(super) fn needs_loading(&mut self, digest: &str) -> bool {
        self.told = None;
        self.digest.as_deref() != Some(digest)
    }

    /// The content was looked at. It need not be again unless the file changes.
    pub(super) fn settle(&mut self, fingerprint: Fingerprint, now: SystemTime) {
        self.settled = (!fingerprint.is_fresh(now)).then_some(fingerprint);
    }

    /// Whether the file has to be looked at soon even if nothing happens.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.is_some() || self.told.is_some()
    }

    pub(super) fn loaded(&mut self, digest: &str) {
        self.digest = Some(digest.to_owned());
        self.loaded = Some(digest.to_owned());
    }

    /// The content was refused, because it `may_be_half_written` or for good.
    pub(super) fn refused(
        &mut self,
        digest: &str,
        may_be_half_written: bool,
        fingerprint: Fingerprint,
        now: SystemTime,
    ) -> Verdict {
        if may_be_half_written && fingerprint.is_fresh(now) {
            return Verdict::Wait;
        }
        self.digest = Some(digest.to_owned());
        Verdict::Tell
    }

    /// The file is not there or cannot be read, for this reason.
    pub(super) fn unreadable(&mut self, reason: &str) -> Notice {
        self.settled = None;
        if self.told.as_deref() == Some(reason) {
            return Notice::Nothing;
        }
        self.told = Some(reason.to_owned());
        match &self.loaded {
            None => Notice::Waiting,
            Some(digest) => {
                // If the same content comes back it is in use already.
                self.digest = Some(digest.clone());
                Notice::Kept(digest.clone())
            }
        }
    }

    /// The limits that the trial ran under changed: what was refused may pass now.
    pub(super) fn reconsider(&mut self) {
        if self.digest != self.loaded {
            self.digest = None;
            self.settled = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn written(seconds: u64) -> Fingerprint {
        Fingerprint { device: 1, inode: seconds, length: 8, modified: Some(at(seconds)), changed: (0, 0) }
    }

    #[test]
    fn an_old_file_is_read_once() {
        let mut progress = Progress::default();
        assert!(progress.needs_reading(written(5)));
        progress.settle(written(5), at(10));
        assert!(!progress.needs_reading(written(5)));
        assert!(progress.needs_reading(written(6)));
    }

    #[test]
    fn a_fresh_file_is_read_again_but_not_compiled_again() {
        let mut progress = Progress::default();
        assert!(progress.needs_loading("a"));
        progress.loaded("a");
        progress.settle(written(5), at(5));
        assert!(!progress.is_settled());
        assert!(progress.needs_reading(written(5)));
        assert!(!progress.needs_loading("a"));
        progress.settle(written(5), at(6));
        assert!(progress.is_settled());
    }

    #[test]
    fn a_file_from_the_future_settles() {
        let mut progress = Progress::default();
        progress.settle(written(500), at(5));
        assert!(progress.is_settled());
    }

    #[test]
    fn half_a_file_is_told_only_when_it_stays_half() {
        let mut progress = Progress::default();
        assert_eq!(progress.refused("half", true, written(5), at(5)), Verdict::Wait);
        assert!(progress.needs_loading("half"));
        assert_eq!(progress.refused("half", true, written(5), at(7)), Verdict::Tell);
        assert!(!progress.needs_loading("half"));
    }

    #[test]
    fn a_whole_refusal_is_told_at_once_and_once() {
        let mut progress = Progress::default();
        assert_eq!(progress.refused("bad", false, written(5), at(5)), Verdict::Tell);
        assert!(!progress.needs_loading("bad"));
        assert!(progress.needs_loading("good"));
    }

    #[test]
    fn a_missing_file_is_told_once_and_what_was_loaded_stays() {
        let mut progress = Progress::default();
        assert_eq!(progress.unreadable("gone"), Notice::Waiting);
        assert_eq!(progress.unreadable("gone"), Notice::Nothing);
        assert!(progress.needs_loading("a"));
        progress.loaded("a");
        assert_eq!(progress.unreadable("gone"), Notice::Kept("a".into()));
        assert_eq!(progress.unreadable("gone"), Notice::Nothing);
        assert!(!progress.needs_loading("a"));
        assert!(progress.needs_loading("b"));
    }

    #[test]
    fn wider_limits_give_a_refused_file_another_chance() {
        let mut progress = Progress::default();
        progress.refused("big", false, written(5), at(9));
        progress.settle(written(5), at(9));
        progress.reconsider();
        assert!(progress.needs_reading(written(5)) && progress.needs_loading("big"));
    }
}
