//! Hosts that answer as a NATS service, found and asked as commands do.

use std::time::Duration;

use async_nats::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::Client;
use crate::permissions::{Denial, SERVICE, Verb};
use crate::subject::{check_subject, shown};

/// How long others may take to answer after the last one that did.
const OTHERS: Duration = Duration::from_millis(300);
/// The most hosts that are listed.
const MOST: usize = 10_000;

/// A host that answers as a NATS service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundHost {
    /// What it is called: one token of its subjects.
    pub id: String,
    /// The name of its machine, with its process.
    pub host: String,
    /// The first tokens of its subjects.
    pub prefix: String,
    /// Its version.
    pub version: String,
    /// Whether it takes orders.
    pub admin: bool,
    /// Its workloads, as far as they fit into its answer.
    pub workloads: Vec<String>,
    /// Whether those are all.
    pub has_more: bool,
}

/// Why a host was not found, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server does not let this user ask.
    #[error(
        "the NATS server does not let this user {verb} to `{subject}`\n  Allow it; `tidegate permissions --who-asks` \
         prints what a person needs who asks hosts."
    )]
    Denied {
        /// To do what.
        verb: Verb,
        /// With which subject.
        subject: String,
    },
    /// Nobody listens.
    #[error(
        "no host answers on `{subject}`\n  One does that has service.enabled = true, in this account, while it runs."
    )]
    Nobody {
        /// Where.
        subject: String,
    },
    /// The host does not answer in time.
    #[error("a host was asked on `{subject}` and has not answered within {within:?}")]
    Silent {
        /// Where.
        subject: String,
        /// How long was waited.
        within: Duration,
    },
    /// The host answered that it does not.
    #[error("{why}")]
    Refused {
        /// A code as HTTP has them.
        code: u16,
        /// Why not.
        why: String,
    },
    /// The request could not be sent.
    #[error("the request could not be sent: {0}")]
    Send(String),
}

impl FoundHost {
    /// The subject on which it is asked for something.
    pub fn subject(&self, what: &str) -> String {
        format!("{}.{}.{what}", self.prefix, self.id)
    }

    /// Whether it has a workload, as far as is known.
    pub fn may_have(&self, workload: &str) -> bool {
        self.has_more || self.workloads.iter().any(|name| name == workload)
    }

    /// Reads what it said about itself; `None` if that is not of a host.
    fn read(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Info {
            name: String,
            id: String,
            version: String,
            metadata: Metadata,
            #[serde(default)]
            endpoints: Vec<Endpoint>,
        }
        #[derive(Deserialize)]
        struct Metadata {
            host: String,
            prefix: String,
            admin: String,
            #[serde(rename = "endpoints-left-out")]
            left_out: Option<String>,
        }
        #[derive(Deserialize)]
        struct Endpoint {
            #[serde(default)]
            metadata: std::collections::BTreeMap<String, String>,
        }
        let Info { name, id, version, metadata, endpoints } = serde_json::from_slice(payload).ok()?;
        let Metadata { host, prefix, admin, left_out } = metadata;
        let is_one = name == SERVICE && !id.contains('.') && check_subject(&format!("{prefix}.{id}")).is_ok();
        let workloads = endpoints.into_iter().filter_map(|mut endpoint| endpoint.metadata.remove("workload")).collect();
        let (admin, has_more) = (admin == "true", left_out.is_some());
        is_one.then_some(Self { id, host, prefix, version, admin, workloads, has_more })
    }
}

impl Client {
    /// All hosts that answer within this time, by their ids.
    ///
    /// # Errors
    /// [`AskError`] if nobody can be asked, or nobody answers.
    pub async fn find_hosts(&self, within: Duration) -> Result<Vec<FoundHost>, AskError> {
        let subject = format!("$SRV.INFO.{SERVICE}");
        let found = self.not_denied(&subject, self.gather(&subject, within)).await?;
        if found.is_empty() {
            return Err(AskError::Nobody { subject });
        }
        Ok(found)
    }

