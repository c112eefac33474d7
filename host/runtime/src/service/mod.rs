//! A host as a NATS service: it is found by `nats micro`, shows what it does, and is told what to do, each on a subject
//! of its own, so that the server's permissions can grant them one by one.
//!
//! Here belongs what is answered and to whom. Who asks is a stranger: a request is read within bounds, an answer goes
//! only where `service.replies` lets it, and no more is answered than [`allowance`] says. What a request changes is
//! changed elsewhere ([`crate::scaling::count_override`], [`crate::drain`], [`crate::jetstream`]).

mod allowance;
mod micro;
mod obey;
mod place;
mod question;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::backoff::Backoff;
use crate::clock::time_of_day;
use crate::config::ServiceConfig;
use crate::jetstream::{Asked, Client, Heard, Refusal, Requests};
use crate::permissions::{SERVICE, Verb};
use crate::status::http::{self, View};
use crate::subject::check_subject;
use allowance::Allowance;
use obey::Workers;
use place::{Counts, Place, short};
use question::{Demand, Endpoint, Question, refusal};

/// The shortest and the longest pause before the connection is made again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How often a subscription that was denied is tried again: a server gives a right back without a word.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);
/// Requests that may wait for JetStream at once.
const WAITING: usize = 4;
/// An answer that had to wait for JetStream: of which endpoint, since when, where it goes.
struct Late {
    endpoint: Endpoint,
    since: Instant,
    reply: String,
    answer: Result<Vec<u8>, Refusal>,
}

/// A host that answers.
struct Service {
    client: Client,
    view: Arc<View>,
    config: ServiceConfig,
    started: String,
    allowance: Allowance,
    counts: BTreeMap<Endpoint, Counts>,
    late: JoinSet<Late>,
}

