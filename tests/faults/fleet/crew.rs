//! The hosts of a fleet as processes, and what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use serde_json::{Value, json};
use toml::Table;

use super::seen::{BUCKET, Seen};
use crate::hosts::Host;
use crate::ledger::Ledger;
use crate::patience::{until, within};
use crate::row::{Form, Report};
use crate::stage::{Stage, with, work};

/// `scale.min`.
const MIN: u64 = 2;

/// How late what a host runs may be known: it follows a plan, ends what it runs and says so.
const LATE: Duration = Duration::from_secs(5);

/// How many hosts start at once, unless a storm is meant: a machine has few cores.
const FEW: usize = 10;

/// A host that is not there, in whose name a lease is taken.
pub(super) const NOBODY: &str = "nobody";

/// Hosts of one fleet, with one workload `work`, whose policy counts its calls and soon wants `max` workers.
pub(super) struct Crew {
    pub(super) stage: Stage,
    pub(super) seen: Seen,
    pub(super) hosts: BTreeMap<String, Host>,
    /// When a host was killed, paused (`false`), or began to go on (`true`).
    marks: Vec<(Instant, String, bool)>,
    /// `scale.max` of all hosts for which nothing else is said, that of the one that leads, and the largest that there
    /// was.
    written: u64,
    max: u64,
    most: u64,
    began: Instant,
    patience: Duration,
    /// Configuration that is laid over that of all.
    more: &'static str,
}

impl Crew {
    /// A fleet without hosts, whose bucket is looked at.
    pub(super) async fn on(stage: Stage, max: u64, form: Form) -> Result<Self> {
        Self::with(stage, max, form, "").await
    }

    /// The same with more of a configuration for all.
    pub(super) async fn with(stage: Stage, max: u64, form: Form, more: &'static str) -> Result<Self> {
        let seen = Seen::of(&stage).await?;
        // Each has a worker at least.
        let max = max.max(form.hosts.unwrap_or_default() as u64);
        let (hosts, marks, began, patience) = (BTreeMap::new(), Vec::new(), Instant::now(), form.patience());
        Ok(Self { stage, seen, hosts, marks, written: max, max, most: max, began, patience, more })
    }

    /// So many hosts on one server, all with a share.
    pub(super) async fn of(count: usize, form: Form) -> Result<Self> {
        let mut crew = Self::on(Stage::one().await?, form.pick(6, 40), form).await?;
        crew.join(&names(0..count)).await?;
        crew.whole().await?;
        Ok(crew)
    }

    fn config(&self, id: &str, more: &str) -> Table {
        let max = self.written;
        let over = format!(
            "policy = 'probe-policy'\npolicy-settings.mode = 'count'\n\
             scale = {{ min = {MIN}, max = {max}, interval = '200ms' }}"
        );
        let fleet = format!("fleet.bucket = '{BUCKET}'\nhost.id = '{id}'");
        let read = |text: &str| toml::from_str(text).expect("what is here is TOML");
        with(with(with(work("work", &over), read(&fleet)), read(self.more)), read(more))
    }

    /// Starts hosts with these ids, a few at a time, and awaits that they are ready.
    pub(super) async fn join(&mut self, ids: &[String]) -> Result<()> {
        for few in ids.chunks(FEW) {
            self.join_at_once(few).await?;
        }
        Ok(())
    }

    /// The same, all at once.
    pub(super) async fn join_at_once(&mut self, ids: &[String]) -> Result<()> {
        self.join_by(&self.stage.servers.urls(), ids).await
    }

    /// The same, all at once and with other ways to the servers.
    pub(super) async fn join_by(&mut self, urls: &[String], ids: &[String]) -> Result<()> {
        for id in ids {
            self.launch(id, urls, &[], "")?;
        }
        for id in ids {
            self.hosts[id].ready(1).await?;
        }
        Ok(())
    }

    /// Starts one with these variables, and a configuration that is laid over that of the others.
    pub(super) async fn join_as(&mut self, id: &str, variables: &[(&str, &str)], more: &str) -> Result<()> {
        self.launch(id, &self.stage.servers.urls(), variables, more)?;
        self.hosts[id].ready(1).await
    }