    /// What a host answers to a request.
    ///
    /// # Errors
    /// [`AskError`], the host's refusal among them.
    pub async fn ask_host(&self, subject: &str, body: Bytes, within: Duration) -> Result<Bytes, AskError> {
        if let Err(problem) = check_subject(subject) {
            return Err(AskError::Send(problem));
        }
        let asking = async {
            let mut answers = self.publish_for_answers(subject, body).await?;
            match tokio::time::timeout(within, answers.next()).await {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err(AskError::Send("the connection is lost".to_owned())),
                Err(_) => Err(AskError::Silent { subject: subject.to_owned(), within }),
            }
        };
        let answer = self.not_denied(subject, asking).await?;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(AskError::Nobody { subject: subject.to_owned() });
        }
        let header = |name: &str| answer.headers.as_ref().and_then(|headers| headers.get(name));
        match header("Nats-Service-Error-Code") {
            Some(code) => {
                let code = code.as_str().parse().unwrap_or(500);
                let body: Option<Value> = serde_json::from_slice(&answer.payload).ok();
                let why = body.as_ref().and_then(|body| body.pointer("/error/description")?.as_str());
                let short = header("Nats-Service-Error").map(|why| shown(why.as_str()));
                let why = why.map(|why| why.chars().filter(|c| !c.is_control()).collect()).or(short);
                Err(AskError::Refused { code, why: why.unwrap_or_else(|| "the host refuses".to_owned()) })
            }
            None => Ok(answer.payload),
        }
    }

    async fn gather(&self, subject: &str, within: Duration) -> Result<Vec<FoundHost>, AskError> {
        let mut answers = self.publish_for_answers(subject, Bytes::new()).await?;
        let last = Instant::now() + within;
        let (mut until, mut found) = (last, Vec::<FoundHost>::new());
        while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) || found.len() == MOST {
                break;
            }
            let Some(host) = FoundHost::read(&answer.payload) else { continue };
            found.push(host);
            until = last.min(Instant::now() + OTHERS);
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found.dedup();
        Ok(found)
    }

    async fn publish_for_answers(&self, subject: &str, body: Bytes) -> Result<async_nats::Subscriber, AskError> {
        let failed = |error: &dyn std::fmt::Display| AskError::Send(error.to_string());
        let inbox = self.nats.new_inbox();
        let answers = self.nats.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
        let sent = self.nats.publish_with_reply(subject.to_owned(), inbox, body).await;
        sent.map_err(|error| failed(&error))?;
        Ok(answers)
    }

    async fn not_denied<T>(
        &self,
        subject: &str,
        asking: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        self.denied.unless(concerns, asking).await.unwrap_or_else(|denial| {
            let subject = self.denied.grant(&denial);
            Err(AskError::Denied { verb: denial.verb, subject })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_host_is_passed_over() {
        let of = |name: &str, id: &str, prefix: &str| {
            let metadata = format!(r#"{{"host":"vm:1","prefix":"{prefix}","admin":"true","drain":"no"}}"#);
            let endpoints = r#"[{"name":"a","metadata":{"workload":"a b"}},{"name":"status","metadata":{}}]"#;
            FoundHost::read(
                format!(
                    r#"{{"name":"{name}","id":"{id}","version":"1.0.0","metadata":{metadata},"endpoints":{endpoints}}}"#
                )
                .as_bytes(),
            )
        };
        let host = of("tidegate", "one", "tidegate.host").unwrap();
        assert_eq!((host.subject("status").as_str(), host.admin), ("tidegate.host.one.status", true));
        assert!(host.may_have("a b") && !host.may_have("c"));
        assert_eq!(of("other", "one", "p"), None);
        assert_eq!(of("tidegate", "one.two", "p"), None);
        assert_eq!(of("tidegate", "one", "$JS.API.>"), None);
        assert_eq!(FoundHost::read(b"garbage"), None);
    }
}
