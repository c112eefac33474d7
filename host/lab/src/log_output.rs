//! Standard error, without waiting for whoever reads it.
//!
//! A pipe that nobody reads is full after 64 KiB, and who writes to it then waits for ever. So lines go into a queue of
//! bounded size, and a thread of its own writes them. What finds no room there, or cannot be written, is dropped and
//! counted; when lines are written again and the queue has room for it, one says how many are missing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use parking_lot::{Condvar, Mutex};
use tidegate_runtime::status::log_lines::count_dropped;

/// Bytes that may wait to be written.
const WAITING: usize = 1 << 20;
/// How soon is tried again what a reader that is slow, and whose pipe does not make the writer wait, did not take.
const AGAIN: Duration = Duration::from_millis(20);
/// How often is told that lines were dropped.
const TELL_EVERY: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Arc<LineQueue>> = OnceLock::new();

/// From now on a thread of its own writes.
///
/// # Errors
/// If no thread can be had.
pub fn start() -> io::Result<()> {
    let queue = Arc::new(LineQueue::default());
    let (of_thread, tell) = (queue.clone(), |lines| {
        tracing::warn!(lines, "log lines were dropped: nobody read standard error, or it could not be written");
    });
    thread::Builder::new().name("tidegate-log".to_owned()).spawn(move || of_thread.write_all(write, tell))?;
    // It is started once.
    let _ = QUEUE.set(queue);
    Ok(())
}

/// Has a line written, with a progress bar out of its way. Does not wait once there is a thread for it.
pub fn send(bar: Option<MultiProgress>, bytes: Vec<u8>) {
    let line = QueuedLine { bar, bytes };
    match QUEUE.get() {
        Some(queue) => queue.push(line),
        // Nothing is left to be done if this cannot be written.
        None => drop(write(&line)),
    }
}

/// Waits until all that was sent is written, but no longer than this.
pub fn finish(limit: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.finish(limit);
    }
}

struct QueuedLine {
    bar: Option<MultiProgress>,
    bytes: Vec<u8>,
}

fn write(line: &QueuedLine) -> io::Result<()> {
    let write = || {
        let mut rest = line.bytes.as_slice();
        while !rest.is_empty() {
            match io::stderr().lock().write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    match &line.bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

#[derive(Default)]
struct LineQueue {
    waiting: Mutex<QueuedLines>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct QueuedLines {
    lines: VecDeque<QueuedLine>,
    bytes: usize,
    /// One is being written.
    writing: bool,
}

impl LineQueue {
    fn push(&self, line: QueuedLine) {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.bytes.saturating_add(line.bytes.len());
        if bytes > WAITING {
            self.drop_line();
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line);
        drop(waiting);
        self.changed.notify_all();
    }

    fn drop_line(&self) {
        self.dropped.fetch_add(1, Relaxed);
        count_dropped(1);
    }

    /// Writes one line after the other, for ever, and tells how many were dropped before.
    fn write_all(&self, mut write: impl FnMut(&QueuedLine) -> io::Result<()>, mut tell: impl FnMut(u64)) {
        let (mut told, mut told_at, mut is_taken) = (0, None::<Instant>, false);
        loop {
            // It is told even if no line follows, unless it could not be written either.
            let is_untold = is_taken && self.dropped.load(Relaxed) > told;
            if let Some(line) = self.next(is_untold.then_some(TELL_EVERY)) {
                is_taken = write(&line).is_ok();
                if !is_taken {
                    self.drop_line();
                    continue;
                }
            }
            let dropped = self.dropped.load(Relaxed);
            // To a reader that is slow all the time it would be a line more for each. In a queue that is still full it
            // would be dropped itself.
            if dropped > told && told_at.is_none_or(|at| at.elapsed() > TELL_EVERY) && self.has_room() {
                tell(dropped - told);
                (told, told_at) = (dropped, Some(Instant::now()));
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.lock().bytes <= WAITING / 2
    }

    /// The next line to write; `None` if there is none within `limit`.
    fn next(&self, limit: Option<Duration>) -> Option<QueuedLine> {
        let mut waiting = self.waiting.lock();
        waiting.writing = false;
        self.changed.notify_all();
        let is_empty = |waiting: &mut QueuedLines| waiting.lines.is_empty();
        match limit {
            Some(limit) => drop(self.changed.wait_while_for(&mut waiting, is_empty, limit)),
            None => self.changed.wait_while(&mut waiting, is_empty),
        }
        let line = waiting.lines.pop_front()?;
        waiting.bytes -= line.bytes.len();
        waiting.writing = true;
        Some(line)
    }

    fn finish(&self, limit: Duration) {
        let is_left = |waiting: &mut QueuedLines| waiting.writing || !waiting.lines.is_empty();
        let _ = self.changed.wait_while_for(&mut self.waiting.lock(), is_left, limit);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::sync::mpsc;

    use super::*;

    fn line(bytes: usize) -> QueuedLine {
        QueuedLine { bar: None, bytes: vec![b'x'; bytes] }
    }

    /// A queue whose writer writes one line each time that it is let.
    fn queue() -> (Arc<LineQueue>, mpsc::Sender<io::Result<()>>, mpsc::Receiver<u64>) {
        let queue = Arc::new(LineQueue::default());
        let (let_it, is_let) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let of_thread = queue.clone();
        thread::spawn(move || {
            let write = |_: &QueuedLine| is_let.recv().unwrap_or(Ok(()));
            let queue = of_thread.clone();
            of_thread.write_all(write, |lines| {
                queue.push(line(1));
                tell.send(lines).unwrap();
            });
        });
        (queue, let_it, told)
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_told_when_lines_are_written_again() {
        let (queue, let_it, told) = queue();
        queue.push(line(10));
        // It waits with the first, so what follows has to wait too.
        while !queue.waiting.lock().writing {
            thread::yield_now();
        }
        let fit = WAITING / (1 << 16);
        (0..fit + 7).for_each(|_| queue.push(line(1 << 16)));
        assert_eq!(queue.dropped.load(Relaxed), 7);
        // The queue is full, so a line that tells it would be dropped itself.
        (0..=fit).for_each(|_| let_it.send(Ok(())).unwrap());
        assert_eq!(told.recv().unwrap(), 7);
        let_it.send(Ok(())).unwrap();
        queue.finish(Duration::from_secs(60));
        assert_eq!(queue.waiting.lock().bytes, 0);
        queue.push(line(1 << 16));
        assert_eq!(queue.dropped.load(Relaxed), 7);
    }

    #[test]
    fn lines_that_cannot_be_written_count_as_dropped() {
        let (queue, let_it, told) = queue();
        (0..3).for_each(|_| queue.push(line(1)));
        let_it.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        let_it.send(Err(ErrorKind::StorageFull.into())).unwrap();
        let_it.send(Ok(())).unwrap();
        assert_eq!(told.recv().unwrap(), 2);
    }

    #[test]
    fn the_end_does_not_wait_for_ever_for_a_reader() {
        let (queue, _let_it, _) = queue();
        queue.push(line(1));
        queue.finish(Duration::from_millis(1));
        assert!(!queue.waiting.lock().lines.is_empty() || queue.waiting.lock().writing);
    }
}
