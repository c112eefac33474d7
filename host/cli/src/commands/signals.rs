//! What signals do: none of them ends the process before its work is settled, but a second one that asks for it.

use std::fs::File;
use std::process::exit;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use tidegate_lab::log_output;

/// What a process exits with that was told twice to end.
const FORCED: i32 = 130;
/// How long a process that is told twice waits for its last line to be written.
const LAST_LINE: Duration = Duration::from_millis(250);

/// Two signals that are closer together are one wish: `timeout` sends its child one, and then its group.
const ONE_WISH: Duration = Duration::from_millis(250);

/// Ends at the first SIGINT, SIGTERM, SIGQUIT or SIGHUP. A second one of them ends the process, but for SIGHUP, which
/// may come before another when a terminal is closed. SIGUSR1 and SIGUSR2 mean nothing here, and are told. SIGINT,
/// SIGQUIT and SIGHUP stay ignored where whoever started the process had them ignored, as `nohup` does, and a shell's
/// script for what runs in its background.
///
/// # Errors
/// If signals cannot be heard.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    hear(None)
}

/// The same for a host, which SIGHUP does not end but tells to read its configuration again: then `reload` is called.
/// It ends a host whose terminal is gone, if it was not ignored at the start.
///
/// # Errors
/// If signals cannot be heard.
pub fn shutdown_or_reload(reload: impl Fn() + Send + 'static) -> std::io::Result<impl Future<Output = ()>> {
    hear(Some(Box::new(reload)))
}

fn hear(reload: Option<Box<dyn Fn() + Send>>) -> std::io::Result<impl Future<Output = ()>> {
    // What is heard is not ignored any more, so this is looked at before.
    let ignored = Ignored::of_this_process();
    let mut signals = ProcessSignals::hear(ignored, reload.is_some())?;
    let mut wishes = Wishes::new(reload.is_some(), ignored);
    let had_terminal = has_terminal();
    let (first, is_first) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            let heard = signals.next().await;
            let has_lost_terminal = matches!(heard, Heard::HangUp(_)) && has_terminal() != had_terminal;
            let (Heard::End(name) | Heard::HangUp(name) | Heard::Nothing(name)) = heard;
            match wishes.heard(heard, has_lost_terminal, Instant::now()) {
                Wish::Unknown => tracing::warn!("{name} means nothing to tidegate"),
                Wish::Reload => reload.iter().for_each(|reload| reload()),
                Wish::End => {
                    tracing::info!("{name}: ending");
                    // Nobody may be waiting any more.
                    let _ = first.take().map(|first| first.send(()));
                }
                Wish::EndAtOnce => {
                    tracing::warn!(
                        "second signal, {name}: ending at once; what is not settled is delivered again after its ack \
                         wait"
                    );
                    log_output::finish(LAST_LINE);
                    exit(FORCED);
                }
                Wish::None => {}
            }
        }
    });
    Ok(async {
        let _ = is_first.await;
    })
}

/// From now on a file that would become larger than the system lets this process write (`ulimit -f`) is an error of
/// that write, as a full disk is, and no end of the process. Only within a runtime.
///
/// # Errors
/// If the signal cannot be heard.
pub fn outlive_file_limit() -> std::io::Result<()> {
    // Once somebody has heard it, it does nothing by itself any more.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Whether the process has a terminal that can end it. One that was closed is none any more.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// What whoever sends a signal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Nothing that this program knows.
    Unknown,
    Reload,
    End,
    EndAtOnce,
    /// Nothing more than before.
    None,
}

/// What signals have asked for.
struct Wishes {
    /// Whether the configuration can be read again.
    can_reload: bool,
    /// Whether SIGHUP was ignored at the start, so that the end of a terminal is none of the process.
    outlives_terminal: bool,
    is_ending: bool,
    /// When a signal asked for the end that counts as a first one.
    asked: Option<Instant>,
}

impl Wishes {
    fn new(can_reload: bool, ignored: Ignored) -> Self {
        Self { can_reload, outlives_terminal: ignored.hangup, is_ending: false, asked: None }
    }

    fn heard(&mut self, heard: Heard, has_lost_terminal: bool, now: Instant) -> Wish {
        match heard {
            Heard::Nothing(_) => Wish::Unknown,
            Heard::HangUp(_) if self.can_reload && (self.outlives_terminal || !has_lost_terminal) => {
                if self.is_ending {
                    Wish::None
                } else {
                    Wish::Reload
                }
            }
            Heard::HangUp(_) => self.end(),
            Heard::End(_) => match self.asked {
                None => {
                    self.asked = Some(now);
                    self.end()
                }
                Some(first) if now.duration_since(first) < ONE_WISH => Wish::None,
                Some(_) => Wish::EndAtOnce,
            },
        }
    }

    fn end(&mut self) -> Wish {
        if std::mem::replace(&mut self.is_ending, true) { Wish::None } else { Wish::End }
    }
}

