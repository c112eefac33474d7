//! What the server does not let this user ask.

use super::connect::Client;
use crate::permissions::{Denial, Verb};

/// Awaits an answer of the server to what is asked on a subject, or on one that goes on after it.
///
/// # Errors
/// That the server does not let this user ask, and what to allow.
pub(super) async fn unless_denied<T>(
    client: &Client,
    asked: &str,
    answer: impl Future<Output = T>,
) -> Result<T, String> {
    let concerns = |denial: &Denial| denial.verb == Verb::Publish && is_part(asked, &denial.subject);
    client.denied.unless(concerns, answer).await.map_err(|denial| {
        let allow = client.denied.grant(&denial);
        format!(
            "the NATS server does not let this user {} to `{allow}`; allow it (`tidegate permissions` prints all)",
            denial.verb
        )
    })
}

/// Whether a subject is `asked`, or goes on after it. That of another stream may begin with the same letters.
fn is_part(asked: &str, subject: &str) -> bool {
    subject.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_about_another_stream_concerns_nobody_who_asks_about_this_one() {
        let asked = "$JS.API.STREAM.INFO.IN";
        assert!(is_part(asked, asked) && is_part("$JS.API.CONSUMER.CREATE.IN", "$JS.API.CONSUMER.CREATE.IN.c.in.>"));
        assert!(!is_part(asked, "$JS.API.STREAM.INFO.INTO") && !is_part(asked, "$JS.API.STREAM.INFO"));
    }
}
