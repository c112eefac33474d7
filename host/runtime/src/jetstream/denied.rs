//! What the server does not let this user ask.

use super::connect::Client;
use crate::permissions::{Denial, Verb};

/// Awaits an answer of the server.
///
/// # Errors
/// That the server does not let this user ask, and what to allow.
pub(super) async fn unless_denied<T>(
    client: &Client,
    asked: &str,
    answer: impl Future<Output = T>,
) -> Result<T, String> {
    let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject.starts_with(asked);
    client.denied.unless(concerns, answer).await.map_err(|denial| {
        let allow = client.denied.grant(&denial);
        format!(
            "the NATS server does not let this user {} to `{allow}`; allow it (`tidegate permissions` prints all)",
            denial.verb
        )
    })
}