    fn launch(&mut self, id: &str, urls: &[String], variables: &[(&str, &str)], more: &str) -> Result<()> {
        let config = self.stage.config_to(urls, &self.config(id, more));
        let host = self.stage.launch(&config, variables)?;
        self.mark(id, true);
        self.hosts.insert(id.to_owned(), host);
        Ok(())
    }

    fn mark(&mut self, id: &str, goes_on: bool) {
        self.marks.push((Instant::now(), id.to_owned(), goes_on));
    }

    /// Kills a host, and says when.
    pub(super) async fn kill(&mut self, id: &str) -> Result<Instant> {
        let mut host = self.hosts.remove(id).context("it is there")?;
        let at = Instant::now();
        host.kill().await?;
        self.mark(id, false);
        Ok(at)
    }

    pub(super) fn pause(&mut self, id: &str) -> Result<Instant> {
        self.hosts[id].pause()?;
        self.mark(id, false);
        Ok(Instant::now())
    }

    pub(super) fn resume(&mut self, id: &str) -> Result<Instant> {
        let at = Instant::now();
        self.hosts[id].resume()?;
        self.mark(id, true);
        Ok(at)
    }

    /// Tells a host to end, and awaits that it has drained.
    pub(super) async fn stop(&mut self, id: &str) -> Result<()> {
        let mut host = self.hosts.remove(id).context("it is there")?;
        host.stop().await?;
        self.mark(id, false);
        Ok(())
    }

    /// Who leads, once somebody does.
    pub(super) async fn leader(&self) -> Result<String> {
        let leader = async || Some(self.seen.leader()).filter(|id| !id.is_empty());
        until(self.patience, "somebody leads", leader).await
    }

