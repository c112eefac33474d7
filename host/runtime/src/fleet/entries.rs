//! What stands in the bucket: `host.<id>`, `leader.<workload>`, `plan.<workload>`, `settings.<workload>`, and what
//! people have asked for, `workers.<workload>`, which is in [`set_workers`](super::set_workers), and
//! `verdict.<workload>`; each a JSON object; and `figures.<id>`, which is in [`figures`](super::figures). A reader
//! ignores members that it does not know, for a fleet runs two versions while it is upgraded.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::{Divided, Follows, Parts};
use super::owners::Owners;
use super::set_workers::SetTime;
use crate::config::Fingerprints;
use crate::delivery::counters::Work;
use crate::rollout::together::entries::{FleetRollout, HostGenerations, RolloutPlan};

pub(crate) use super::limits::Shares;

/// No number in an entry is as large: a plan a nanosecond would take three months to come to it.
const COUNTABLE: u64 = 1 << 53;
/// Nor as large as this. One that is was not counted: it can be read, and nobody goes on from it, for nobody could read
/// what is counted on from there.
pub(crate) const COUNTED: u64 = 1 << 52;

/// Who a host is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct HostId {
    /// Its name, which no other host of the fleet has.
    pub(crate) id: String,
    /// Which process of that name: another after each start.
    pub(crate) boot: String,
}

/// `host.<id>`: that a host lives, what it is able to do, and what it does unless that stands apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HostEntry {
    /// Which process it is.
    pub(crate) boot: String,
    /// What its shares are in proportion to.
    pub(crate) capacity: u32,
    /// What it does, by workload. One that stops is not there any more, and so gets no share.
    pub(crate) workloads: BTreeMap<String, Report>,
    /// Whether that stands in `figures.<id>` instead.
    #[serde(default)]
    pub(crate) apart: bool,
    /// Whether this host reads what stands apart. One of an older version does not, and says nothing here.
    #[serde(default)]
    pub(crate) reads_apart: bool,
}

/// What a host does for one workload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default = "Report::idle")]
pub(crate) struct Report {
    /// Workers that run and do not drain.
    pub(crate) running: u32,
    /// Workers that this host wants now.
    pub(crate) wanted: u32,
    /// The most workers that it has room for; none while none can start.
    pub(crate) room: u32,
    /// Whether deliveries wait here for a worker.
    pub(crate) waiting: bool,
    /// Whether a message has started a worker since the entry before.
    pub(crate) woken: bool,
    /// Whether a limit, and not the number of workers, keeps messages waiting here.
    pub(crate) limited: bool,
    /// What it uses of the workload's limits, where those can be divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<Follows>,
    /// What its workers have done since it started.
    pub(crate) work: Work,
    /// Deliveries of a second or later attempt that they took.
    pub(crate) redelivered: u64,
    /// The generations of its handler here, where new ones are tried by a share of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) generations: Option<HostGenerations>,
    /// Workers that this host wants now of the partitions that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partition_workers: Option<u32>,
    /// How many partitions it has the workload in. Hosts get others one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partitions: Option<u32>,
}

impl Report {
    /// Of a workload that has never done anything.
    pub(crate) fn idle() -> Self {
        Self { room: u32::MAX, ..Self::default() }
    }
}

/// `leader.<workload>`: who leads, and what the next leader goes on from. Each version replaces the one before by its
/// revision, so of two hosts that both believe to lead only one can write.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Lease {
    /// Which row of leases it is of: another where the bucket was made anew and nobody knew of the row before.
    pub(crate) lineage: String,
    /// The leader; nobody where the id is empty.
    pub(crate) holder: HostId,
    /// Which plan holds. No two plans of a lineage have the same number.
    #[serde(deserialize_with = "countable")]
    pub(crate) epoch: u64,
    /// Workers that all hosts together are to run.
    pub(crate) desired: u32,
    /// The same by host.
    pub(crate) shares: Shares,
    /// The host that keeps a pull parked where no host is to run a worker; each host does where that is empty.
    #[serde(default)]
    pub(crate) parks: String,
    /// Whether all hosts read what stands apart from entries.
    #[serde(default)]
    pub(crate) apart: bool,
    /// How the limits of what is behind the handler are divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<Divided>,
    /// Which partitions each host has, of a workload that has partitions; then `desired` and `shares` count those.
    #[serde(default, skip_serializing_if = "Owners::is_empty")]
    pub(crate) owners: Owners,
    /// What the policy's next call begins with.
    pub(crate) fold: Option<Fold>,
    /// What was observed so far.
    pub(crate) watched: Watched,
    /// How much is over of the time of workers that a person has set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<SetTime>,
    /// What is known of new generations of the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rollout: Option<FleetRollout>,
    /// What the plan of this epoch says of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) told: Option<RolloutPlan>,
}

/// A policy between two calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fold {
    /// The plugin's name.
    pub(crate) plugin: String,
    /// The whole digest of its generation.
    pub(crate) generation: String,
    /// A digest of what it got in `init`.
    #[serde(default)]
    pub(crate) settings: String,
    /// Its state.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(crate) state: Vec<u8>,
    /// Decisions that have been acted upon, ever: the place in the journal.
    #[serde(deserialize_with = "counted")]
    pub(crate) decisions: u64,
}

