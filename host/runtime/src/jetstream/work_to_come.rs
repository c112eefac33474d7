//! Whether the server lets a host make what is missing: consumers of a work queue beside others, and what the account's
//! limits leave. Nothing is made.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Client;
use super::finding::{Finding, ServerCheck, ToMake};
use super::settings::{ConsumerConfig, rival};
use crate::config::Workload;

/// The most pages of consumers that are read.
const PAGES: usize = 64;

/// What a host would make.
#[derive(Debug, Default)]
pub(super) struct ToCome<'w> {
    /// Subjects of streams.
    pub(super) subjects: Vec<String>,
    pub(super) consumers: Vec<ConsumerToCome<'w>>,
}

/// The consumer of a workload, where a host would make it.
#[derive(Debug)]
pub(super) struct ConsumerToCome<'w> {
    pub(super) workload: &'w Workload,
    pub(super) max_ack_pending: i64,
    pub(super) of: StreamToUse,
}

/// The stream that a consumer is to be made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamToUse {
    pub(super) is_there: bool,
    pub(super) is_workqueue: bool,
}

/// A consumer and the subjects that it is limited to.
type Filters = (String, Vec<String>);

impl Client {
    /// Checks that consumers which are to be made on streams with workqueue retention take the messages of no other.
    pub(super) async fn rivals(&self, workloads: &[&Workload], to_come: &ToCome<'_>, survey: &mut ServerCheck) {
        let mut by_stream: BTreeMap<&str, Vec<&ConsumerToCome<'_>>> = BTreeMap::new();
        for consumer in to_come.consumers.iter().filter(|consumer| consumer.of.is_workqueue) {
            by_stream.entry(&consumer.workload.queue.stream).or_default().push(consumer);
        }
        for (stream, made) in by_stream {
            let is_there = made.iter().any(|consumer| consumer.of.is_there);
            let there = if is_there { self.consumers_of(stream).await } else { Ok(Vec::new()) };
            let there = there.unwrap_or_else(|reason| {
                survey
                    .not_looked_at(format!("whether others than this file take messages of stream {stream}: {reason}"));
                written(workloads, stream, &made)
            });
            survey.found.extend(rivalries(stream, there, &made));
        }
    }

    /// The consumers of a stream.
    async fn consumers_of(&self, stream: &str) -> Result<Vec<Filters>, String> {
        let request = format!("CONSUMER.LIST.{stream}");
        let asked = self.api_subject(&request);
        let mut all = Vec::new();
        let mut read = 0;
        for _ in 0..PAGES {
            let body = json!({ "offset": read });
            let page = self.heard(&asked, self.api::<Page>(request.clone(), &body)).await?;
            let Page { total, consumers } = page.map_err(|error| error.to_string())?;
            let consumers = consumers.unwrap_or_default();
            read += consumers.len();
            let is_last = consumers.is_empty() || read >= total;
            let theirs = consumers.into_iter().filter(|of| !of.config.direct && !of.config.sourcing);
            all.extend(theirs.map(|of| (of.name, of.config.filters())));
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Checks that the account's limits leave room for what a host would make.
    pub(super) async fn limits(&self, to_come: &ToCome<'_>, survey: &mut ServerCheck) {
        if survey.made.is_empty() {
            return;
        }
        let asked = self.api_subject("INFO");
        let account = match self.heard(&asked, self.api::<Account>("INFO".to_owned(), &json!({}))).await {
            Ok(Ok(account)) => account,
            Ok(Err(error)) => return survey.not_looked_at(format!("what the account's limits leave: {error}")),
            Err(reason) => return survey.not_looked_at(format!("what the account's limits leave: {reason}")),
        };
        if !account.tiers.is_empty() {
            let unchecked = "what the account's limits leave: they are by the number of replicas";
            return survey.not_looked_at(unchecked.to_owned());
        }
        survey.found.extend(account.lacks_streams(streams(&survey.made)));
        survey.found.extend(to_come.consumers.iter().filter_map(|consumer| account.refuses(consumer)));
    }
}

/// How many streams are among what is made. Several workloads may name the same.
fn streams(made: &[ToMake]) -> usize {
    made.iter().filter_map(|made| made.stream.as_ref()).collect::<BTreeSet<_>>().len()
}

/// The consumers of a stream that a file names and that are there already.
fn written(workloads: &[&Workload], stream: &str, made: &[&ConsumerToCome<'_>]) -> Vec<Filters> {
    let is_made = |queue: &str| made.iter().any(|consumer| consumer.workload.queue.consumer == queue);
    let queues = workloads.iter().map(|workload| &workload.queue).filter(|queue| queue.stream == stream);
    let there = queues.filter(|queue| !is_made(&queue.consumer));
    there.map(|queue| (queue.consumer.clone(), queue.filters())).collect()
}

/// Which of the consumers that are to be made take messages of others: of those that are `there`, or that are made
/// before.
fn rivalries(stream: &str, mut there: Vec<Filters>, made: &[&ConsumerToCome<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    for workload in made.iter().map(|consumer| consumer.workload) {
        let (consumer, filters) = (&workload.queue.consumer, workload.queue.filters());
        if let Some(rival) = rival(&filters, &there) {
            let problem = format!(
                "consumer {consumer} cannot be made: stream {stream} has workqueue retention, and consumer {rival} \
                 takes some of the same messages"
            );
            let remedy = "use that one (consumer), or limit both with filters that do not overlap";
            found.push(Finding::new(&["workload", workload.written_name(), "filter"], problem, remedy));
        }
        there.push((consumer.clone(), filters));
    }
    found
}

/// The answer to `CONSUMER.LIST`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    total: usize,
    consumers: Option<Vec<Listed>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    name: String,
    config: ConsumerConfig,
}

/// The answer to `INFO`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Account {
    streams: usize,
    limits: AccountLimits,
    /// Limits by the number of replicas, instead of the ones above.
    tiers: BTreeMap<String, Value>,
}

/// What is not positive is no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccountLimits {
    max_streams: i64,
    max_ack_pending: i64,
}

impl Account {
    /// That so many more streams cannot be made.
    fn lacks_streams(&self, more: usize) -> Option<Finding> {
        let most = usize::try_from(self.limits.max_streams).ok().filter(|most| *most > 0)?;
        (self.streams + more > most && more > 0).then(|| {
            let problem = format!(
                "the account may have {most} streams and has {}, and a host would make {more} more (a bucket is one)",
                self.streams
            );
            Finding::new(&["nats"], problem, "have that limit raised, or delete streams that are not needed")
        })
    }

