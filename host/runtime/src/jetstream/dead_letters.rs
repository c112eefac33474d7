use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::stream;
use bytes::Bytes;
use tokio::time::Instant;

use super::binding::WorkloadBinding;
use super::header_map::headers;
use super::publisher::PublishWindow;
use super::settings::{SettingsRefusal, judge_letters};
use crate::config::{DEAD_LETTERS, DeadLetters};
use crate::contract::Author;
use crate::contract::{Death, Delivery};
use crate::dead_letter::draft::{Draft, LetterOrigin, Shape};
use crate::dead_letter::{self, name};
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
        self.keep(Draft::new(self.place(), delivery, death, author), delivery.payload.clone()).await
    }

    /// Keeps a message whose header block cannot be read as a dead letter.
    pub(super) async fn keep_unreadable(
        &self,
        delivery: &Delivery,
        death: &Death,
        block: &[u8],
    ) -> Result<u64, EffectError> {
        self.keep(Draft::unreadable(self.place(), delivery, death, block), delivery.payload.clone()).await
    }

    async fn keep(&self, draft: Draft, payload: Bytes) -> Result<u64, EffectError> {
        self.keeps_letters().await?;
        let subject = dead_letter::subject(&self.workload);
        let (publisher, into) = (&self.publisher, &self.dead_letters);
        let store = |headers, payload| publisher.store(PublishWindow::Letters, subject.clone(), headers, payload, into);
        match draft.shape(payload.len(), self.client.max_payload()) {
            Shape::Whole(list) => store(headers(list)?, payload).await,
            Shape::Apart { mut block, headers: mut list } => {
                block.extend_from_slice(&payload);
                // The content is stored without headers, even without a message id: every byte may be needed.
                let content = store(HeaderMap::new(), block.into()).await?;
                list.push((name::CONTENT.to_owned(), content.to_string()));
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
            judge_letters(&found.config, client.inbox()).map_err(|SettingsRefusal { problem, remedy }| {
                EffectError::Unavailable(format!("stream {name} for dead letters: {problem}; {remedy}"))
            })?;
        }
        *seen = Some(Instant::now());
        Ok(())
    }
}