/// What a new leader goes on counting from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Watched {
    /// Messages that have arrived since the first leader began to watch.
    #[serde(deserialize_with = "counted")]
    pub(crate) arrivals: u64,
    /// Milliseconds that leaders have watched.
    #[serde(deserialize_with = "counted")]
    pub(crate) elapsed_ms: u64,
    /// The time that the policy was told last, in milliseconds since the Unix epoch.
    #[serde(deserialize_with = "counted")]
    pub(crate) now_ms: u64,
}

/// `plan.<workload>`: what the hosts follow. Written when it changes, and by each new leader first of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Plan {
    /// As in the lease.
    pub(crate) lineage: String,
    /// As in the lease.
    pub(crate) holder: HostId,
    /// As in the lease.
    #[serde(deserialize_with = "countable")]
    pub(crate) epoch: u64,
    /// As in the lease.
    pub(crate) desired: u32,
    /// As in the lease.
    pub(crate) shares: Shares,
    /// Which generations of the handler the workers run, where new ones are tried by a share of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rollout: Option<RolloutPlan>,
    /// As in the lease.
    #[serde(default)]
    pub(crate) parks: String,
    /// As in the lease.
    #[serde(default)]
    pub(crate) apart: bool,
    /// As in the lease; without it each host has the whole limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<Parts>,
    /// As in the lease.
    #[serde(default, skip_serializing_if = "Owners::is_empty")]
    pub(crate) owners: Owners,
}

/// `settings.<workload>`: what the settings of the leader come to, so that others can tell theirs from them. Written by
/// each new leader.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The leader.
    pub(crate) holder: HostId,
    /// The beginning of a digest of each setting, by its key.
    pub(crate) keys: Fingerprints,
}

impl Settings {
    /// The keys that differ from these.
    pub(crate) fn differ(&self, own: &Fingerprints) -> Vec<String> {
        // A key that only one of them knows is of another version of the program.
        let other = |(key, print): &(&String, &String)| own.get(*key).is_some_and(|own| own != *print);
        self.keys.iter().filter(other).map(|(key, _)| key.clone()).collect()
    }
}

impl Plan {
    /// Whether the other can only have been written before this one, or in another state of the bucket: it is earlier
    /// in the same row, or has the same number but is another host's.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        let is_later = self.epoch > other.epoch || (self.epoch == other.epoch && self.holder != other.holder);
        self.lineage == other.lineage && is_later
    }
}

impl Lease {
    /// The plan that it has decided.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            lineage: self.lineage.clone(),
            holder: self.holder.clone(),
            epoch: self.epoch,
            desired: self.desired,
            shares: self.shares.clone(),
            rollout: self.told.clone(),
            parks: self.parks.clone(),
            apart: self.apart,
            limit: self.limit.as_ref().map(Divided::parts),
            owners: self.owners.clone(),
        }
    }
}

/// The key of a host's entry.
pub(crate) fn host_key(id: &str) -> String {
    format!("host.{id}")
}

/// The key of a host's figures.
pub(crate) fn figures_key(id: &str) -> String {
    format!("figures.{id}")
}

/// The key of a workload's lease.
pub(crate) fn lease_key(workload: &str) -> String {
    format!("leader.{workload}")
}

/// The key of a workload's plan.
pub(crate) fn plan_key(workload: &str) -> String {
    format!("plan.{workload}")
}

/// The key of what a workload's leader has for settings.
pub(crate) fn settings_key(workload: &str) -> String {
    format!("settings.{workload}")
}

/// The key of the workers that a person has set.
pub(crate) fn workers_key(workload: &str) -> String {
    format!("workers.{workload}")
}

/// The key of what a person has decided about a trial, a [`Verdict`](crate::rollout::together::entries::Verdict).
pub(crate) fn verdict_key(workload: &str) -> String {
    format!("verdict.{workload}")
}

/// An entry as it is written.
pub(crate) fn text(entry: &impl Serialize) -> Vec<u8> {
    // Nothing in an entry is a number that JSON cannot have, nor a key that is no text.
    serde_json::to_vec(entry).unwrap_or_default()
}

/// An entry as it was written. The error says what is wrong, and what to do.
pub(crate) fn read<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| {
        let remedy = "give the fleet a bucket of its own, or delete the key";
        format!("{key} is not what a host writes there ({error}); {remedy}")
    })
}

/// What stands at the key of a lease.
#[derive(Debug, PartialEq)]
pub(crate) enum FoundLease {
    /// A lease, or none.
    Read(Option<Box<Lease>>),
    /// What is no lease of any version, and may be written over as if nothing stood there. What is wrong with it.
    Spoiled(String),
    /// A lease that this version cannot read whole. It says who leads, and its policy's state would be lost.
    Unknown(String),
}

/// What every version writes into a lease.
#[derive(Deserialize)]
struct AnyLease {
    #[serde(rename = "lineage")]
    _lineage: String,
    #[serde(rename = "holder")]
    _holder: HostId,
    #[serde(rename = "epoch", deserialize_with = "countable")]
    _epoch: u64,
}

