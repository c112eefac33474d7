//! Decides what to do about one plugin's file, from what a look at it found. Pure.

use std::time::{Duration, Instant, SystemTime};

/// A file that changed less than this ago may still be being written.
const FRESH: Duration = Duration::from_secs(1);
/// How long a file's fingerprint has to stay the same before it is trusted. File systems keep times in steps of up to
/// two seconds, and by a clock of their own.
const TICK: Duration = Duration::from_secs(3);
/// How soon a file that may be half written, or may change unseen, is looked at again.
const SOON: Duration = Duration::from_millis(500);
/// The first and the longest pause before a file is tried again that was refused for a cause outside of it.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Tells one content of a plugin's file, and of its signature's, from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) content: Stamp,
    /// That of the signature; `None` if there is none, or none is asked for.
    pub(super) signature: Option<Stamp>,
    /// Whether it never stays the same when the content changes. That of a file may, for its times have steps.
    pub(super) is_exact: bool,
}

impl Fingerprint {
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.content.is_fresh(now) || self.signature.is_some_and(|signature| signature.is_fresh(now))
    }
}

/// Tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    pub(super) modified: Option<SystemTime>,
    /// The time of the last change of content or metadata, in seconds and nanoseconds. It cannot be set back as
    /// `modified` can.
    pub(super) changed: (i64, i64),
}

impl Stamp {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
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
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        let modified = metadata.modified().ok();
        Self { device: 0, inode: 0, length: metadata.len(), modified, changed: (0, 0) }
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        // A time in the future says nothing. It counts as old, or the file would be read at every look.
        self.modified.is_some_and(|modified| now.duration_since(modified).is_ok_and(|age| age < FRESH))
    }
}

/// What is known about one plugin's file.
#[derive(Debug, Default)]
pub(super) struct FileProgress {
    /// The fingerprint that was seen last, and since when it is the same.
    seen: Option<(Fingerprint, Instant)>,
    /// The fingerprint of the known content, and whether it stayed the same for long enough to be trusted.
    settled: Option<(Fingerprint, bool)>,
    /// The digest of the content that was loaded or refused last.
    digest: Option<String>,
    /// The digest of the generation in use.
    loaded: Option<String>,
    /// When refused content is tried again, if the cause was outside of the file.
    again: Option<NextTry>,
    /// The reason that was logged last for a file that cannot be read, so that it is logged once.
    told: Option<String>,
}

#[derive(Debug)]
struct NextTry {
    at: Instant,
    pause: Duration,
    /// The reason that was logged, so that it is logged once.
    reason: String,
}

/// A refusal of a file's content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) digest: &'a str,
    pub(super) reason: &'a str,
    pub(super) cause: RefusalCause,
    pub(super) fingerprint: Fingerprint,
    /// How long the attempt to load it took.
    pub(super) took: Duration,
}

/// The cause of a refusal, as far as it decides when the file is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalCause {
    /// The file may be half written.
    HalfWritten,
    /// The file's content. It is not tried again before it changes.
    File,
    /// A cause outside of the file, which may pass.
    Outside,
}

/// What to log about a file that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnreadableNotice {
    /// Nothing: it was logged before.
    Nothing,
    /// The workload waits for the file.
    Waiting,
    /// This generation stays in use.
    Kept(String),
}

/// What to do about a refused file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefusedAction {
    /// Look again soon: the file may be half written.
    Wait,
    /// Log the reason.
    Tell,
    /// The reason was logged before, and is the same again.
    Known,
}

