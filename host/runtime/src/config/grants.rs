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

    /// What a person should know where the handler may send what its own workload reads of `stream`: one warning for
    /// each kind of grant.
    pub(crate) fn loops_over(&self, stream: &str, reads: &[String]) -> Vec<String> {
        let publish = first_of(&self.publish, reads).map(|of| told("publish", of, "publishes there"));
        let request = first_of(&self.request, reads).map(|of| told("request", of, "asks there"));
        let written = self.kv.iter().find_map(|grant| Some((grant, grant.read_back(stream, reads)?)));
        let kv = written.map(|(grant, read)| {
            let what = "writes there, which carries no hop count,";
            told("kv", (&grant.to_string(), &read), what)
        });
        [publish, request, kv].into_iter().flatten().collect()
    }

    /// Whether the handler may send what another workload reads of `stream`. If so, whether that carries a hop count.
    pub(super) fn reach(&self, stream: &str, reads: &[String]) -> Option<bool> {
        if first_of(&self.publish, reads).or_else(|| first_of(&self.request, reads)).is_some() {
            return Some(true);
        }
        self.kv.iter().any(|grant| grant.read_back(stream, reads).is_some()).then_some(false)
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

/// The first of these subjects that is one of those that are read, and that.
fn first_of<'s>(granted: &'s [String], reads: &'s [String]) -> Option<(&'s str, &'s str)> {
    granted
        .iter()
        .find_map(|granted| Some((granted.as_str(), reads.iter().find(|read| overlap(granted, read))?.as_str())))
}

fn told(key: &str, (granted, read): (&str, &str), does: &str) -> String {
    format!(
        "grants.{key} has `{granted}`, and this workload reads `{read}`: what its handler {does} comes back to it, \
         maybe without end; grant less, or limit the consumer with filter"
    )
}
