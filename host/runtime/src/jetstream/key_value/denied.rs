//! What the server does not let this user ask.

use crate::jetstream::connect::Client;
use crate::permissions::{Denial, Verb};
use crate::ports::KvError;

/// Awaits an answer of the server, or that it does not let this user ask.
pub(super) async fn unless_denied<T>(
    client: &Client,
    asked: &str,
    answer: impl Future<Output = T>,
) -> Result<T, KvError> {
    let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject.starts_with(asked);
    client.denied.unless(concerns, answer).await.map_err(|denial| {
        let allow = client.denied.grant(&denial);
        KvError::Unavailable(format!(
            "the NATS server does not let this user {} to `{allow}`; allow it (`tidegate permissions` prints all)",
            denial.verb
        ))
    })
}
