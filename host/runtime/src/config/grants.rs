//! Where the effects of a handler may go.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::http_grants::HttpGrant;
use super::keys::WORKLOAD;
use super::kv_grants::KvGrant;
use super::names::overlap;
use super::nats_headers::NatsHeaders;
use super::reader::Reader;

/// Where the effects of a handler may go: subjects, with wildcards, origins and buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// What it may publish on; nothing by default.
    pub publish: Vec<String>,
    /// What it may send requests on, by core NATS; nothing by default.
    pub request: Vec<String>,
    /// Where a requester may have the reply sent. Whoever may publish to the stream chooses that subject, and the
    /// host's rights are not theirs.
    pub reply: Vec<String>,
    /// What its publications may ask of their streams; nothing by default.
    pub nats_headers: Vec<NatsHeaders>,
    /// Where it may send HTTP requests; nowhere by default.
    pub http: Vec<HttpGrant>,
    /// A file with authorities whose certificates those servers may have, beside the system's.
    pub http_ca: Option<PathBuf>,
    /// Key-value buckets that it may use; none by default.
    pub kv: Vec<KvGrant>,
}

impl Default for Grants {
    fn default() -> Self {
        Reader::of_nothing(WORKLOAD, Self::read)
    }
}

impl Grants {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        Self {
            publish: keys.get("grants.publish"),
            request: keys.get("grants.request"),
            reply: keys.get("grants.reply"),
            nats_headers: NatsHeaders::read(&keys.get::<Vec<String>>("grants.nats-headers")),
            http: HttpGrant::read(&keys.get::<Vec<String>>("grants.http")),
            http_ca: keys.path("grants.http-ca"),
            kv: KvGrant::read(&keys.get::<Vec<String>>("grants.kv")),
        }
    }

    /// Whether the handler may publish on a literal subject.
    pub(crate) fn may_publish(&self, subject: &str) -> bool {
        self.publish.iter().any(|granted| overlap(granted, subject))
    }

    /// Whether the handler may send requests on a literal subject.
    pub(crate) fn may_request(&self, subject: &str) -> bool {
        self.request.iter().any(|granted| overlap(granted, subject))
    }

    /// What a person should know where the handler may publish on a subject that its own workload reads.
    pub(crate) fn loop_over(&self, reads: &[String]) -> Option<String> {
        let (granted, read) = self
            .publish
            .iter()
            .find_map(|granted| reads.iter().find(|read| overlap(granted, read)).map(|read| (granted, read)))?;
        Some(format!(
            "grants.publish has `{granted}`, and this workload reads `{read}`: what its handler publishes there comes \
             back to it, maybe without end; grant less, or limit the consumer with filter"
        ))
    }

    /// The names of the buckets that it may use, each once.
    pub(crate) fn buckets(&self) -> BTreeSet<&str> {
        self.kv.iter().map(|grant| grant.bucket.as_str()).collect()
    }

    /// Whether a reply may go to a literal subject.
    pub(crate) fn may_reply(&self, subject: &str) -> bool {
        self.reply.iter().any(|granted| overlap(granted, subject))
    }
}