/// What stands at the key of a lease. A lease has no number of a version: each version ignores members that it does not
/// know, but a member that it knows may have come to hold what it cannot read. So what has the members that every
/// version writes is a lease, which a host of an older version must not write over.
pub(crate) fn read_lease(key: &str, value: Option<&[u8]>) -> FoundLease {
    let Some(value) = value else { return FoundLease::Read(None) };
    match (read(key, value), serde_json::from_slice::<AnyLease>(value)) {
        (Ok(lease), _) => FoundLease::Read(Some(Box::new(lease))),
        (Err(problem), Ok(_)) => FoundLease::Unknown(problem),
        (Err(problem), Err(_)) => FoundLease::Spoiled(problem),
    }
}

/// A number that somebody has counted to, so that one more is no overflow.
fn countable<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(from)?;
    if number < COUNTABLE { Ok(number) } else { Err(D::Error::custom(format!("nobody has counted to {number}"))) }
}

/// The same of what a new leader goes on from: it begins anew with a number that nobody has counted to.
fn counted<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(from)?;
    Ok(if number < COUNTED { number } else { 0 })
}

fn to_base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_newer_version_is_read_and_what_is_none_is_told_by_its_key() {
        let newer = br#"{"lineage":"a","holder":{"id":"h","boot":""},"epoch":3,"desired":2,"shares":{"h":2},"new":1}"#;
        let plan: Plan = read("plan.orders", newer).unwrap();
        assert_eq!((plan.epoch, plan.shares["h"]), (3, 2));
        let wrong = read::<Plan>("plan.orders", b"hello").unwrap_err();
        assert!(wrong.starts_with("plan.orders is not what a host writes there"), "{wrong}");
        let lease = text(&Lease { epoch: u64::MAX, ..Lease::default() });
        let wrong = read::<Lease>("leader.orders", &lease).unwrap_err();
        assert!(wrong.contains("nobody has counted to 18446744073709551615"), "{wrong}");
    }

    #[test]
    fn settings_that_differ_are_told_by_their_keys_and_those_of_another_version_are_not() {
        let of = |pairs: &[(&str, &str)]| -> Fingerprints {
            pairs.iter().map(|(key, print)| ((*key).to_owned(), (*print).to_owned())).collect()
        };
        let settings = Settings { keys: of(&[("a", "1"), ("b", "2"), ("new", "3")]), ..Settings::default() };
        assert_eq!(settings.differ(&of(&[("a", "1"), ("b", "9"), ("old", "4")])), ["b"]);
        assert!(settings.differ(&settings.keys).is_empty());
    }

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let (plugin, generation, settings) = ("p".to_owned(), "g".to_owned(), "s".to_owned());
        let fold = Some(Fold { plugin, generation, settings, state: vec![0, 255, 7], decisions: 9 });
        let lease = Lease { lineage: "l".to_owned(), epoch: 4, fold, ..Lease::default() };
        assert_eq!(read::<Lease>("leader.orders", &text(&lease)), Ok(lease));
    }

    #[test]
    fn numbers_of_a_lease_that_nobody_has_counted_to_are_begun_anew() {
        for wrong in [COUNTED, COUNTABLE - 1, COUNTABLE, u64::MAX] {
            let watched = Watched { arrivals: wrong, elapsed_ms: wrong, now_ms: wrong };
            let fold = Fold {
                plugin: "p".to_owned(),
                generation: "g".to_owned(),
                settings: String::new(),
                state: vec![7],
                decisions: wrong,
            };
            let lease = text(&Lease { epoch: 3, watched, fold: Some(fold.clone()), ..Lease::default() });
            let FoundLease::Read(Some(lease)) = read_lease("leader.orders", Some(&lease)) else { panic!("{wrong}") };
            assert_eq!((lease.epoch, lease.watched), (3, Watched::default()));
            assert_eq!(lease.fold, Some(Fold { decisions: 0, ..fold }), "the policy's state goes on");
        }
    }

    #[test]
    fn what_is_no_lease_of_any_version_is_told_from_one_that_this_version_cannot_read() {
        let found = |value: &[u8]| read_lease("leader.orders", Some(value));
        assert_eq!(read_lease("leader.orders", None), FoundLease::Read(None));
        assert_eq!(found(&text(&Lease::default())), FoundLease::Read(Some(Box::default())));
        let uncounted = text(&Lease { epoch: u64::MAX, ..Lease::default() });
        let entry = text(&HostEntry::default());
        for spoiled in [b"garbage".as_slice(), b"", b"{}", b"[]", b"\xff", &uncounted, &entry] {
            assert!(matches!(found(spoiled), FoundLease::Spoiled(_)), "{}", String::from_utf8_lossy(spoiled));
        }
        let newer = br#"{"lineage":"a","holder":{"id":"h","boot":"1"},"epoch":3,"desired":"many"}"#;
        let FoundLease::Unknown(problem) = found(newer) else { panic!("{:?}", found(newer)) };
        assert!(problem.starts_with("leader.orders is not what a host writes there"), "{problem}");
    }
}