impl FileProgress {
    /// Whether a file with this fingerprint has to be read.
    pub(super) fn needs_reading(&mut self, fingerprint: Fingerprint, now: Instant) -> bool {
        let since = match self.seen {
            Some((seen, since)) if seen == fingerprint => since,
            _ => now,
        };
        self.seen = Some((fingerprint, since));
        let known = match self.settled {
            // A change within one tick of a coarse clock leaves the fingerprint as it was.
            Some((settled, trusted)) => {
                settled == fingerprint && (trusted || now - since < TICK || fingerprint.is_exact)
            }
            None => false,
        };
        !known || self.is_due(now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.again.as_ref().is_some_and(|again| again.at <= now)
    }

    /// Something happened to the file, so it is read even if its fingerprint is the same.
    pub(super) fn suspect(&mut self) {
        self.settled = None;
    }

    /// Whether content with this digest has to be loaded.
    pub(super) fn needs_loading(&mut self, digest: &str, now: Instant) -> bool {
        self.told = None;
        if self.digest.as_deref() == Some(digest) {
            return self.is_due(now);
        }
        self.again = None;
        true
    }

    /// Notes that content with this fingerprint was read at this time. It is not read again unless the file changes.
    pub(super) fn settle(&mut self, fingerprint: Fingerprint, read: Instant) {
        let stands = self.seen.is_some_and(|(seen, since)| seen == fingerprint && read - since >= TICK);
        let trusted = stands || fingerprint.is_exact;
        self.settled = Some((fingerprint, trusted));
    }

    /// After how long the file has to be looked at even without an event; `None` is at the next rescan.
    pub(super) fn look_again(&self, now: Instant) -> Option<Duration> {
        let again = self.again.as_ref().map(|again| again.at.saturating_duration_since(now));
        let trusted = self.told.is_some() || matches!(self.settled, Some((_, true)));
        let unsettled = (!trusted).then_some(SOON);
        again.into_iter().chain(unsettled).min()
    }

    /// Whether content with this digest is in use.
    pub(super) fn is_loaded(&self, digest: &str) -> bool {
        self.loaded.as_deref() == Some(digest)
    }

    pub(super) fn loaded(&mut self, digest: &str) {
        self.digest = Some(digest.to_owned());
        self.loaded = Some(digest.to_owned());
        self.again = None;
    }

    /// Notes that what was good before is in use, while what is there now is refused.
    pub(super) fn began_with(&mut self, digest: &str) {
        self.loaded = Some(digest.to_owned());
    }

    /// Notes that content was refused.
    pub(super) fn refused(&mut self, refused: Refused<'_>, wall: SystemTime, now: Instant) -> RefusedAction {
        let Refused { digest, reason, cause, fingerprint, took } = refused;
        if cause == RefusalCause::HalfWritten && fingerprint.is_fresh(wall) {
            return RefusedAction::Wait;
        }
        self.digest = Some(digest.to_owned());
        let before = self.again.take();
        if cause == RefusalCause::Outside {
            let pause = before.as_ref().map_or(PAUSE.0, |before| (before.pause * 2).min(PAUSE.1));
            // Attempts that take long are further apart, so that they do not take most of the time.
            let at = now + pause.max(took * 2);
            self.again = Some(NextTry { at, pause, reason: reason.to_owned() });
        }
        if before.is_some_and(|before| before.reason == reason) { RefusedAction::Known } else { RefusedAction::Tell }
    }

    /// Notes that the file is missing or cannot be read.
    pub(super) fn unreadable(&mut self, reason: &str) -> UnreadableNotice {
        self.settled = None;
        if self.told.as_deref() == Some(reason) {
            return UnreadableNotice::Nothing;
        }
        self.told = Some(reason.to_owned());
        match &self.loaded {
            None => UnreadableNotice::Waiting,
            Some(digest) => {
                // If the same content comes back, it is in use already.
                self.digest = Some(digest.clone());
                UnreadableNotice::Kept(digest.clone())
            }
        }
    }

    /// The limits of the trial have changed: content that was refused may pass now.
    pub(super) fn reconsider(&mut self) {
        if self.digest != self.loaded {
            self.digest = None;
            self.settled = None;
            self.again = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn written(seconds: u64) -> Fingerprint {
        Fingerprint { content: stamp(seconds), signature: None, is_exact: false }
    }

    fn stamp(seconds: u64) -> Stamp {
        Stamp { device: 1, inode: seconds, length: 8, modified: Some(at(seconds)), changed: (0, 0) }
    }

    fn refused(digest: &str, cause: RefusalCause, fingerprint: Fingerprint) -> Refused<'_> {
        Refused { digest, reason: "why", cause, fingerprint, took: Duration::ZERO }
    }

    #[test]
    fn a_file_that_stands_still_is_read_twice_and_then_trusted() {
        let (mut progress, start) = (FileProgress::default(), Instant::now());
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert!(progress.needs_reading(written(5), start));
        progress.settle(written(5), start);
        assert!(!progress.needs_reading(written(5), after(1.0)));
        assert!(progress.look_again(after(1.0)).is_some());
        // A change within the same tick of its clock looks like none.
        assert!(progress.needs_reading(written(5), after(3.0)));
        progress.settle(written(5), after(3.0));
        assert!(!progress.needs_reading(written(5), after(100.0)));
        assert_eq!(progress.look_again(after(100.0)), None);
        assert!(progress.needs_reading(written(6), after(100.0)));
    }

    #[test]
    fn what_has_a_revision_is_read_once() {
        let (mut progress, start) = (FileProgress::default(), Instant::now());
        let revision = |number| Fingerprint { is_exact: true, ..written(number) };
        assert!(progress.needs_reading(revision(5), start));
        progress.settle(revision(5), start);
        assert_eq!(progress.look_again(start), None);
        assert!(!progress.needs_reading(revision(5), start + TICK));
        assert!(progress.needs_reading(revision(6), start + TICK));
    }

    #[test]
    fn a_file_to_which_something_happened_is_read_whatever_it_looks_like() {
        let (mut progress, start) = (FileProgress::default(), Instant::now());
        assert!(progress.needs_reading(written(5), start));
        progress.settle(written(5), start + TICK);
        assert!(!progress.needs_reading(written(5), start + TICK));
        progress.suspect();
        assert!(progress.needs_reading(written(5), start + TICK));
    }

    #[test]
    fn what_was_loaded_is_not_loaded_again() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        assert!(progress.needs_loading("a", now));
        progress.loaded("a");
        assert!(!progress.needs_loading("a", now));
    }

    #[test]
    fn half_a_file_is_told_only_when_it_stays_half() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        let half = refused("half", RefusalCause::HalfWritten, written(5));
        assert_eq!(progress.refused(half, at(5), now), RefusedAction::Wait);
        assert!(progress.needs_loading("half", now));
        assert_eq!(progress.refused(half, at(7), now), RefusedAction::Tell);
        assert!(!progress.needs_loading("half", now));
    }

