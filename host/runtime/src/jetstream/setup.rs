//! Finds or makes what a workload needs of JetStream, and checks what is there.

use serde_json::Value;

use super::connect::Client;
use super::create_errors::{Creation, remedy};
use super::pause::{PauseError, SINCE};
use super::paused::{Moment, Paused, made_anew};
use super::settings::{
    ConsumerState, ConsumerVerdict, Reserved, SettingsRefusal, StreamConfig, StreamState, circular, judge, judge_watch,
    keyed_by_partition, reserved, unmapped,
};
use super::setup_error::SetupError;
use super::state::ApiError;
use super::wanted;
use crate::config::{Manage, NatsHeaders, Queue, Workload};
use crate::permissions::{Denial, Verb};

/// JetStream's "JetStream not enabled", in the server and for the account.
const NOT_ENABLED: [u64; 2] = [10076, 10039];
/// JetStream's "consumer max ack pending exceeds limit".
const TOO_MANY_PENDING: u64 = 10121;

/// What a workload's consumers have to be.
const WORKS: &str = "a durable pull consumer with ack policy `explicit` that delivers payloads";
const WATCHES: &str = "a durable pull consumer with ack policy `all` that delivers headers only";

/// Finds or makes what a workload needs, and checks what is there.
pub(super) struct WorkloadSetup<'a> {
    pub(super) client: &'a Client,
    pub(super) workload: &'a Workload,
    pub(super) queue: &'a Queue,
    /// The stream of dead letters.
    pub(super) letters: &'a str,
    /// The journal's stream, where there is one in this account.
    pub(super) journal: Option<&'a str>,
}

