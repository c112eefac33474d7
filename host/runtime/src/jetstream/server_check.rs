//! Checks what the servers have for a configuration, without a change.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use tracing::instrument::WithSubscriber;

use super::Client;
use super::bucket;
use super::finding::{Finding, ServerCheck, ToMake};
use super::journal;
use super::paused::Moment;
use super::setup::WorkloadSetup;
use super::setup_error::SetupError;
use super::work_to_come::{ConsumerToCome, StreamToUse, ToCome};
use crate::config::{Config, DEAD_LETTERS, JOURNAL, Manage, Queue, SignalSource, Workload};
use crate::permissions::{Denial, Permissions, Rights, Verb};

/// How long an answer is waited for. It may be denied without a word, or nobody may answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The subject on which the server says what this user may do.
const USER: &str = "$SYS.REQ.USER.INFO";
/// A payload that is no request to JetStream.
const NONSENSE: &str = "probe";

impl Client {
    /// Looks whether a host with this configuration could work by its own connection: at streams, consumers, the
    /// subjects that handlers may publish on, and permissions. Nothing is made or changed.
    pub async fn survey(&self, config: &Config) -> ServerCheck {
        let workloads = config.workloads_at(None);
        let (mut survey, to_come) = self.of_workloads(&workloads, config).await;
        self.own_streams(config, &mut survey).await;
        self.limits(&to_come, &mut survey).await;
        self.rights(&Permissions::of(config), &mut survey).await;
        survey.once_each()
    }

    /// The same of the workloads that have this connection for themselves, and what they need of it.
    pub async fn survey_account(&self, config: &Config, workloads: &[&Workload], needed: &Permissions) -> ServerCheck {
        let (mut survey, to_come) = self.of_workloads(workloads, config).await;
        self.limits(&to_come, &mut survey).await;
        self.rights(needed, &mut survey).await;
        match workloads.first() {
            Some(first) => survey.of_account(first.written_name()).once_each(),
            None => survey,
        }
    }

