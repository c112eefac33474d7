//! What signals do: none of them ends the process before its work is settled, but a second one that asks for it.

use std::fs::File;
use std::process::exit;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use tidegate_lab::log_output;

/// What a process exits with that was told twice to end.
const FORCED: i32 = 130;
/// How long a process that is told twice waits for its last line to be written.
const LAST_LINE: Duration = Duration::from_millis(250);

/// Ends at the first SIGINT, SIGTERM, SIGQUIT or SIGHUP. A second one of them ends the process, but for SIGHUP, which
/// may come before another when a terminal is closed. SIGUSR1 and SIGUSR2 mean nothing here, and are told.
///
/// # Errors
/// If signals cannot be heard.
pub fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    hear(None)
}

/// The same for a host, which SIGHUP does not end but tells to read its configuration again: then `reload` is called.
/// It ends a host whose terminal is gone.
///
/// # Errors
/// If signals cannot be heard.
pub fn shutdown_or_reload(reload: impl Fn() + Send + 'static) -> std::io::Result<impl Future<Output = ()>> {
    hear(Some(Box::new(reload)))
}

fn hear(reload: Option<Box<dyn Fn() + Send>>) -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = ProcessSignals::hear()?;
    let had_terminal = has_terminal();
    let (first, is_first) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut first, mut asked) = (Some(first), false);
        loop {
            match signals.next().await {
                Heard::Nothing(name) => tracing::warn!("{name} means nothing to tidegate"),
                Heard::HangUp(_) if !asked && reload.is_some() && has_terminal() == had_terminal => {
                    reload.iter().for_each(|reload| reload());
                }
                Heard::End(name) if asked => {
                    tracing::warn!(
                        "second signal, {name}: ending at once; what is not settled is delivered again after its ack \
                         wait"
                    );
                    log_output::finish(LAST_LINE);
                    exit(FORCED);
                }
                heard => {
                    asked |= matches!(heard, Heard::End(_));
                    if let Some(first) = first.take() {
                        let (Heard::End(name) | Heard::HangUp(name) | Heard::Nothing(name)) = heard;
                        tracing::info!("{name}: ending");
                        // Nobody may be waiting any more.
                        let _ = first.send(());
                    }
                }
            }
        }
    });
    Ok(async {
        let _ = is_first.await;
    })
}

/// Whether the process has a terminal that can end it. One that was closed is none any more.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

enum Heard {
    End(&'static str),
    HangUp(&'static str),
    Nothing(&'static str),
}

struct ProcessSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl ProcessSignals {
    fn hear() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.recv() => Heard::End("SIGINT"),
            _ = self.terminate.recv() => Heard::End("SIGTERM"),
            _ = self.quit.recv() => Heard::End("SIGQUIT"),
            _ = self.hangup.recv() => Heard::HangUp("SIGHUP"),
            _ = self.user1.recv() => Heard::Nothing("SIGUSR1"),
            _ = self.user2.recv() => Heard::Nothing("SIGUSR2"),
        }
    }
}
