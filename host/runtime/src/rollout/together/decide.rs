//! What a leader makes of what the hosts say: which generation is tried, and how that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::entries::{EndedTrial, FleetRollout, HostGenerations, LateHost, Taken, Tried, Verdict};
use crate::config::RolloutConfig;
use crate::delivery::by_generation::CallSums;
use crate::digest::Digest;
use crate::rollout::ending::{BY_HAND, Ending};
use crate::rollout::trial::{self, Comparison};

/// Hosts of which it is kept what was taken in though they are not there now.
const KEPT: usize = 1000;
/// For how long a host that is gone counts with the file that it had last, in milliseconds that leaders have watched.
/// A host that has another id after each start does not come back.
const AWAY: u64 = 3_600_000;

/// A host that says which generations it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostSeen<'a> {
    pub(crate) id: &'a str,
    /// Which process of that name.
    pub(crate) boot: &'a str,
    pub(crate) generations: &'a HostGenerations,
}

/// When it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moment {
    /// Milliseconds that leaders have watched: what a trial lasts by.
    pub(crate) elapsed_ms: u64,
    /// Milliseconds since the Unix epoch, for who looks.
    pub(crate) now_ms: u64,
}

/// What comes after `before`, given what all hosts say that are there; `None` while none has said anything.
pub(crate) fn next(
    before: Option<&FleetRollout>,
    rules: &RolloutConfig,
    hosts: &[HostSeen<'_>],
    person: Option<&Verdict>,
    at: Moment,
) -> Option<FleetRollout> {
    let mut now = match before {
        Some(before) => before.clone(),
        // What a person has decided about an earlier trial is not about the next one.
        None => FleetRollout {
            number: person.map_or(0, |verdict| verdict.number),
            ..FleetRollout::first(most_common(hosts.iter().map(|host| &host.generations.stable))?)
        },
    };
    if hosts.is_empty() {
        return Some(now);
    }
    let files = Files::of(hosts);
    let late = now.late_now(hosts, at);
    now.rejected = now.rejected.filter(|rejected| late.values().any(|late| late.file == *rejected));
    now.passed.retain(|passed, _| late.values().any(|late| late.file == *passed));
    now.keep_one_in_use(hosts, &files, at);
    now.follow_the_files(rules, hosts, &files, at);
    now.obey(person, hosts, at);
    now.look(rules, hosts, at);
    let wanted = now.tried.as_ref().map_or(&now.stable, |tried| &tried.generation);
    let without = hosts.iter().filter(|host| !host.generations.holds(wanted)).map(|host| host.id.to_owned());
    now.without = without.collect();
    now.late_hosts = now.late_now(hosts, at);
    Some(now)
}

/// The generations that the hosts' files have, and how many have each.
struct Files<'a>(BTreeMap<&'a Digest, usize>);

impl<'a> Files<'a> {
    fn of(hosts: &[HostSeen<'a>]) -> Self {
        let mut files = BTreeMap::new();
        hosts.iter().for_each(|host| *files.entry(&host.generations.file).or_default() += 1);
        Self(files)
    }

    fn has(&self, generation: &Digest) -> bool {
        self.0.contains_key(generation)
    }

    /// The one that all have.
    fn only(&self) -> Option<&'a Digest> {
        self.0.keys().next().copied().filter(|_| self.0.len() == 1)
    }

    /// The one that most have, of these.
    fn most(&self, is_meant: impl Fn(&Digest) -> bool) -> Option<&'a Digest> {
        let meant = self.0.iter().filter(|(generation, _)| is_meant(generation));
        meant.max_by_key(|(_, count)| **count).map(|(generation, _)| *generation)
    }
}

impl FleetRollout {
    fn first(stable: Digest) -> Self {
        Self {
            stable,
            number: 0,
            tried: None,
            rejected: None,
            passed: BTreeMap::new(),
            late_hosts: BTreeMap::new(),
            last: None,
            ended: Default::default(),
            without: Vec::new(),
        }
    }

