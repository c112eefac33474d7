//! The program on a terminal. `script` of util-linux makes one, as it does on every Linux, and what is shown on it is
//! read by an emulator of terminals.

use std::num::NonZero;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use super::{eventually, until};

/// A terminal on which the program runs, or has run. Killed when dropped.
pub(crate) struct Terminal {
    _child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
    notes: TempDir,
}

/// What runs on it: its settings before and after the program, and how that ended, go into files.
const SESSION: &str = "tty >tty; stty rows ROWS cols COLUMNS; stty -g >before; sh -c 'echo $$ >pid; exec \"$@\"' - \
                       \"$PROGRAM\" $ARGUMENTS; echo $? >code; stty -g >after";

impl Terminal {
    /// Runs `tidegate` with these arguments, none of which has a space in it, on a terminal of this size.
    pub(crate) fn run(arguments: &[&str], (rows, columns): (u16, u16)) -> Self {
        let notes = tempfile::tempdir().unwrap();
        let session = SESSION.replace("ROWS", &rows.to_string()).replace("COLUMNS", &columns.to_string());
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--command", &session, "/dev/null"])
            .current_dir(&notes)
            .env("SHELL", "/bin/sh")
            .env("PROGRAM", env!("CARGO_BIN_EXE_tidegate"))
            .env("ARGUMENTS", arguments.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("`script`, of util-linux, does not run: {error}"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let (mut output, shown) = (child.stdout.take().unwrap(), screen.clone());
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes).await {
                shown.lock().process(&bytes[..count]);
            }
        });
        Self { keyboard: child.stdin.take().unwrap(), _child: child, screen, notes }
    }

    /// What is on it.
    pub(crate) fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// The text of each row.
    pub(crate) fn rows(&self) -> Vec<String> {
        let parser = self.screen.lock();
        let (_, columns) = parser.screen().size();
        parser.screen().rows(0, columns.get()).collect()
    }

    /// The text of the row that is shown in reverse.
    pub(crate) fn chosen(&self) -> Option<String> {
        let parser = self.screen.lock();
        let (rows, columns) = parser.screen().size();
        let is_chosen = |row: &u16| parser.screen().cell(*row, 0).is_some_and(vt100::Cell::inverse);
        let row = (0..rows.get()).find(is_chosen)?;
        parser.screen().rows(0, columns.get()).nth(row.into())
    }

    /// Whether the program has the terminal to itself: an empty screen beside that of the shell, without a cursor.
    pub(crate) fn is_taken(&self) -> bool {
        let parser = self.screen.lock();
        parser.screen().alternate_screen() && parser.screen().hide_cursor()
    }

    /// Awaits that all of `parts` are shown.
    pub(crate) async fn shows(&self, parts: &[&str]) {
        let shown = async || parts.iter().all(|part| self.text().contains(part));
        eventually(&format!("{parts:?} are shown"), shown).await;
    }

    /// Presses keys.
    pub(crate) async fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Gives it another size, as a person does who draws at its window.
    pub(crate) async fn resize(&self, rows: u16, columns: u16) {
        self.screen.lock().screen_mut().set_size(some(rows), some(columns));
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        stty.args(["-F", self.noted("tty").await.trim(), "rows", &rows, "cols", &columns]);
        assert!(stty.status().await.unwrap().success());
    }

    /// Sends the program a signal.
    pub(crate) async fn signal(&self, signal: Signal) {
        let pid = self.noted("pid").await.trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Awaits the program's end, and that the terminal is as it was. Gives the exit code.
    pub(crate) async fn ends(&self) -> i32 {
        let after = self.noted("after").await;
        assert_eq!(after, self.noted("before").await, "the settings of the terminal are other ones");
        let is_given_back = async || {
            let parser = self.screen.lock();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        eventually("the screen and the cursor are given back", is_given_back).await;
        self.noted("code").await.trim().parse().unwrap()
    }

    /// What the session has written into this file, once it is whole.
    async fn noted(&self, name: &str) -> String {
        let file = self.notes.path().join(name);
        until(&format!("{name} is noted"), async || whole(&file)).await
    }
}

fn some(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).unwrap()
}

fn whole(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))
}
