//! Leaves a consumer that gives messages to one host at a time to another host.

use serde::Deserialize;
use serde_json::json;

use super::Client;
use crate::permissions::{Denial, Verb};

#[derive(Deserialize)]
struct Unpinned {}

impl Client {
    /// Lets the server choose another client of the group, if the pinned one is still `id`.
    ///
    /// # Errors
    /// If the server does not do it. It chooses another one when the pinned one has been silent for the time-out.
    pub(super) async fn unpin(&self, stream: &str, consumer: &str, group: &str, id: &str) -> anyhow::Result<()> {
        let state = self.consumer_state(stream, consumer).await?.unwrap_or_default();
        // The request names no client, and would unpin whoever is pinned.
        if !state.priority_groups.iter().any(|of| of.group == group && of.pinned_client_id == id) {
            return Ok(());
        }
        let request = format!("CONSUMER.UNPIN.{stream}.{consumer}");
        let subject = self.api_subject(&request);
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject == subject;
        let body = json!({ "group": group });
        match self.denied.unless(concerns, self.api::<Unpinned>(request, &body)).await {
            Ok(answer) => Ok(answer.map(|_| ())?),
            Err(denial) => anyhow::bail!("this user may not publish to {}", denial.subject),
        }
    }
}