    /// That a consumer cannot be made as the configuration wants it.
    fn refuses(&self, consumer: &ConsumerToCome<'_>) -> Option<Finding> {
        let (most, wanted) = (self.limits.max_ack_pending, consumer.max_ack_pending);
        // A host is content with less than it wants.
        let wanted = consumer.workload.least_unsettled().map_or(wanted, |least| least.min(wanted));
        (most > 0 && wanted > most).then(|| {
            let key = ["workload", consumer.workload.written_name(), "max-ack-pending"];
            let problem = format!("the account allows {most} unsettled messages of a consumer, and this is {wanted}");
            Finding::new(&key, problem, "lower it, and scale.max x pull.batch below it, or have the limit raised")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::config::Config;

    fn workloads() -> Vec<Workload> {
        let of = |name: &str, filter: &str| {
            format!("[workload.{name}]\nstream = \"IN\"\nhandler = \"h\"\npolicy = \"p\"\nfilter = \"{filter}\"\n")
        };
        let text = of("a", "in.a.>") + &of("b", "in.b.>") + &of("c", "in.*.1");
        Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}")).workloads
    }

    fn to_come(workload: &Workload) -> ConsumerToCome<'_> {
        let of = StreamToUse { is_there: true, is_workqueue: true };
        ConsumerToCome { workload, max_ack_pending: 1000, of }
    }

    #[test]
    fn consumers_of_a_work_queue_that_overlap_with_those_there_or_before_them_are_told() {
        let workloads = workloads();
        let made: Vec<_> = workloads.iter().map(to_come).collect();
        let made: Vec<_> = made.iter().collect();
        let found = rivalries("IN", Vec::new(), &made);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].key, ["workload", "c", "filter"]);
        let said = "consumer c-workers cannot be made: stream IN has workqueue retention, and consumer a-workers";
        assert!(found[0].problem.starts_with(said), "{found:?}");
        let others = vec![("other".to_owned(), Vec::new())];
        assert_eq!(rivalries("IN", others, &made).len(), 3);
        // Where the server does not tell, what the file says of the others counts.
        let all: Vec<&Workload> = workloads.iter().collect();
        assert_eq!(
            written(&all, "IN", &made[..1]).iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["b-workers", "c-workers"]
        );
        assert!(written(&all, "OTHER", &made).is_empty());
    }

    #[test]
    fn a_stream_of_several_workloads_is_one() {
        let made = [Some("IN"), Some("IN"), None, Some("KV_seen"), Some("TIDEGATE_DEAD"), Some("KV_FLEET")];
        let made = made.map(|stream| ToMake { stream: stream.map(str::to_owned), said: String::new() });
        assert_eq!(streams(&made), 4);
    }

    #[test]
    fn what_an_account_does_not_leave_is_told() {
        let account =
            |limits: Value| -> Account { serde_json::from_value(json!({ "streams": 2, "limits": limits })).unwrap() };
        let workloads = workloads();
        let none = account(json!({ "max_streams": -1, "max_ack_pending": 0 }));
        assert!(none.lacks_streams(9).is_none() && none.refuses(&to_come(&workloads[0])).is_none());
        let some = account(json!({ "max_streams": 3, "max_ack_pending": 50 }));
        assert!(some.lacks_streams(1).is_none() && some.lacks_streams(0).is_none());
        let lacks = some.lacks_streams(2).unwrap();
        assert!(lacks.problem.contains("may have 3 streams and has 2, and a host would make 2 more"), "{lacks:?}");
        let refused = some.refuses(&to_come(&workloads[0])).unwrap();
        assert_eq!(refused.key, ["workload", "a", "max-ack-pending"]);
        assert!(refused.problem.contains("the account allows 50") && refused.problem.contains("1000"), "{refused:?}");
        let tiered: Account = serde_json::from_value(json!({ "tiers": { "R1": {} } })).unwrap();
        assert_eq!(tiered.tiers.len(), 1);
    }
}
