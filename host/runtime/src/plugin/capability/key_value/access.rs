//! What the instances of one workload share: its grants, its limits, and where its buckets are.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Mutex;

use super::{Error, KeyValue};
use crate::config::{KvAccess, KvGrant, Limits, Workload, check_key};
use crate::denial_log::DenialLog;
use crate::subject::shown;

/// Turns for increments. Those of one key come one after the other, so that only other hosts can get between.
const TURNS: usize = 64;

/// What the instances of one workload share. The default grants nothing.
#[derive(Default)]
pub(crate) struct KeyValueAccess {
    workload: String,
    grants: Vec<KvGrant>,
    pub(super) limits: Limits,
    /// Nothing before the workload is set up.
    buckets: RwLock<Option<Arc<dyn KeyValue>>>,
    turns: Vec<Mutex<()>>,
    hash: RandomState,
    denials: DenialLog,
}

impl KeyValueAccess {
    /// Of a workload whose buckets are not known yet.
    pub(crate) fn new(workload: &Workload) -> Arc<Self> {
        let grants = workload.grants.kv.clone();
        let turns = if grants.is_empty() { 0 } else { TURNS };
        Arc::new(Self {
            workload: workload.name.clone(),
            grants,
            limits: workload.limits.clone(),
            turns: (0..turns).map(|_| Mutex::default()).collect(),
            ..Self::default()
        })
    }

    /// From now on instances reach these.
    pub(crate) fn reach(&self, buckets: Arc<dyn KeyValue>) {
        *self.buckets.write() = Some(buckets);
    }

    /// What is behind the buckets.
    pub(super) fn buckets(&self) -> Result<Arc<dyn KeyValue>, Error> {
        let buckets = self.buckets.read().clone();
        buckets.ok_or_else(|| Error::Other("the workload is not set up yet".to_owned()))
    }

    /// Checks that a bucket is granted.
    pub(super) fn check_bucket(&self, bucket: &str) -> Result<(), Error> {
        if self.grants.iter().any(|grant| grant.bucket == bucket) {
            return Ok(());
        }
        self.deny(bucket, None, None);
        Err(Error::AccessDenied)
    }

    /// Checks that a key is one, and may be used so.
    pub(super) fn check(&self, bucket: &str, key: &str, access: KvAccess) -> Result<(), Error> {
        check_key(key).map_err(|why| Error::Other(format!("`{}` cannot be a key: {why}", shown(key))))?;
        if self.grants.iter().any(|grant| grant.covers(bucket, key, access)) {
            return Ok(());
        }
        self.deny(bucket, Some(key), Some(access));
        Err(Error::AccessDenied)
    }

    /// Checks the size of a value.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.limits.kv_value;
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::Other(format!("the value has {bytes} bytes, and {limit} are allowed (limits.kv-value)")))
    }

    /// How the keys begin that may be read.
    pub(super) fn prefixes(&self, bucket: &str) -> Vec<&str> {
        self.grants.iter().filter(|grant| grant.bucket == bucket).map(|grant| grant.prefix.as_str()).collect()
    }

    /// The turn of a key.
    pub(super) fn turn(&self, bucket: &str, key: &str) -> Option<&Mutex<()>> {
        let hash = usize::try_from(self.hash.hash_one((bucket, key)) >> 32).unwrap_or(0);
        self.turns.get(hash % TURNS)
    }

    fn deny(&self, bucket: &str, key: Option<&str>, access: Option<KvAccess>) {
        // A trial instance has no workload.
        if self.workload.is_empty() {
            return;
        }
        let Some(more) = self.denials.admit() else { return };
        let what = match access {
            None => "open",
            Some(KvAccess::Read) => "read",
            Some(KvAccess::ReadWrite) => "write",
        };
        let wanted = missing(&self.grants, bucket, key.unwrap_or_default(), access);
        let (bucket, key) = (shown(bucket), key.map(|key| shown(key).to_string()));
        let wanted = shown(&wanted);
        tracing::warn!(
            workload = self.workload, %bucket, key, others = more,
            "the handler may not {what} this; if it should, add it to grants.kv of the workload, as in grants.kv = \
             [\"{wanted}\"]"
        );
    }
}

/// The narrowest grant, of the kind that there is, that lets a key be used so: with the prefix of one that covers the
/// key for less, or of the key's first tokens where others have a prefix too.
fn missing(grants: &[KvGrant], bucket: &str, key: &str, access: Option<KvAccess>) -> String {
    // What a bucket is opened for is not known.
    let access = if access == Some(KvAccess::Read) { "read" } else { "read-write" };
    let of_bucket = || grants.iter().filter(|grant| grant.bucket == bucket);
    let covers = of_bucket().filter(|grant| key.starts_with(&grant.prefix)).max_by_key(|grant| grant.prefix.len());
    let tokens = || key.rfind('.').map_or(key, |dot| key.get(..=dot).unwrap_or(key));
    let prefix = match covers {
        Some(grant) => grant.prefix.as_str(),
        None if of_bucket().next().is_some() => tokens(),
        None => "",
    };
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{access} {bucket}{slash}{prefix}")
}

impl std::fmt::Debug for KeyValueAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyValueAccess").field("grants", &self.grants).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_that_is_missing_is_no_wider_than_those_that_are_there() {
        let grant = |access, prefix: &str| KvGrant { bucket: "b".to_owned(), access, prefix: prefix.to_owned() };
        let grants = [grant(KvAccess::Read, "orders."), grant(KvAccess::ReadWrite, "orders.eu.")];
        let (read, write) = (Some(KvAccess::Read), Some(KvAccess::ReadWrite));
        for (bucket, key, access, wanted) in [
            ("other", "", None, "read-write other"),
            ("other", "orders.1", read, "read other"),
            ("b", "orders.1", write, "read-write b/orders."),
            ("b", "users.ada.age", read, "read b/users.ada."),
            ("b", "users", read, "read b/users"),
            ("b", "users", write, "read-write b/users"),
        ] {
            assert_eq!(missing(&grants, bucket, key, access), wanted, "{bucket} {key}");
        }
        assert_eq!(missing(&[grant(KvAccess::Read, "")], "b", "k", write), "read-write b");
    }
}