/// Answers for ever. What does not work is told, and changes nothing else.
pub(crate) async fn serve(client: Client, view: Arc<View>, config: ServiceConfig) -> Infallible {
    let started = humantime::format_rfc3339_millis(time_of_day()).to_string();
    let (counts, late) = (BTreeMap::new(), JoinSet::new());
    let allowance = Allowance::new(Instant::now());
    let mut service = Service { client, view, config, started, allowance, counts, late };
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut is_told = false;
    loop {
        service.client.connected().await;
        match service.client.requests(service.subjects()).await {
            Ok(requests) => {
                let Service { view, config, .. } = &service;
                let (id, prefix, admin) = (&view.id, &config.prefix, config.admin);
                tracing::info!(id, prefix, admin, "answers as a NATS service");
                is_told = false;
                let began = Instant::now();
                service.hear(requests).await;
                if began.elapsed() > AGAIN.1 {
                    backoff.reset();
                }
                tracing::debug!("the connection is lost on which requests are heard");
            }
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!("this host does not answer as a NATS service: {error:#}; tried again until it does");
            }
            Err(error) => tracing::debug!("not connected for requests: {error:#}"),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

impl Service {
    fn place(&self) -> Place<'_> {
        Place { view: &self.view, prefix: &self.config.prefix, admin: self.config.admin }
    }

    fn subjects(&self) -> Vec<String> {
        let id = &self.view.id;
        let srv = ["$SRV.*".to_owned(), format!("$SRV.*.{SERVICE}"), format!("$SRV.*.{SERVICE}.{id}")];
        srv.into_iter().chain([format!("{}.{id}.>", self.config.prefix)]).collect()
    }

    /// Answers until the connection is lost.
    async fn hear(&mut self, mut requests: Requests) {
        let mut denied = BTreeSet::new();
        let mut again = Instant::now();
        loop {
            tokio::select! {
                heard = requests.next() => match heard {
                    Heard::Asked(asked) => self.take(asked, &mut requests),
                    Heard::Denied(denial) => {
                        self.client.note_denial(&denial);
                        if denial.verb == Verb::Subscribe {
                            denied.insert(denial.subject);
                            again = Instant::now() + LISTEN_AGAIN;
                        }
                    }
                    Heard::Error(words) => tracing::warn!(words, "the server, to this host as a NATS service"),
                    Heard::Lost => return,
                },
                Some(Ok(late)) = self.late.join_next() => {
                    self.allowance.spend(late.answer.as_ref().map_or(0, Vec::len));
                    self.count(late.endpoint, late.since, &late.answer);
                    requests.answer(&late.reply, &late.answer);
                }
                () = sleep_until(again), if !denied.is_empty() => {
                    let before = std::mem::take(&mut denied);
                    requests.listen(|subject| before.contains(subject));
                }
            }
        }
    }

    /// Answers one request, if it may be answered.
    fn take(&mut self, Asked { subject, reply, payload }: Asked, requests: &mut Requests) {
        if let Err(told) = self.allowance.allows(Instant::now()) {
            if let Some(unanswered) = told {
                tracing::warn!(
                    unanswered,
                    "more is asked of this host by NATS than it answers: \
                    200 requests a second; the rest is left unanswered"
                );
            }
            return;
        }
        let place = (self.config.prefix.as_str(), self.view.id.as_str());
        let Some(read) = question::read(&subject, &payload, place) else { return };
        if check_subject(&reply).is_err() || !self.config.may_reply(&reply) {
            // Whoever asks for that does not have to be told: it may be what they want to find out.
            let reply = crate::subject::shown(&reply);
            tracing::debug!(reply, "not answered: service.replies does not let an answer go there");
            self.allowance.spend(0);
            return;
        }
        let since = Instant::now();
        let most = requests.most();
        let answer = match read {
            Ok(Question::Ping) => Ok(micro::ping(&self.place())),
            Ok(Question::Info) => Ok(micro::info(&self.place(), most)),
            Ok(Question::Stats) => Ok(micro::stats(&self.place(), &self.started, &self.counts, most)),
            Ok(Question::Endpoint(endpoint, demand)) => {
                let answer = match self.meet(endpoint, demand, most) {
                    Met::Now(answer) => answer,
                    Met::Late(answer) => {
                        self.late.spawn(async move { Late { endpoint, since, reply, answer: answer.await } });
                        return;
                    }
                };
                self.count(endpoint, since, &answer);
                answer
            }
            Err(refusal) => Err(refusal),
        };
        self.allowance.spend(answer.as_ref().map_or(0, Vec::len));
        requests.answer(&reply, &answer);
    }

    fn meet(&self, endpoint: Endpoint, demand: Demand, most: usize) -> Met {
        if endpoint.is_admin() && !self.config.admin {
            let why = "this host takes no orders by NATS: set service.admin = true in its configuration";
            return Met::Now(Err(refusal(403, why.to_owned())));
        }
        match demand {
            Demand::Status { from } => Met::Now(Ok(http::status_page(&self.view, from, most))),
            Demand::StatusOf(workload) => Met::Now(obey::find(&self.view, &workload).and_then(|state| {
                http::workload_status(&state, most)
                    .ok_or_else(|| refusal(413, "it is larger than a message".to_owned()))
            })),
            Demand::SetWorkers { workload, count, last } => self.set_workers(&workload, Some((count, last))),
            Demand::FreeWorkers { workload } => self.set_workers(&workload, None),
            Demand::Drain(drained) => Met::Now(obey::drain(&self.view, drained)),
            Demand::Pause { .. } | Demand::Resume { .. } if self.late.len() >= WAITING => Met::Now(Err(busy())),
            Demand::Pause { workload, last } => self.pause(&workload, Some(last)),
            Demand::Resume { workload } => self.pause(&workload, None),
        }
    }

    fn set_workers(&self, workload: &str, set: Option<(u32, Option<Duration>)>) -> Met {
        match obey::set_workers(&self.view, workload, set) {
            Workers::Said(answer) => Met::Now(answer),
            Workers::OfFleet(..) if self.late.len() >= WAITING => Met::Now(Err(busy())),
            Workers::OfFleet(fleet, state) => {
                Met::Late(Box::pin(obey::set_workers_of_fleet((fleet, state, self.view.id.clone()), set)))
            }
        }
    }

    fn pause(&self, workload: &str, pause: Option<Option<Duration>>) -> Met {
        match obey::find(&self.view, workload) {
            Ok(state) => match self.view.connection_of(&state) {
                Ok(client) => Met::Late(Box::pin(obey::pause(client, state, pause))),
                Err(why) => Met::Now(Err(refusal(503, why))),
            },
            Err(refusal) => Met::Now(Err(refusal)),
        }
    }

    fn count(&mut self, endpoint: Endpoint, since: Instant, answer: &Result<Vec<u8>, Refusal>) {
        let counts = self.counts.entry(endpoint).or_default();
        counts.requests += 1;
        counts.spent_ns = counts.spent_ns.saturating_add(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if let Err(Refusal { code, why }) = answer {
            counts.errors += 1;
            counts.last_error = format!("{code}: {}", short(why));
        }
    }
}

fn busy() -> Refusal {
    refusal(503, "other requests wait for JetStream: ask again".to_owned())
}

/// What becomes of a demand.
enum Met {
    Now(Result<Vec<u8>, Refusal>),
    Late(std::pin::Pin<Box<dyn Future<Output = Result<Vec<u8>, Refusal>> + Send>>),
}