impl WorkloadSetup<'_> {
    /// Whether a denial keeps this workload from being set up. Others may work meanwhile on the same connection.
    pub(super) fn concerns(&self, denial: &Denial, dead_letters: &str) -> bool {
        let ours = [self.queue.stream.as_str(), dead_letters];
        let jetstream = [self.client.config.api(), "$JS.ACK"].iter().any(|prefix| denial.subject.starts_with(prefix));
        let ours = |token: &str| {
            ours.contains(&token)
                || token.strip_prefix("KV_").is_some_and(|name| self.workload.grants.buckets().contains(name))
        };
        denial.verb == Verb::Publish && jetstream && denial.subject.split('.').any(ours)
    }

    /// The workload's stream. It is made if it is missing and the configuration lets the host make it.
    pub(super) async fn stream(&self) -> Result<StreamState, SetupError> {
        self.server_knows_headers()?;
        self.server_can_pause()?;
        let queue = self.queue;
        let what = || format!("stream {}", queue.stream);
        let found = self.client.stream_state(&queue.stream).await;
        let refused =
            |error| self.no_jetstream(&error).unwrap_or_else(|| self.server(what(), Creation::Stream, &error));
        if let Some(found) = found.map_err(refused)? {
            return self.usable(found);
        }
        if queue.manage == Manage::Bind || queue.subjects.is_empty() {
            let remedy = match queue.manage {
                Manage::Bind => "Create it, or set manage = \"create\" and subjects.",
                Manage::Create => "Create it, or say which subjects it is to have: subjects = [\"...\"].",
            };
            let (workload, stream) = (self.workload.name.clone(), queue.stream.clone());
            return Err(SetupError::NoStream { workload, stream, remedy });
        }
        self.may_be_made()?;
        let made = match self.client.make_stream(&queue.stream, &wanted::stream(queue)).await {
            Ok(made) => made,
            // Another workload or another host may have made the stream meanwhile, with other subjects.
            Err(error) => match self.client.stream_state(&queue.stream).await {
                Ok(Some(found)) => return self.usable(found),
                _ => return Err(self.server(what(), Creation::Stream, &error)),
            },
        };
        let (workload, stream, subjects) = (&self.workload.name, &queue.stream, &queue.subjects);
        tracing::info!(workload, stream, ?subjects, "stream created");
        Ok(made)
    }

    /// Checks that the server acts upon the headers that are granted.
    fn server_knows_headers(&self) -> Result<(), SetupError> {
        let unknown = |header: &&NatsHeaders| {
            let (major, minor) = header.since();
            !self.client.nats.is_server_compatible(major, minor, 0)
        };
        let Some(header) = self.workload.grants.nats_headers.iter().find(unknown) else { return Ok(()) };
        let (major, minor) = header.since();
        Err(SetupError::TooOld {
            workload: self.workload.name.clone(),
            grant: header.as_str(),
            version: self.client.server_version(),
            since: format!("{major}.{minor}"),
        })
    }

    /// Checks that the server can pause the consumer, if the configuration wants that.
    fn server_can_pause(&self) -> Result<(), SetupError> {
        if self.workload.paused != Some(true) || self.client.can_pause() {
            return Ok(());
        }
        let (workload, version) = (self.workload.name.clone(), self.client.server_version());
        Err(SetupError::CannotPause { workload, version, since: format!("{}.{}", SINCE.0, SINCE.1) })
    }

    /// Pauses the consumer or lets it go on, as the configuration says; `None` if it is so already, or nothing is said.
    pub(super) async fn pause(&self, is_paused: bool) -> Result<Option<Paused>, SetupError> {
        let Some(wanted) = self.workload.paused.filter(|wanted| *wanted != is_paused) else { return Ok(None) };
        let (stream, consumer) = (&self.queue.stream, &self.queue.consumer);
        let done = match wanted {
            true => self.client.pause(stream, consumer, None).await,
            false => self.client.resume(stream, consumer).await,
        };
        let what = if wanted { "paused" } else { "resumed" };
        let failed = |error: PauseError| match error {
            PauseError::Denied { subject } => SetupError::Denied {
                workload: self.workload.name.clone(),
                verb: Verb::Publish,
                allow: subject.clone(),
                subject,
            },
            error => SetupError::Server {
                workload: self.workload.name.clone(),
                what: format!("consumer {consumer}, which the configuration wants {what}"),
                reason: error.to_string(),
            },
        };
        let done = done.map_err(failed)?;
        tracing::info!(workload = self.workload.name, stream, consumer, "the consumer is {what}, as paused says");
        Ok(Some(done))
    }

    /// Checks that the stream can be worked on that the host would make. The server would make any, and then store in
    /// it what is sent to the host.
    pub(super) fn may_be_made(&self) -> Result<(), SetupError> {
        let (name, subjects) = (self.queue.stream.clone(), self.queue.subjects.clone());
        let config = StreamConfig { name, subjects, ..StreamConfig::default() };
        let refusal = reserved(&config, None, self.client.inbox());
        let remedy = "Give it subjects of its own: subjects in the configuration.".to_owned();
        self.unless(&config, refusal.map(|refusal| SettingsRefusal { remedy, ..refusal }))
    }

    /// Checks that a stream that is there can be worked on.
    fn usable(&self, found: StreamState) -> Result<StreamState, SetupError> {
        self.unless(&found.config, circular(&found.config, &self.workload.name, self.reserved()))?;
        self.unless(&found.config, unmapped(&found.config, self.queue))?;
        self.unless(&found.config, keyed_by_partition(&found.config, self.workload))?;
        Ok(found)
    }

    fn unless(&self, config: &StreamConfig, refusal: Option<SettingsRefusal>) -> Result<(), SetupError> {
        let Some(SettingsRefusal { problem, remedy }) = refusal else { return Ok(()) };
        let (workload, stream) = (self.workload.name.clone(), config.name.clone());
        Err(SetupError::UnsuitableStream { workload, stream, problem, remedy })
    }

    pub(super) fn reserved(&self) -> Reserved<'_> {
        Reserved { inbox: self.client.inbox(), letters: self.letters, journal: self.journal }
    }

    /// The workload's consumer, and the verdict on its settings. It is made if it is missing and the configuration lets
    /// the host make it.
    pub(super) async fn consumer(
        &self,
        stream: &StreamState,
        moment: Moment,
    ) -> Result<(ConsumerState, ConsumerVerdict), SetupError> {
        let name = &self.queue.consumer;
        let known = self.client.floors.known(&self.queue.stream, name, stream);
        let floors = &self.client.floors;
        let anew = moment == Moment::Mending && self.client.can_pause();
        let pause = anew.then(|| made_anew(floors.paused(&self.queue.stream, name, stream), self.workload.paused));
        let until = pause.as_ref().and_then(Paused::setting);
        let wanted = wanted::consumer(self.queue, &stream.config, known, (self.pins(), until));
        let (state, made) = self.found_or_made(name, &wanted, WORKS).await?;
        let verdict = self.judged(&state, stream);
        if let Some(SettingsRefusal { problem, remedy }) = &verdict.refusal {
            // It is to be there still when somebody has mended it.
            self.client.tell_in_use(&self.queue.stream, name).await;
            return Err(self.unsuitable(name, problem.clone(), remedy));
        }
        if made {
            let lost = floors.unsettled(&self.queue.stream, name, stream);
            match lost.filter(|_| moment == Moment::Mending && stream.config.is_interest()) {
                Some(lost) => self.tell_dropped(&state, lost),
                None => self.tell_made(&state, known),
            }
        }
        if made && moment == Moment::Mending {
            self.tell_paused(&Paused::of(&state));
        }
        self.client.floors.saw(&self.queue.stream, name, &state, stream);
        let (workload, stream) = (&self.workload.name, &self.queue.stream);
        for warning in &verdict.warnings {
            tracing::warn!(workload, stream, consumer = name, "{warning}");
        }
        Ok((state, verdict))
    }

    /// Whether a consumer that is made gives messages to one host at a time, as an order needs.
    fn pins(&self) -> bool {
        let (major, minor) = wanted::GROUPS_SINCE;
        self.workload.order.is_some() && self.client.nats.is_server_compatible(major, minor, 0)
    }

    /// The verdict on the settings of the workload's consumer.
    pub(super) fn judged(&self, state: &ConsumerState, stream: &StreamState) -> ConsumerVerdict {
        judge(state, &stream.config, self.workload, self.reserved())
    }

    /// The verdict on the consumer that a host would make.
    pub(super) async fn judged_to_come(&self, stream: &StreamState) -> Option<ConsumerVerdict> {
        let wanted = wanted::consumer(self.queue, &stream.config, None, (self.pins(), None));
        let config = serde_json::from_value(wanted).ok()?;
        let mut state = ConsumerState { config, ..ConsumerState::default() };
        let verdict = self.judged(&state, stream);
        let may_wait = verdict.unmatched.is_some() && stream.state.messages > 0;
        if !may_wait || !self.client.holds(&self.queue.stream, &self.queue.filters()).await {
            return Some(verdict);
        }
        state.num_pending = 1;
        Some(self.judged(&state, stream))
    }

    /// The stream that a host would make.
    pub(super) fn stream_to_come(&self) -> Option<StreamState> {
        let config = serde_json::from_value(wanted::stream(self.queue)).ok()?;
        Some(StreamState { config, ..StreamState::default() })
    }

    /// Logs where a consumer begins that was made now.
    fn tell_made(&self, state: &ConsumerState, known: Option<u64>) {
        let (workload, stream, consumer) = (&self.workload.name, &self.queue.stream, &self.queue.consumer);
        match (known, state.num_pending) {
            (Some(floor), pending) => tracing::warn!(
                workload,
                stream,
                consumer,
                floor,
                pending,
                "the consumer was gone and is made anew; it goes on where it was known to be settled, and what was \
                 handled after that is handled again"
            ),
            (None, 0) => tracing::info!(workload, stream, consumer, "consumer created"),
            (None, pending) => tracing::warn!(
                workload,
                stream,
                consumer,
                pending,
                "consumer created, at the beginning of its stream: {pending} messages are to be handled, and if hosts \
                 have handled them before, with a consumer that was deleted meanwhile, they are handled again; to \
                 begin elsewhere, make the consumer yourself before the host starts (`nats consumer add {stream} \
                 {consumer} --pull --deliver=...`)"
            ),
        }
    }

    /// Logs that a consumer was made anew on a stream that keeps only what consumers wait for.
    fn tell_dropped(&self, state: &ConsumerState, unsettled: u64) {
        let (workload, stream, consumer) = (&self.workload.name, &self.queue.stream, &self.queue.consumer);
        let pending = state.num_pending;
        tracing::error!(
            workload,
            stream,
            consumer,
            unsettled,
            pending,
            "the consumer was gone and is made anew, and messages may be lost: its stream has interest retention, so \
             the server has dropped what no consumer waited for meanwhile; {unsettled} messages were not settled at \
             the last look, and {pending} are there now"
        );
    }

    /// Logs whether a consumer is paused that was made anew, where that is not as the configuration says or is a pause.
    fn tell_paused(&self, Paused { paused, until }: &Paused) {
        let (workload, stream, consumer) = (&self.workload.name, &self.queue.stream, &self.queue.consumer);
        let until = until.as_deref().unwrap_or("somebody resumes it");
        match (*paused, self.workload.paused.unwrap_or(false)) {
            (true, true) => tracing::info!(workload, stream, consumer, until, "it is paused as before"),
            (true, false) => tracing::info!(
                workload,
                stream,
                consumer,
                until,
                "it is paused as before: somebody had paused it; `tidegate resume` ends that"
            ),
            (false, true) => tracing::info!(
                workload,
                stream,
                consumer,
                "it is not paused, as before, though paused = true: somebody had resumed it"
            ),
            (false, false) => {}
        }
    }

    pub(super) async fn watch_consumer(&self, stream: &StreamState) -> Result<ConsumerVerdict, SetupError> {
        let queue = self.queue;
        if stream.config.is_workqueue() {
            let problem = "the stream has workqueue retention, so only one consumer sees a message".to_owned();
            return Err(self.unsuitable(&queue.watch_consumer, problem, "Set scale.source = \"info\"."));
        }
        let wanted = wanted::watch_consumer(queue, &stream.config);
        let (state, made) = self.found_or_made(&queue.watch_consumer, &wanted, WATCHES).await?;
        let verdict = judge_watch(&state, WATCHES);
        if let Some(SettingsRefusal { problem, remedy }) = &verdict.refusal {
            return Err(self.unsuitable(&queue.watch_consumer, problem.clone(), remedy));
        }
        if made {
            let (workload, consumer) = (&self.workload.name, &queue.watch_consumer);
            tracing::info!(workload, stream = queue.stream, consumer, "consumer created");
        }
        Ok(verdict)
    }

    /// The same settings with as few unsettled deliveries as are needed, where the configuration does not say how many
    /// there may be.
    fn with_less_pending(&self, wanted: &Value) -> Option<Value> {
        let least = self.workload.least_unsettled()?;
        let mut less = wanted.clone();
        let pending = less.get_mut("max_ack_pending").filter(|pending| pending.as_i64().is_some_and(|n| n > least))?;
        *pending = least.into();
        Some(less)
    }

    /// The consumer, and whether it was made now.
    async fn found_or_made(
        &self,
        name: &str,
        wanted: &Value,
        kind: &'static str,
    ) -> Result<(ConsumerState, bool), SetupError> {
        let stream = &self.queue.stream;
        let failed = |error: ApiError| self.server(format!("consumer {name}"), Creation::Consumer, &error);
        if let Some(found) = self.client.consumer_state(stream, name).await.map_err(failed)? {
            return Ok((found, false));
        }
        let missing = || SetupError::NoConsumer {
            workload: self.workload.name.clone(),
            stream: stream.clone(),
            consumer: name.to_owned(),
            kind,
        };
        if self.queue.manage == Manage::Bind {
            return Err(missing());
        }
        let made = match self.client.make_consumer(stream, name, wanted).await {
            Err(error) if error.code() == Some(TOO_MANY_PENDING) => match self.with_less_pending(wanted) {
                Some(less) => self.client.make_consumer(stream, name, &less).await,
                None => Err(error),
            },
            made => made,
        };
        match made.map_err(failed)? {
            Some(made) => Ok((made, true)),
            // Another host has just made it.
            None => {
                let found = self.client.consumer_state(stream, name).await.map_err(failed)?;
                Ok((found.ok_or_else(missing)?, false))
            }
        }
    }

    /// The error for a first request to JetStream that fails because JetStream is off.
    fn no_jetstream(&self, error: &ApiError) -> Option<SetupError> {
        let reason = match error.code() {
            Some(code) if NOT_ENABLED.contains(&code) => error.to_string(),
            None if error.is_nobody() => match &self.client.config.api_prefix {
                Some(api) => format!(
                    "nobody answers under `{api}`; look at nats.jetstream-domain or nats.api-prefix, and at the leaf \
                     node or the import that it names"
                ),
                None => "it is not enabled in the server".to_owned(),
            },
            _ => return None,
        };
        let (workload, servers) = (self.workload.name.clone(), self.client.servers.clone());
        Some(SetupError::NoJetStream { workload, servers, reason })
    }

    pub(super) fn server(&self, what: String, made: Creation, error: &ApiError) -> SetupError {
        let remedy = error.code().and_then(|code| remedy(made, code));
        let reason = match remedy {
            Some(remedy) => format!("{error}\n  {remedy}"),
            None => error.to_string(),
        };
        SetupError::Server { workload: self.workload.name.clone(), what, reason }
    }

    fn unsuitable(&self, consumer: &str, problem: String, remedy: &str) -> SetupError {
        SetupError::Unsuitable {
            workload: self.workload.name.clone(),
            stream: self.queue.stream.clone(),
            consumer: consumer.to_owned(),
            problem,
            remedy: remedy.to_owned(),
        }
    }
}