/// Which signals were ignored when the process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ignored {
    interrupt: bool,
    quit: bool,
    hangup: bool,
}

impl Ignored {
    /// Where the system does not tell, none.
    fn of_this_process() -> Self {
        std::fs::read_to_string("/proc/self/status").ok().and_then(|status| Self::of(&status)).unwrap_or_default()
    }

    /// By what the system says of a process. The bit of a signal is its number less one.
    fn of(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        let has = |kind: SignalKind| (mask >> (kind.as_raw_value() - 1)) & 1 == 1;
        let (interrupt, quit, hangup) = (SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup());
        Some(Self { interrupt: has(interrupt), quit: has(quit), hangup: has(hangup) })
    }
}

#[derive(Debug, Clone, Copy)]
enum Heard {
    End(&'static str),
    HangUp(&'static str),
    Nothing(&'static str),
}

/// `None` is what stays ignored.
struct ProcessSignals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    quit: Option<Signal>,
    hangup: Option<Signal>,
    user1: Option<Signal>,
    user2: Option<Signal>,
}

impl ProcessSignals {
    fn hear(ignored: Ignored, can_reload: bool) -> std::io::Result<Self> {
        let hear = |kind, is_ignored: bool| if is_ignored { Ok(None) } else { signal(kind).map(Some) };
        Ok(Self {
            interrupt: hear(SignalKind::interrupt(), ignored.interrupt)?,
            terminate: hear(SignalKind::terminate(), false)?,
            quit: hear(SignalKind::quit(), ignored.quit)?,
            hangup: hear(SignalKind::hangup(), ignored.hangup && !can_reload)?,
            user1: hear(SignalKind::user_defined1(), false)?,
            user2: hear(SignalKind::user_defined2(), false)?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            () = received(&mut self.interrupt) => Heard::End("SIGINT"),
            () = received(&mut self.terminate) => Heard::End("SIGTERM"),
            () = received(&mut self.quit) => Heard::End("SIGQUIT"),
            () = received(&mut self.hangup) => Heard::HangUp("SIGHUP"),
            () = received(&mut self.user1) => Heard::Nothing("SIGUSR1"),
            () = received(&mut self.user2) => Heard::Nothing("SIGUSR2"),
        }
    }
}

/// Ends when the signal comes. Cancel-safe.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Heard = Heard::End("SIGTERM");
    const HUP: Heard = Heard::HangUp("SIGHUP");
    const NONE_IGNORED: Ignored = Ignored { interrupt: false, quit: false, hangup: false };
    const BY_NOHUP: Ignored = Ignored { hangup: true, ..NONE_IGNORED };

    #[test]
    fn two_signals_in_one_moment_are_one_and_a_later_one_ends_it_at_once() {
        let mut wishes = Wishes::new(true, NONE_IGNORED);
        let start = Instant::now();
        let mut at = |millis| wishes.heard(TERM, false, start + Duration::from_millis(millis));
        assert_eq!((at(0), at(0), at(249)), (Wish::End, Wish::None, Wish::None));
        assert_eq!(at(250), Wish::EndAtOnce);
    }

    #[test]
    fn a_hang_up_ends_what_lost_its_terminal_unless_it_was_started_to_outlive_it() {
        let now = Instant::now();
        let hears = |can_reload, ignored| {
            let mut wishes = Wishes::new(can_reload, ignored);
            [false, true].map(|has_lost_terminal| wishes.heard(HUP, has_lost_terminal, now))
        };
        assert_eq!(hears(true, NONE_IGNORED), [Wish::Reload, Wish::End]);
        assert_eq!(hears(true, BY_NOHUP), [Wish::Reload, Wish::Reload]);
        assert_eq!(hears(false, NONE_IGNORED), [Wish::End, Wish::None]);
    }

    #[test]
    fn a_hang_up_does_not_count_as_a_first_signal_nor_as_a_second_one() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut wishes = Wishes::new(true, NONE_IGNORED);
        assert_eq!(wishes.heard(HUP, true, start), Wish::End);
        assert_eq!((wishes.heard(TERM, true, later), wishes.heard(HUP, true, later)), (Wish::None, Wish::None));
        assert_eq!(wishes.heard(HUP, false, later), Wish::None);
        assert_eq!(wishes.heard(TERM, true, later + ONE_WISH), Wish::EndAtOnce);
    }

    #[test]
    fn what_was_ignored_at_the_start_is_read_from_what_the_system_says() {
        let of = |mask: &str| Ignored::of(&format!("Name:\ttidegate\nSigBlk:\t0000000000000007\nSigIgn:\t{mask}\n"));
        assert_eq!(of("0000000000001000"), Some(NONE_IGNORED));
        assert_eq!(of("0000000000001001"), Some(BY_NOHUP));
        assert_eq!(of("0000000000000006"), Some(Ignored { interrupt: true, quit: true, hangup: false }));
        assert_eq!(Ignored::of("Name:\ttidegate\n"), None);
    }
}
