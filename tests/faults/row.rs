//! What a row of the table is, and what it reports.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;

use crate::ledger::Audit;

/// A fault, and the function that injects it and says what held.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// From 1. Rows run in this order.
    pub(crate) number: u32,
    /// In a few words.
    pub(crate) fault: &'static str,
    pub(crate) run: fn(Form) -> LocalBoxFuture<'static, Result<Report>>,
}

/// A row of this number and name, run by this async function.
macro_rules! row {
    ($number:literal, $fault:literal, $function:path) => {
        $crate::row::Row { number: $number, fault: $fault, run: |form| Box::pin($function(form)) }
    };
}
pub(crate) use row;

/// How much of it is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) long: bool,
    /// How long the soak takes in the long form.
    pub(crate) soak: Duration,
    /// What random choices follow from.
    pub(crate) seed: u64,
    /// How many hosts a fleet has, where that is asked for.
    pub(crate) hosts: Option<usize>,
}

impl Form {
    /// The one for the short form, or the one for the long form.
    pub(crate) fn pick<T>(self, short: T, long: T) -> T {
        if self.long { long } else { short }
    }

    /// How many hosts a fleet has: as many as are asked for, or one of these.
    pub(crate) fn hosts(self, short: usize, long: usize) -> usize {
        self.hosts.unwrap_or(self.pick(short, long))
    }

    /// How long anything may take before the row counts as broken: far longer than it takes.
    pub(crate) fn patience(self) -> Duration {
        self.pick(Duration::from_secs(90), Duration::from_secs(600))
    }
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Held,
    Broken,
    NotInjected,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Broken => "broken",
            Verdict::NotInjected => "not injected",
        }
    }
}

/// What came of a row.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) injected: u64,
    pub(crate) messages: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) duplicates: Option<u64>,
    /// The longest, where there are several.
    pub(crate) recovery: Option<Duration>,
    /// What else was measured.
    pub(crate) notes: Vec<String>,
    /// A picture of it, line by line.
    pub(crate) picture: Vec<String>,
    /// What did not hold.
    pub(crate) broken: Vec<String>,
    not_injected: bool,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A row that this machine cannot have, and why.
    pub(crate) fn not_injected(reason: impl Into<String>) -> Self {
        Self { not_injected: true, notes: vec![reason.into()], ..Self::default() }
    }

    /// The fault was injected once more.
    pub(crate) fn injected(&mut self) {
        self.injected += 1;
    }

    /// Adds what a ledger found. `broken` if a message was lost, or if something is there that nobody sent.
    pub(crate) fn count(&mut self, audit: &Audit) {
        *self.messages.get_or_insert(0) += audit.published;
        *self.lost.get_or_insert(0) += audit.lost.len() as u64;
        *self.duplicates.get_or_insert(0) += audit.duplicates();
        self.must(audit.lost.is_empty(), format!("lost {}: {:?}", audit.lost.len(), head(&audit.lost)));
        self.must(audit.strangers.is_empty(), format!("nobody sent {:?}", head(&audit.strangers)));
        if audit.dead > 0 {
            self.note(format!("dead letters {}", audit.dead));
        }
    }

    /// The system went on this long after the fault. The longest counts.
    pub(crate) fn recovered(&mut self, after: Duration) {
        self.recovery = Some(self.recovery.unwrap_or_default().max(after));
    }

    /// What must hold, in words that say what did not if it does not.
    pub(crate) fn must(&mut self, holds: bool, what: impl Into<String>) {
        let what = what.into();
        if !holds && !self.broken.contains(&what) && self.broken.len() < 10 {
            self.broken.push(what);
        }
    }

    /// Something worth a person's knowing.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A line of a picture.
    pub(crate) fn draw(&mut self, line: String) {
        self.picture.push(line);
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match (self.not_injected, self.broken.is_empty()) {
            (_, false) => Verdict::Broken,
            (true, true) => Verdict::NotInjected,
            (false, true) if self.injected == 0 => Verdict::Broken,
            (false, true) => Verdict::Held,
        }
    }
}

/// The first few of many.
pub(crate) fn head<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(5)]
}
