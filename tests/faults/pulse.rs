//! When something came out: how long it stood still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::patience::until;
use crate::stage::Stage;

/// Listens on `out.NAME`. Ends when it is dropped.
pub(crate) struct Pulse {
    beats: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Pulse {
    /// Begins to listen.
    pub(crate) async fn of(stage: &Stage, name: &str) -> Result<Self> {
        let client = stage.servers.client().await?;
        let mut outputs = client.subscribe(format!("out.{name}")).await?;
        client.flush().await?;
        let beats = Arc::new(Mutex::new(Vec::new()));
        let kept = beats.clone();
        let task = tokio::spawn(async move {
            while outputs.next().await.is_some() {
                kept.lock().push(Instant::now());
            }
            drop(client);
        });
        Ok(Self { beats, task })
    }

    /// How many outputs came so far, repeated ones too.
    pub(crate) fn count(&self) -> usize {
        self.beats.lock().len()
    }

    /// Awaits the first output after `moment`, and says how long after it came.
    pub(crate) async fn after(&self, moment: Instant, limit: Duration) -> Result<Duration> {
        let first = async || {
            let beats = self.beats.lock();
            let index = beats.partition_point(|beat| *beat <= moment);
            beats.get(index).map(|beat| *beat - moment)
        };
        until(limit, "something comes out", first).await
    }

    /// The longest time between two outputs of which the second came after `from`.
    pub(crate) fn longest_gap(&self, from: Instant) -> Duration {
        let beats = self.beats.lock();
        let index = beats.partition_point(|beat| *beat <= from).saturating_sub(1);
        beats[index..].windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}
