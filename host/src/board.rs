//! What a workload is doing, for whoever asks: a person, a scraper.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::clock::time_of_day;
use crate::conditions::Conditions;
use crate::config::Workload;
use crate::pace::RateLimit;
use crate::ports::Author;
use crate::scaling::{Decision, Observation};
use crate::supervisor::{Crew, Desired};
use crate::tally::Traffic;

/// How many decisions are remembered.
const REMEMBERED: usize = 20;

/// One workload, from the moment that it is configured.
#[derive(Debug)]
pub struct Board {
    /// What was configured.
    pub workload: Workload,
    /// What keeps it from flowing now.
    pub conditions: Arc<Conditions>,
    dropped_lines: Vec<Arc<AtomicU64>>,
    works: Mutex<Option<Arc<Works>>>,
    scaling: Mutex<Scaling>,
    shadow: Mutex<Shadowed>,
}

/// The parts of a workload that runs, each of which counts what it does.
#[derive(Debug)]
pub struct Works {
    /// Its workers.
    pub crew: Arc<Crew>,
    /// How many are wanted.
    pub desired: Arc<Desired>,
    /// What was said to the server.
    pub traffic: Arc<Traffic>,
    /// When instances were made anew.
    pub respawns: Arc<RateLimit>,
}

/// What has been decided so far.
#[derive(Debug, Clone, Default)]
pub struct Scaling {
    /// The policy in use.
    pub policy: Option<Author>,
    /// Why the newest generation of the policy is not in use, if it is not.
    pub refused: Option<String>,
    /// Decisions, ever.
    pub decisions: u64,
    /// Ticks that ended without one, ever.
    pub failures: u64,
    /// Why the last tick ended without one, if it did.
    pub problem: Option<String>,
    /// What was seen last.
    pub seen: Option<Observation>,
    /// The last decisions that differ from the one before, oldest first.
    pub last: VecDeque<Decided>,
}

/// What a shadow has decided so far, which nobody acted upon.
#[derive(Debug, Clone, Default)]
pub struct Shadowed {
    /// The policy in use.
    pub policy: Option<Author>,
    /// Decisions, ever.
    pub decisions: u64,
    /// Those that would have given another number of workers than the live policy's, ever.
    pub differing: u64,
    /// Ticks on which it did not answer, ever.
    pub failures: u64,
    /// Ticks that passed while it was still at one before, ever.
    pub missed: u64,
    /// Why the last tick ended without a decision, or why the newest generation is not in use.
    pub problem: Option<String>,
    /// The last decision: how many workers, and why.
    pub last: Option<(u32, String)>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// When it was made first.
    pub at: SystemTime,
    /// Workers that the policy wants.
    pub desired: u32,
    /// Workers that it gets, within `scale.min` and `scale.max`.
    pub count: u32,
    /// Why, in the policy's words.
    pub reason: String,
    /// How often in a row it was made.
    pub times: u64,
}

impl Board {
    /// A workload that does not run yet. The log lines of its guests that are dropped count elsewhere.
    pub fn new(workload: Workload, dropped_lines: Vec<Arc<AtomicU64>>) -> Arc<Self> {
        let conditions = Conditions::new(workload.name.as_str().into());
        Arc::new(Self {
            workload,
            conditions,
            dropped_lines,
            works: Mutex::default(),
            scaling: Mutex::default(),
            shadow: Mutex::default(),
        })
    }

    /// It runs from now on.
    pub fn runs(&self, works: Works) {
        *self.works.lock() = Some(Arc::new(works));
    }

    /// It does not run any more. What its parts have counted is gone; a run after this one counts anew.
    pub fn ended(&self) {
        *self.works.lock() = None;
    }

    /// Its parts, if it runs.
    pub fn works(&self) -> Option<Arc<Works>> {
        self.works.lock().clone()
    }

    /// Log lines of its guests that were dropped.
    pub fn lines_dropped(&self) -> u64 {
        self.dropped_lines.iter().map(|lines| lines.load(Relaxed)).sum()
    }

    /// What has been decided.
    pub fn scaling(&self) -> Scaling {
        self.scaling.lock().clone()
    }

    /// A generation of the policy is in use.
    pub fn adopted(&self, author: Author) {
        let mut scaling = self.scaling.lock();
        scaling.policy = Some(author);
        scaling.refused = None;
    }

    /// A generation of the policy is not used.
    pub fn refused(&self, problem: &str) {
        self.scaling.lock().refused = Some(problem.to_owned());
    }

    /// This was seen.
    pub fn saw(&self, seen: Observation) {
        self.scaling.lock().seen = Some(seen);
    }

    /// This was decided, and gives so many workers.
    pub fn decided(&self, decision: &Decision, count: u32) {
        let mut scaling = self.scaling.lock();
        scaling.decisions += 1;
        scaling.problem = None;
        // What changes with each tick is the state; a person wants to see what changed the workers.
        match scaling.last.back_mut() {
            Some(last) if (last.desired, last.count) == (decision.desired, count) => {
                last.times += 1;
                last.reason.clone_from(&decision.reason);
            }
            _ => {
                let (desired, reason) = (decision.desired, decision.reason.clone());
                scaling.last.push_back(Decided { at: time_of_day(), desired, count, reason, times: 1 });
                if scaling.last.len() > REMEMBERED {
                    scaling.last.pop_front();
                }
            }
        }
    }

    /// A tick ended without a decision.
    pub fn undecided(&self, problem: &str) {
        let mut scaling = self.scaling.lock();
        scaling.failures += 1;
        scaling.problem = Some(problem.to_owned());
    }

    /// Counts what the shadow did.
    pub fn shadow(&self, count: impl FnOnce(&mut Shadowed)) {
        count(&mut self.shadow.lock());
    }

    /// What the shadow did.
    pub fn shadowed(&self) -> Shadowed {
        self.shadow.lock().clone()
    }
}