    /// Takes the lease in the name of a host that is not there, as another host would, and tells the number of its
    /// plan.
    pub(super) async fn take_lease(&self) -> Result<u64> {
        let (js, subject) = (&self.stage.js, format!("$KV.{BUCKET}.leader.work"));
        let stream = js.get_stream(format!("KV_{BUCKET}")).await?;
        loop {
            let last = stream.get_last_raw_message_by_subject(&subject).await?;
            let mut lease: Value = serde_json::from_slice(&last.payload)?;
            let epoch = lease["epoch"].as_u64().context("a plan")? + 1;
            lease["holder"] = json!({ "id": NOBODY, "boot": NOBODY });
            lease["epoch"] = epoch.into();
            let if_last =
                PublishMessage::build().payload(lease.to_string().into()).expected_last_subject_sequence(last.sequence);
            match js.send_publish(subject.clone(), if_last).await?.await {
                Ok(_) => return Ok(epoch),
                // The host that leads has written meanwhile.
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Awaits a decision after a moment by another host than this, and says how long after it came.
    pub(super) async fn decides(&self, from: Instant, but_for: &str) -> Result<Duration> {
        until(self.patience, "another host decides", async || self.seen.decided_after(from, but_for)).await
    }

    /// `scale.max` of all hosts for which nothing else is said.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// From now on one with this `scale.max` leads.
    pub(super) fn led_with(&mut self, max: u64) {
        self.max = max;
        self.most = self.most.max(max);
    }

    /// Awaits that the hosts that run have all workers, and that each runs its share.
    pub(super) async fn whole(&self) -> Result<Duration> {
        let ids: BTreeSet<&String> = self.hosts.keys().collect();
        let whole = async || {
            let (shares, running) = (self.seen.shares(), self.seen.running());
            let runs = ids.iter().all(|id| running.get(*id) == shares.get(*id));
            runs && shares.keys().collect::<BTreeSet<_>>() == ids && shares.values().sum::<u64>() == self.max
        };
        let waited = within(self.patience, "all workers run, shared out among the hosts that are there", whole).await;
        let (shares, running) = (self.seen.shares(), self.seen.running());
        waited.with_context(|| format!("hosts {ids:?}, shares {shares:?}, running {running:?}"))
    }

    /// Awaits the end of the work, and says what held.
    pub(super) async fn finish(self, ledger: &Ledger, report: &mut Report) -> Result<()> {
        self.seen.check(report);
        self.finish_checked(ledger, report).await
    }

    /// The same, where plans and decisions are checked already.
    pub(super) async fn finish_checked(self, ledger: &Ledger, report: &mut Report) -> Result<()> {
        self.stage.settled("work", self.patience).await?;
        self.whole().await?;
        for (id, host) in &self.hosts {
            report.must(host.is_running(), format!("host {id} lives"));
        }
        report.count(&ledger.audit().await?);
        self.bounds(report);
        self.picture().into_iter().for_each(|line| report.draw(line));
        Ok(())
    }

    /// What was said, or happened to a host, in its order: how many workers each host ran then. What a host says counts
    /// until it says something else, which it does twice a second.
    fn history(&self) -> Vec<(Instant, BTreeMap<String, u64>)> {
        let mut said: BTreeMap<String, u64> = BTreeMap::new();
        let mut away: BTreeSet<String> = BTreeSet::new();
        let mut marks = self.marks.iter().peekable();
        let mut history = Vec::new();
        for stored in self.seen.all() {
            let at = stored.at;
            while let Some((_, id, goes_on)) = marks.next_if(|(marked, ..)| *marked <= at) {
                if *goes_on {
                    away.remove(id);
                } else {
                    away.insert(id.clone());
                }
            }
            let Some((id, running)) = stored.says_running() else { continue };
            match running {
                Some(running) => said.insert(id.to_owned(), running),
                None => said.remove(id),
            };
            let there = said.iter().filter(|(id, _)| !away.contains(*id)).map(|(id, running)| (id.clone(), *running));
            let there: BTreeMap<String, u64> = there.collect();
            if history.last().is_none_or(|(_, before)| *before != there) {
                history.push((at, there));
            }
        }
        history
    }

    /// How many workers of all hosts were too many or too few, and for how long.
    fn bounds(&self, report: &mut Report) {
        let history: Vec<(Instant, u64)> =
            self.history().into_iter().map(|(at, running)| (at, running.values().sum())).collect();
        let began = history.iter().position(|(_, all)| *all >= MIN).unwrap_or(history.len());
        let (over, most) = longest(&history, |all| all.saturating_sub(self.most));
        let (under, fewest) = longest(&history[began..], |all| MIN.saturating_sub(all));
        // Those that move run twice at most. In a storm one moves more than once before each host has said what it
        // runs.
        let moved = self.seen.moved_within(LATE);
        report.must(most <= self.most.max(moved), format!("{most} workers more than max, and {moved} moved"));
        let seconds = |time: Duration| time.as_secs_f64();
        report.note(format!(
            "workers over max: {most} at most, for {:.1} s at most; under min: {fewest} at most, for {:.1} s at most",
            seconds(over),
            seconds(under)
        ));
    }

    /// Workers by host, a column a second; a dot where the host was away.
    fn picture(&self) -> Vec<String> {
        let history = self.history();
        let ids: BTreeSet<&String> = history.iter().flat_map(|(_, running)| running.keys()).collect();
        let Some((last, _)) = history.last() else { return Vec::new() };
        let seconds = (*last - self.began).as_secs() + 1;
        let at = |second: u64| {
            let until = self.began + Duration::from_secs(second + 1);
            history[..history.partition_point(|(at, _)| *at <= until)].last().map(|(_, running)| running)
        };
        let symbol = |running: Option<&u64>| match running {
            None => '.',
            Some(count) => u32::try_from(*count).ok().and_then(|count| char::from_digit(count, 36)).unwrap_or('+'),
        };
        let line = |id: &&String| {
            let cells = (0..seconds).map(|second| symbol(at(second).and_then(|running| running.get(*id))));
            format!("{id:>6} {}", cells.collect::<String>())
        };
        ids.iter().map(line).collect()
    }
}

/// Ids of hosts.
pub(super) fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("h{number:02}")).collect()
}

/// The longest time in which `wrong` of the workers were wrong, and the most that were.
fn longest(history: &[(Instant, u64)], wrong: impl Fn(u64) -> u64) -> (Duration, u64) {
    let (mut longest, mut most, mut since) = (Duration::ZERO, 0, None);
    for (at, all) in history {
        let count = wrong(*all);
        most = most.max(count);
        longest = longest.max(since.map_or(Duration::ZERO, |since| *at - since));
        since = if count == 0 { None } else { since.or(Some(*at)) };
    }
    (longest, most)
}
