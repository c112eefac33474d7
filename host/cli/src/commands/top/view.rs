//! What is shown: of which host, where in it, and what keys change. Pure.

use super::host::Host;
use super::keys::Key;
use super::lines::{Line, Look, line, span};
use super::status::Workload;
use super::{detail, overview};
use tidegate_runtime::text::one_line;

/// The least columns and lines in which something can be told.
const LEAST: (usize, usize) = (20, 5);

/// A host, where several are shown, and a workload of it.
type Name = (Option<String>, String);

/// Where one looks.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The workload that is chosen, by its host and its name: others may come and go above it.
    chosen: Option<Name>,
    /// Whether it is shown alone.
    is_open: bool,
    /// How many of its lines are above the screen.
    above: usize,
}

impl View {
    /// The lines of a screen of so many columns and lines.
    pub(super) fn draw(&self, host: &Host, from: &str, (width, height): (usize, usize)) -> Vec<Line> {
        if width < LEAST.0 || height < LEAST.1 {
            let text = format!("{} columns and {} lines at least", LEAST.0, LEAST.1);
            return vec![line(&text, width, Look::Plain)].into_iter().take(height).collect();
        }
        let mut lines = away(host, from, width);
        lines.extend(overview::head(host, width));
        // One is left for the foot, and one at least for what is below the head.
        lines.truncate(height.saturating_sub(3));
        let room = height.saturating_sub(lines.len()).saturating_sub(1);
        let (body, keys) = match self.open(host) {
            Some(of) => (self.part(detail::lines(of, width), room), "escape back  up/down move  q end"),
            None => (self.rows(host, width, room), "up/down choose  enter open  q end"),
        };
        lines.extend(body);
        lines.resize(height.saturating_sub(1), line("", width, Look::Plain));
        lines.push(line(keys, width, Look::Bold));
        lines
    }

    /// Takes a key. False if it ends all.
    pub(super) fn press(&mut self, key: Key, host: &Host, (width, height): (usize, usize)) -> bool {
        let page = height.saturating_sub(4).max(1);
        let (at, most) = match self.open(host) {
            Some(of) => (self.above, detail::lines(of, width).len().saturating_sub(page)),
            None => (self.place(host), host.workloads().len().saturating_sub(1)),
        };
        let to = match key {
            Key::End => return false,
            Key::Back => {
                self.is_open = false;
                return true;
            }
            Key::Open => {
                (self.is_open, self.above) = (true, if self.is_open { self.above } else { 0 });
                self.chosen = host.workloads().get(self.place(host)).map(name);
                return true;
            }
            Key::Up => at.saturating_sub(1),
            Key::Down => at.saturating_add(1),
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown => at.saturating_add(page),
            Key::First => 0,
            Key::Last => most,
        };
        let to = to.min(most);
        if self.open(host).is_some() {
            self.above = to;
        } else {
            self.chosen = host.workloads().get(to).map(name);
        }
        true
    }

    /// The place of the workload that is chosen; the first if it is gone.
    fn place(&self, host: &Host) -> usize {
        host.workloads().iter().position(|of| self.is_chosen(of)).unwrap_or(0)
    }

    fn open<'a>(&self, host: &'a Host) -> Option<&'a Workload> {
        let of = host.workloads().get(self.place(host))?;
        (self.is_open && self.is_chosen(of)).then_some(of)
    }

    fn is_chosen(&self, of: &Workload) -> bool {
        self.chosen.as_ref().is_some_and(|(on, name)| *on == of.on && *name == of.name)
    }

    /// The table, moved so that what is chosen can be seen.
    fn rows(&self, host: &Host, width: usize, room: usize) -> Vec<Line> {
        let Some(status) = &host.status else { return Vec::new() };
        let mut lines = overview::table(status, width).into_iter();
        let head = lines.next();
        let room = room.saturating_sub(1);
        let chosen = self.place(host);
        let skip = (chosen + 1).saturating_sub(room);
        let rows = lines.enumerate().map(|(place, row)| match place == chosen {
            true => Line { look: Look::Chosen, ..row },
            false => row,
        });
        head.into_iter().chain(rows.skip(skip).take(room)).collect()
    }

    fn part(&self, lines: Vec<Line>, room: usize) -> Vec<Line> {
        // The terminal may have grown since.
        let above = self.above.min(lines.len().saturating_sub(room));
        lines.into_iter().skip(above).take(room).collect()
    }
}

fn name(of: &Workload) -> Name {
    (of.on.clone(), of.name.clone())
}

/// What is said of a host that does not answer.
fn away(host: &Host, from: &str, width: usize) -> Vec<Line> {
    let text = match (&host.away, &host.status) {
        (None, Some(_)) => return Vec::new(),
        (None, None) => format!("asking {from}"),
        (Some((_, why)), None) => why.clone(),
        (Some((since, why)), Some(_)) => {
            let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            format!("AWAY for {}: what is below is what it said before; {why}", span(ms))
        }
    };
    vec![line(&one_line(&text), width, Look::Bold)]
}

#[cfg(test)]
mod tests;
