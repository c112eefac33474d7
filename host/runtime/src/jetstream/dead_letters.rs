use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream;
use bytes::Bytes;
use tokio::time::Instant;

use super::binding::WorkloadBinding;
use super::denied::unless_denied;
use super::header_map::headers;
use super::publisher::PublishWindow;
use super::raw_message;
use super::settings::{SettingsRefusal, judge_letters};
use crate::config::{DEAD_LETTERS, DeadLetters};
use crate::contract::Author;
use crate::contract::{Death, Delivery};
use crate::dead_letter::draft::{Draft, LetterOrigin, Shape, is_letter_about};
use crate::dead_letter::{self, StoredMessage, name};
use crate::ports::EffectError;

/// For how long the stream of dead letters counts as it was seen.
const SEEN: Duration = Duration::from_secs(1);

/// The stream of dead letters: each is stored with the subject `<workload>.dead`.
///
/// A full stream refuses letters and never makes room by deleting one. So messages stay in their own streams until
/// there is room.
pub(super) fn stream(config: &DeadLetters) -> stream::Config {
    stream::Config {
        name: config.stream.clone(),
        description: Some("Messages that tidegate will not try again".to_owned()),
        subjects: vec![DEAD_LETTERS.to_owned()],
        subject_transform: Some(stream::SubjectTransform {
            source: DEAD_LETTERS.to_owned(),
            destination: dead_letter::stored_subject("{{wildcard(1)}}"),
        }),
        storage: stream::StorageType::File,
        num_replicas: config.replicas,
        max_age: config.max_age.unwrap_or(Duration::ZERO),
        max_bytes: config.max_bytes.unwrap_or(-1),
        discard: stream::DiscardPolicy::New,
        allow_direct: true,
        ..stream::Config::default()
    }
}

impl WorkloadBinding {
    fn place(&self) -> LetterOrigin<'_> {
        LetterOrigin { workload: &self.workload, stream: &self.stream, host: &self.host }
    }

    /// Keeps a delivery as a dead letter, and waits until it is stored. Gives its position in the stream of dead
    /// letters.
    pub(super) async fn keep_dead_letter(
        &self,
        delivery: &Delivery,
        death: &Death,
        author: &Author,
    ) -> Result<u64, EffectError> {
        self.keep(Draft::new(self.place(), delivery, death, author), delivery).await
    }

    /// Keeps a message whose header block cannot be read as a dead letter.
    pub(super) async fn keep_unreadable(
        &self,
        delivery: &Delivery,
        death: &Death,
        block: &[u8],
    ) -> Result<u64, EffectError> {
        self.keep(Draft::unreadable(self.place(), delivery, death, block), delivery).await
    }

    /// Stores a letter. The stream remembers the ids of letters for a while, of those that somebody has deleted too.
    async fn keep(&self, draft: Draft, delivery: &Delivery) -> Result<u64, EffectError> {
        self.keeps_letters().await?;
        let mut gone = None;
        loop {
            let wanted = gone.into_iter().fold(draft.clone(), Draft::after);
            let ack = self.store_letter(wanted, delivery.payload.clone()).await?;
            if !ack.duplicate || self.has_letter(delivery, ack.sequence).await? {
                return Ok(ack.sequence);
            }
            // Each of them was stored after the one before was gone.
            if gone.is_some_and(|gone| gone >= ack.sequence) {
                return Err(EffectError::Unavailable(format!(
                    "stream {} for dead letters says that it has the letter at {}, and does not have it",
                    self.dead_letters, ack.sequence
                )));
            }
            gone = Some(ack.sequence);
        }
    }

    /// Whether the letter about a message is still at this position of its stream.
    pub(super) async fn has_letter(&self, delivery: &Delivery, sequence: u64) -> Result<bool, EffectError> {
        let (client, name) = (&self.client, &self.dead_letters);
        let asked = client.api_subject(&format!("STREAM.MSG.GET.{name}"));
        let failed = |error: &dyn std::fmt::Display| {
            format!("whether dead letter {sequence} is still in stream {name} is not known: {error}")
        };
        let found = unless_denied(client, &asked, raw_message::get(client, name, sequence)).await;
        let found = found.map_err(|denied| EffectError::Denied(failed(&denied)))?;
        let found = found.map_err(|error| EffectError::Unavailable(failed(&error)))?;
        let found = found.map(StoredMessage::from);
        Ok(found.is_some_and(|found| is_letter_about(&found.headers, self.place(), delivery)))
    }

    async fn store_letter(&self, draft: Draft, payload: Bytes) -> Result<PublishAck, EffectError> {
        let subject = dead_letter::subject(&self.workload);
        let (publisher, into) = (&self.publisher, &self.dead_letters);
        let store = |headers, payload| publisher.store(PublishWindow::Letters, subject.clone(), headers, payload, into);
        match draft.shape(payload.len(), self.client.max_payload()) {
            Shape::Whole(list) => store(headers(list)?, payload).await,
            Shape::Apart { mut block, headers: mut list } => {
                block.extend_from_slice(&payload);
                // The content is stored without headers, even without a message id: every byte may be needed.
                let content = store(HeaderMap::new(), block.into()).await?;
                list.push((name::CONTENT.to_owned(), content.sequence.to_string()));
                store(headers(list)?, Bytes::new()).await
            }
        }
    }

    /// Looks whether the stream still keeps letters: somebody may have edited it since the workload was set up, and the
    /// server would acknowledge a letter that it lets go at once.
    async fn keeps_letters(&self) -> Result<(), EffectError> {
        // Held meanwhile, so that many letters at once ask once.
        let mut seen = self.letters_seen.lock().await;
        if seen.is_some_and(|at| at.elapsed() < SEEN) {
            return Ok(());
        }
        let (client, name) = (&self.client, &self.dead_letters);
        if let Some(found) = client.stream_seen(name).await {
            let judged = judge_letters(&found.config, client.inbox(), client.max_payload());
            judged.map_err(|SettingsRefusal { problem, remedy }| {
                EffectError::Unavailable(format!("stream {name} for dead letters: {problem}; {remedy}"))
            })?;
        }
        *seen = Some(Instant::now());
        Ok(())
    }
}