    async fn of_workloads<'w>(&self, workloads: &[&'w Workload], config: &Config) -> (ServerCheck, ToCome<'w>) {
        let mut survey = ServerCheck::default();
        let mut to_come = ToCome::default();
        for workload in workloads {
            // Boxed: the future is large.
            Box::pin(self.workload(workload, config, &mut survey, &mut to_come)).await;
            self.buckets(workload, config, &mut survey).await;
        }
        if let Some(workload) = workloads.first() {
            self.dead_letters(workload, config, &mut survey).await;
        }
        self.grants(workloads, &to_come.subjects, &mut survey).await;
        self.rivals(workloads, &to_come, &mut survey).await;
        (survey, to_come)
    }

    /// What looks at what is there for a workload.
    fn setup<'a>(&'a self, workload: &'a Workload, config: &'a Config) -> WorkloadSetup<'a> {
        WorkloadSetup {
            client: self,
            workload,
            queue: &workload.queue,
            letters: &config.dead_letters.stream,
            journal: config.journal_stream_of(workload),
        }
    }

    /// The stream and the consumers of a workload. What a host would make is added to `to_come`.
    async fn workload<'w>(
        &self,
        workload: &'w Workload,
        config: &Config,
        survey: &mut ServerCheck,
        to_come: &mut ToCome<'w>,
    ) {
        let may_create = workload.queue.manage == Manage::Create;
        let name = workload.written_name();
        // `manage = "bind"` makes nothing.
        let queue = Queue { manage: Manage::Bind, ..workload.queue.clone() };
        let bound = Workload { queue: queue.clone(), ..workload.clone() };
        let setup = self.setup(&bound, config);
        // As a host judges it that may make what is missing.
        let as_it_is = self.setup(workload, config);
        let concerns = |denial: &Denial| setup.concerns(denial, &config.dead_letters.stream);
        let stream = match self.denied.unless(concerns, setup.stream()).await {
            Err(denial) => return survey.found.push(Finding::denied(self, &denial)),
            Ok(Err(SetupError::NoStream { .. })) if may_create && !queue.subjects.is_empty() => {
                let subjects = queue.subjects.join(", ");
                let said = format!("stream {} for {subjects}, and its consumer {}", queue.stream, queue.consumer);
                survey.makes_stream(&queue.stream, said);
                to_come.subjects.extend(queue.subjects.iter().cloned());
                if let Some(stream) = as_it_is.stream_to_come()
                    && let Some(verdict) = as_it_is.judged_to_come(&stream).await
                {
                    survey.judged(name, (&queue.stream, &queue.consumer), &verdict);
                    let of = StreamToUse { is_there: false, is_workqueue: stream.config.is_workqueue() };
                    let max_ack_pending = verdict.settings.max_ack_pending;
                    to_come.consumers.push(ConsumerToCome { workload, max_ack_pending, of });
                }
                if let Err(error) = setup.may_be_made() {
                    survey.found.push(Finding::of(&error, &workload.name, &["workload", name, "subjects"]));
                }
                let key = ["workload", name, "subjects"];
                return self.free(&queue.subjects, &queue.stream, &key, survey).await;
            }
            Ok(Err(error @ SetupError::CannotPause { .. })) => {
                return survey.found.push(Finding::of(&error, &workload.name, &["workload", name, "paused"]));
            }
            Ok(Err(error @ SetupError::TooOld { .. })) => {
                let key = ["workload", name, "grants", "nats-headers"];
                return survey.found.push(Finding::of(&error, &workload.name, &key));
            }
            Ok(Err(error)) => {
                return survey.found.push(Finding::of(&error, &workload.name, &["workload", name, "stream"]));
            }
            Ok(Ok(stream)) => stream,
        };
        // What the setup would log is in the survey.
        let quiet = || tracing::subscriber::NoSubscriber::new();
        let works = async {
            let found = setup.consumer(&stream, Moment::Start).with_subscriber(quiet()).await;
            found.map(|(state, _)| as_it_is.judged(&state, &stream))
        };
        let works = self.denied.unless(concerns, works).await;
        let mut consumers = vec![(&queue.consumer, "consumer", works)];
        if workload.scale.source == SignalSource::Headers {
            let watches = setup.watch_consumer(&stream).with_subscriber(quiet());
            consumers.push((&queue.watch_consumer, "watch-consumer", self.denied.unless(concerns, watches).await));
        }
        for (consumer, key, result) in consumers {
            match result {
                Ok(Ok(verdict)) => survey.judged(name, (&queue.stream, consumer), &verdict),
                Ok(Err(SetupError::NoConsumer { .. })) if may_create => {
                    let said = format!("consumer {consumer} on stream {}", queue.stream);
                    survey.made.push(ToMake { stream: None, said });
                    if key == "consumer"
                        && let Some(verdict) = as_it_is.judged_to_come(&stream).await
                    {
                        survey.judged(name, (&queue.stream, consumer), &verdict);
                        let of = StreamToUse { is_there: true, is_workqueue: stream.config.is_workqueue() };
                        let max_ack_pending = verdict.settings.max_ack_pending;
                        to_come.consumers.push(ConsumerToCome { workload, max_ack_pending, of });
                    }
                }
                Ok(Err(error)) => {
                    let table: &[&str] =
                        if key == "consumer" { &["workload", name] } else { &["workload", name, "scale"] };
                    survey.found.push(Finding::of(&error, &workload.name, &[table, &[key]].concat()));
                }
                Err(denial) => survey.found.push(Finding::denied(self, &denial)),
            }
        }
    }

    /// The key-value buckets that a workload's grants name.
    async fn buckets(&self, workload: &Workload, config: &Config, survey: &mut ServerCheck) {
        let setup = self.setup(workload, config);
        for bucket in workload.grants.buckets() {
            let stream = format!("KV_{bucket}");
            let found = self.denied.unless(|denial| self.is_about(denial, &stream), setup.bucket(bucket)).await;
            let finding = match found {
                Ok(Ok(Ok(_))) => continue,
                Ok(Ok(Err(_))) if workload.queue.manage == Manage::Create => {
                    if !survey.made.iter().any(|made| made.stream.as_ref() == Some(&stream)) {
                        survey.makes_stream(&stream, format!("key-value bucket {bucket}"));
                    }
                    continue;
                }
                Ok(Ok(Err(missing))) => Finding::of_key_value(&setup.no_bucket(missing), workload),
                Ok(Err(error)) => Finding::of_key_value(&error, workload),
                Err(denial) => Finding::denied(self, &denial),
            };
            survey.found.push(finding);
        }
    }

    /// Whether a stream that a host would make can have these subjects.
    async fn free(&self, subjects: &[String], stream: &str, key: &[&str], survey: &mut ServerCheck) {
        for subject in subjects {
            if let Ok(takers) = self.takers(subject).await
                && let Some(taker) = takers.first()
            {
                let problem = format!("stream {taker} takes `{subject}` already, so stream {stream} cannot be made");
                let remedy = match key {
                    ["workload", ..] => "name that stream, or give this one other subjects",
                    _ => "name that stream, or give its subjects up",
                };
                survey.found.push(Finding::new(key, problem, remedy));
            }
        }
    }

    /// The stream of dead letters of a workload's account.
    async fn dead_letters(&self, workload: &Workload, config: &Config, survey: &mut ServerCheck) {
        let name = &config.dead_letters.stream;
        let setup = self.setup(workload, config);
        let key = ["dead-letters", "stream"];
        let found =
            self.denied.unless(|denial| self.is_about(denial, name), setup.found_dead_letters(&config.dead_letters));
        let found = found.await.map(|found| found.map_err(|error| Finding::of(&error, &workload.name, &key)));
        if let Ok(Ok(Some(warnings))) = &found {
            let account = workload.nats.as_ref().map(|_| format!("in the account of {}: ", workload.written_name()));
            let account = account.unwrap_or_default();
            survey.warnings.extend(warnings.iter().map(|warning| format!("{account}{warning}")));
        }
        let found = found.map(|found| found.map(|warnings| warnings.is_some()));
        self.own_stream(found, name, DEAD_LETTERS, &key, survey).await;
    }

    /// The journal's stream, and the bucket of the fleet.
    async fn own_streams(&self, config: &Config, survey: &mut ServerCheck) {
        if let Some(stream) = &config.journal.stream {
            let (name, key) = (&stream.name, ["journal", "stream"]);
            let found = self.denied.unless(|denial| self.is_about(denial, name), journal::is_there(self, name)).await;
            let wrong = |problem: String| {
                let (problem, remedy) =
                    problem.split_once("; ").unwrap_or((&problem, "name another in journal.stream"));
                Finding::new(&key, format!("stream {name}: {problem}"), remedy)
            };
            self.own_stream(found.map(|found| found.map_err(wrong)), name, JOURNAL, &key, survey).await;
        }
        if let Some(fleet) = &config.fleet {
            let may_create = config.workloads.iter().any(|workload| workload.queue.manage == Manage::Create);
            self.fleet_bucket(&fleet.bucket, may_create, survey).await;
        }
    }

    /// Adds to the survey whether the bucket of the fleet is there.
    async fn fleet_bucket(&self, bucket: &str, may_create: bool, survey: &mut ServerCheck) {
        let (name, key) = (bucket::stream(bucket), ["fleet", "bucket"]);
        let found = self.denied.unless(|denial| self.is_about(denial, &name), self.bucket_state(&name)).await;
        let wrong = |problem: &str| Finding::new(&key, format!("bucket {bucket}: {problem}"), "name another");
        match found {
            Err(denial) => survey.found.push(Finding::denied(self, &denial)),
            Ok(Err(error)) => survey.found.push(wrong(&error.to_string())),
            Ok(Ok(Some(state))) => survey.found.extend(state.config.problem(bucket).as_deref().map(wrong)),
            Ok(Ok(None)) if may_create => survey.makes_stream(&name, format!("bucket {bucket} of the fleet")),
            Ok(Ok(None)) => {
                let remedy = format!("make it (`nats kv add {bucket}`), or let one workload have manage = \"create\"");
                survey.found.push(Finding::new(&key, format!("there is no bucket {bucket}"), remedy));
            }
        }
    }

    /// Adds to the survey whether a stream of the host's own is there.
    async fn own_stream(
        &self,
        found: Result<Result<bool, Finding>, Denial>,
        name: &str,
        subjects: &str,
        key: &[&str],
        survey: &mut ServerCheck,
    ) {
        match found {
            Err(denial) => survey.found.push(Finding::denied(self, &denial)),
            Ok(Err(finding)) => survey.found.push(finding),
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                survey.makes_stream(name, format!("stream {name} for {subjects}"));
                self.free(&[subjects.to_owned()], name, key, survey).await;
            }
        }
    }

    /// Checks what the user may do. Where the server does not tell, requests that ask for nothing are tried.
    async fn rights(&self, needed: &Permissions, survey: &mut ServerCheck) {
        match self.user().await {
            Ok(rights) => survey.found.extend(rights.lacks(needed).iter().map(Finding::lack)),
            Err(reason) => {
                let prefixes = [self.config.api(), "$JS."];
                let apis = needed.publish.keys().filter(|subject| prefixes.iter().any(|api| subject.starts_with(api)));
                let denials = join_all(apis.map(|subject| self.denial(subject))).await;
                survey.found.extend(denials.iter().flatten().map(|denial| Finding::denied(self, denial)));
                let what = "whether this user may publish what handlers answer, dead letters and replies";
                survey.unchecked.push(format!("{what}: {reason}"));
            }
        }
    }

    async fn user(&self) -> Result<Rights, String> {
        #[derive(Deserialize)]
        struct UserInfo {
            data: User,
        }
        #[derive(Deserialize)]
        struct User {
            #[serde(default)]
            permissions: Option<Rights>,
        }
        let asked = tokio::time::timeout(PATIENCE, self.nats.request(USER, "".into()));
        let answer = match self.heard(USER, asked).await? {
            Ok(Ok(message)) => message.payload,
            Ok(Err(error)) => return Err(format!("`{USER}`: {error}")),
            Err(_) => return Err(format!("`{USER}` is not answered")),
        };
        let UserInfo { data } = serde_json::from_slice(&answer).map_err(|error| format!("`{USER}`: {error}"))?;
        Ok(data.permissions.unwrap_or_default())
    }

    /// The denial of a request to JetStream on a subject, if it is denied. The request's payload asks for nothing, and
    /// the subject that acks are tried on names no delivery.
    async fn denial(&self, subject: &str) -> Option<Denial> {
        let literal = subject.replace(".>", ".probe");
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == literal;
        self.denied.unless(concerns, self.probe(literal.clone(), NONSENSE)).await.err()
    }

    /// Awaits an answer to a request on `subject`. The error says that the request is denied.
    pub(super) async fn heard<T>(&self, subject: &str, answer: impl Future<Output = T>) -> Result<T, String> {
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        let answer = self.denied.unless(concerns, answer).await;
        answer.map_err(|_| format!("this user may not publish to `{subject}`"))
    }

    /// Whether a denial keeps this user from asking for a stream.
    fn is_about(&self, denial: &Denial, stream: &str) -> bool {
        denial.verb == Verb::Publish && denial.subject == self.api_subject(&format!("STREAM.INFO.{stream}"))
    }
}
