//! What the instances of one workload share: its grants, its limits, and where its buckets are.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Mutex;

use super::{Error, KeyValue};
use crate::config::{KvAccess, KvGrant, Limits, Workload, check_key};
use crate::plugin::capability::denial_log::DenialLog;
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
        self.deny(bucket, None, "open");
        Err(Error::AccessDenied)
    }

    /// Checks that a key is one, and may be used so.
    pub(super) fn check(&self, bucket: &str, key: &str, access: KvAccess) -> Result<(), Error> {
        check_key(key).map_err(|why| Error::Other(format!("`{}` cannot be a key: {why}", shown(key))))?;
        if self.grants.iter().any(|grant| grant.covers(bucket, key, access)) {
            return Ok(());
        }
        self.deny(bucket, Some(key), if access == KvAccess::Read { "read" } else { "write" });
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

    fn deny(&self, bucket: &str, key: Option<&str>, what: &str) {
        // A trial instance has no workload.
        if self.workload.is_empty() {
            return;
        }
        let Some(more) = self.denials.admit() else { return };
        let (bucket, key) = (shown(bucket), key.map(|key| shown(key).to_string()));
        tracing::warn!(
            workload = self.workload, %bucket, key, others = more,
            "the handler may not {what} this; if it should, add it to grants.kv of the workload, as in grants.kv = \
             [\"read-write {bucket}\"]"
        );
    }
}

impl std::fmt::Debug for KeyValueAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyValueAccess").field("grants", &self.grants).finish_non_exhaustive()
    }
}