    /// Hosts whose file has a generation that was rejected or passed. One that is gone may come back with it.
    fn late_now(&self, hosts: &[HostSeen<'_>], at: Moment) -> BTreeMap<String, LateHost> {
        let is_old = |file: &Digest| self.rejected.as_ref() == Some(file) || self.passed.contains_key(file);
        let there: BTreeMap<&str, &Digest> = hosts.iter().map(|host| (host.id, &host.generations.file)).collect();
        let away = self.late_hosts.iter().filter(|(id, late)| !there.contains_key(id.as_str()) && is_old(&late.file));
        let gone = |late: &LateHost| late.gone_ms.map_or(at.elapsed_ms, |gone| gone.min(at.elapsed_ms));
        let away = away.map(|(id, late)| (gone(late), id, &late.file));
        let mut away: Vec<_> = away.filter(|(gone, ..)| at.elapsed_ms.saturating_sub(*gone) < AWAY).collect();
        away.sort_unstable_by(|one, other| other.cmp(one));
        away.truncate(KEPT);
        let away = away.into_iter().map(|(gone, id, file)| (id.as_str(), file, Some(gone)));
        let late = there.iter().map(|(id, file)| (*id, *file, None)).filter(|(_, file, _)| is_old(file)).chain(away);
        late.map(|(id, file, gone_ms)| (id.to_owned(), LateHost { file: file.clone(), gone_ms })).collect()
    }

    /// Where no host has the generation in use any more, another is.
    fn keep_one_in_use(&mut self, hosts: &[HostSeen<'_>], files: &Files<'_>, at: Moment) {
        let is_held = |generation: &Digest| hosts.iter().any(|host| host.generations.holds(generation));
        if is_held(&self.stable) {
            return;
        }
        if self.tried.as_ref().is_some_and(|tried| is_held(&tried.generation)) {
            return self.end(Ending::Promoted, "no host has the generation before any more", true, at);
        }
        self.end(Ending::Replaced, "no host has it any more", false, at);
        let rejected = self.rejected.clone();
        let others = files.most(|file| Some(file) != rejected.as_ref());
        if let Some(stable) = others.or_else(|| files.most(|_| true)) {
            self.stable = stable.clone();
            self.rejected = rejected.filter(|rejected| rejected != stable);
            self.passed.remove(stable);
        }
    }

    /// Begins a trial where a file has changed, and ends one whose file is no more.
    fn follow_the_files(&mut self, rules: &RolloutConfig, hosts: &[HostSeen<'_>], files: &Files<'_>, at: Moment) {
        if self.tried.as_ref().is_some_and(|tried| !files.has(&tried.generation)) {
            // A host that had its file may be gone, and no file has changed.
            let had = |host: &HostSeen<'_>| self.tried.as_ref().is_some_and(|tried| tried.had(host.id));
            let again = files.only() == Some(&self.stable) && hosts.iter().any(had);
            let why = if again { "its file has the generation before again" } else { "no host has its file any more" };
            self.end(Ending::Replaced, why, false, at);
        }
        let tried = self.tried.as_ref().map(|tried| tried.generation.clone());
        let is_old = |file: &Digest| {
            *file == self.stable || Some(file) == tried.as_ref() || Some(file) == self.rejected.as_ref()
        };
        let new = files.most(|file| !is_old(file) && !self.passed.contains_key(file));
        // One that was there before and that all have: somebody has put it back.
        let Some(new) = new.or(files.only().filter(|file| !is_old(file))) else { return };
        self.end(Ending::Replaced, "its file has changed again", false, at);
        // What no host's file has, also of those that are away, is left out with the next decision.
        self.passed.extend(tried.into_iter().chain(self.rejected.take()).map(|old| (old, false)));
        self.passed.remove(new);
        // Anybody who may write a verdict may have written the number.
        self.number = self.number.wrapping_add(1);
        let mut begun = Tried {
            generation: new.clone(),
            began_ms: at.now_ms,
            since_ms: at.elapsed_ms,
            elapsed_ms: 0,
            turns: 0,
            workers: BTreeMap::new(),
            taken: BTreeMap::new(),
            compared: Comparison::new(rules),
        };
        begun.take_in(&self.stable, hosts);
        self.tried = Some(begun);
    }

    /// Does what a person has decided about this trial. What is done already changes nothing.
    fn obey(&mut self, person: Option<&Verdict>, hosts: &[HostSeen<'_>], at: Moment) {
        let Some(verdict) = person.filter(|verdict| verdict.number == self.number) else { return };
        match (verdict.promote, self.tried.is_some()) {
            (true, true) => self.end(Ending::Promoted, BY_HAND, false, at),
            (false, true) => self.end(Ending::Aborted, BY_HAND, false, at),
            (true, false) => {
                let held = |rejected: &Digest| hosts.iter().any(|host| host.generations.holds(rejected));
                let Some(rejected) = self.rejected.take_if(|rejected| held(rejected)) else { return };
                let numbers = self.last.as_ref().map(|last| last.numbers).unwrap_or_default();
                self.passed.insert(std::mem::replace(&mut self.stable, rejected.clone()), true);
                self.record(EndedTrial {
                    generation: rejected,
                    ending: Ending::Promoted,
                    reason: BY_HAND.to_owned(),
                    in_doubt: false,
                    at_ms: at.now_ms,
                    numbers,
                });
            }
            (false, false) => {}
        }
    }

    /// Takes in what calls came to since, and acts upon it.
    fn look(&mut self, rules: &RolloutConfig, hosts: &[HostSeen<'_>], at: Moment) {
        let Some(tried) = &mut self.tried else { return };
        let is_its = |(generation, _): &&(Digest, String)| *generation == tried.generation;
        let unusable = hosts.iter().find_map(|host| Some((host, host.generations.unusable.as_ref().filter(is_its)?)));
        if let Some((host, (_, why))) = unusable {
            return self.end(Ending::RolledBack, &format!("{why} (host {})", host.id), false, at);
        }
        tried.take_in(&self.stable, hosts);
        // What leaders have watched may have begun anew.
        tried.since_ms = tried.since_ms.min(at.elapsed_ms);
        tried.elapsed_ms = at.elapsed_ms.saturating_sub(tried.since_ms);
        match tried.compared.verdict(rules, Duration::from_millis(tried.elapsed_ms)) {
            trial::Verdict::GoOn => {}
            trial::Verdict::Promote(why) => self.end(Ending::Promoted, &why, false, at),
            trial::Verdict::PromoteInDoubt(why) => self.end(Ending::Promoted, &why, true, at),
            trial::Verdict::RollBack(why) => self.end(Ending::RolledBack, &why, false, at),
        }
    }

    /// Ends the trial, if one goes on.
    fn end(&mut self, ending: Ending, reason: &str, in_doubt: bool, at: Moment) {
        let Some(Tried { generation, compared, .. }) = self.tried.take() else { return };
        match ending {
            Ending::Promoted => {
                self.passed.insert(std::mem::replace(&mut self.stable, generation.clone()), true);
            }
            Ending::RolledBack | Ending::Aborted => self.rejected = Some(generation.clone()),
            Ending::Replaced => {}
        }
        let (reason, numbers) = (reason.to_owned(), compared.measured().into());
        self.record(EndedTrial { generation, ending, reason, in_doubt, at_ms: at.now_ms, numbers });
    }

    fn record(&mut self, ended: EndedTrial) {
        if let Some(count) = self.ended.get_mut(ended.ending as usize) {
            *count += 1;
        }
        self.last = Some(ended);
    }
}

impl Tried {
    /// Whether a host has had it.
    fn had(&self, host: &str) -> bool {
        self.taken.get(host).is_some_and(|taken| taken.new.is_some())
    }

    /// Takes in what each host has counted since. What it had counted when it was seen first does not count.
    fn take_in(&mut self, stable: &Digest, hosts: &[HostSeen<'_>]) {
        let (mut all_new, mut all_old) = (CallSums::default(), CallSums::default());
        let since = |now: Option<CallSums>, before: Option<CallSums>| {
            now.zip(before).map_or_else(CallSums::default, |(now, before)| now.since(before))
        };
        // A replica that lags may bring what a host said before: that is taken in already.
        let last = |now: Option<CallSums>, before: Option<CallSums>| match (now, before) {
            (Some(now), Some(before)) if now.calls < before.calls => Some(before),
            (now, _) => now,
        };
        for HostSeen { id, boot, generations } in hosts {
            let of = |generation: &Digest| generations.calls.get(generation).copied();
            let boot = format!("{boot}.{}", generations.run);
            let (mut new, mut old) = (of(&self.generation), of(stable));
            if let Some(before) = self.taken.get(*id).filter(|taken| taken.boot == boot) {
                all_new = all_new.plus(since(new, before.new));
                all_old = all_old.plus(since(old, before.old));
                (new, old) = (last(new, before.new), last(old, before.old));
            }
            self.taken.insert((*id).to_owned(), Taken { boot, new, old });
        }
        if self.taken.len() > KEPT {
            let there: BTreeSet<&str> = hosts.iter().map(|host| host.id).collect();
            self.taken.retain(|id, _| there.contains(id.as_str()));
        }
        self.compared.add(all_new, all_old);
    }
}

fn most_common<'a>(all: impl Iterator<Item = &'a Digest>) -> Option<Digest> {
    let mut counts: BTreeMap<&Digest, usize> = BTreeMap::new();
    all.for_each(|of| *counts.entry(of).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(of, _)| of.clone())
}