    #[test]
    fn a_file_whose_signature_is_fresh_may_be_half_written_too() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        let signed = Fingerprint { signature: Some(stamp(9)), ..written(5) };
        let unlike = refused("unlike", RefusalCause::HalfWritten, signed);
        assert_eq!(progress.refused(unlike, at(9), now), RefusedAction::Wait);
        assert_eq!(progress.refused(unlike, at(11), now), RefusedAction::Tell);
    }

    #[test]
    fn a_whole_refusal_is_told_at_once_and_once() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        assert_eq!(progress.refused(refused("bad", RefusalCause::File, written(5)), at(5), now), RefusedAction::Tell);
        assert!(!progress.needs_loading("bad", now + Duration::from_secs(3600)));
        assert!(progress.needs_loading("good", now));
    }

    #[test]
    fn what_is_not_the_files_fault_is_tried_again_at_longer_and_longer_intervals_and_told_once() {
        let (mut progress, mut now) = (FileProgress::default(), Instant::now());
        let outside = refused("a", RefusalCause::Outside, written(5));
        progress.settle(written(5), now);
        let mut pauses = Vec::new();
        for attempt in 0..9 {
            let verdict = progress.refused(outside, at(5), now);
            assert_eq!(verdict, if attempt == 0 { RefusedAction::Tell } else { RefusedAction::Known });
            assert!(!progress.needs_loading("a", now));
            let pause = progress.again.as_ref().unwrap().at - now;
            pauses.push(pause.as_secs());
            now += pause;
            assert!(progress.needs_reading(written(5), now) && progress.needs_loading("a", now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        progress.loaded("a");
        assert!(!progress.needs_loading("a", now));
    }

    #[test]
    fn what_takes_long_to_fail_is_tried_more_seldom() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        let slow = Refused { took: Duration::from_secs(60), ..refused("a", RefusalCause::Outside, written(5)) };
        progress.refused(slow, at(5), now);
        assert!(!progress.needs_loading("a", now + Duration::from_secs(119)));
        assert!(progress.needs_loading("a", now + Duration::from_secs(120)));
    }

    #[test]
    fn a_missing_file_is_told_once_and_what_was_loaded_stays() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        assert_eq!(progress.unreadable("gone"), UnreadableNotice::Waiting);
        assert_eq!(progress.unreadable("gone"), UnreadableNotice::Nothing);
        assert!(progress.needs_loading("a", now));
        progress.loaded("a");
        assert_eq!(progress.unreadable("gone"), UnreadableNotice::Kept("a".into()));
        assert_eq!(progress.unreadable("gone"), UnreadableNotice::Nothing);
        assert!(!progress.needs_loading("a", now));
        assert!(progress.needs_loading("b", now));
    }

    #[test]
    fn wider_limits_give_a_refused_file_another_chance() {
        let (mut progress, now) = (FileProgress::default(), Instant::now());
        progress.refused(refused("big", RefusalCause::File, written(5)), at(9), now);
        progress.settle(written(5), now);
        progress.reconsider();
        assert!(progress.needs_reading(written(5), now) && progress.needs_loading("big", now));
    }
}
