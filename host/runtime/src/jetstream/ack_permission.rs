//! What becomes of a workload whose acks the server denies: no delivery is handled that could not be settled, until
//! acks are allowed again.
//!
//! The server does not tell which delivery it denied, nor when the right is given back. So the host sends an
//! in-progress signal on the denied subject again and again, until the server does not deny it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::consumer::BoundConsumer;
use crate::conditions::{Conditions, Part};
use crate::permissions::{Denial, Verb, ack_of};

/// How often the denied subject is tried.
const EVERY: Duration = Duration::from_secs(2);

/// A server that has not denied the signal for so long allows it.
const SILENCE: Duration = Duration::from_secs(1);

impl BoundConsumer {
    /// Watches for denied acks, and never ends. `hold` is called with whether workers must take no delivery now.
    pub(crate) async fn watch_rights(&self, conditions: &Conditions, mut hold: impl FnMut(bool)) -> Infallible {
        let (binding, denied) = (&self.binding, &self.binding.client.denied);
        loop {
            let mut news = denied.news();
            let denial = loop {
                match news.recv().await {
                    Ok(denial) if self.is_ack(&denial) => break denial,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return std::future::pending().await,
                }
            };
            hold(true);
            let (subject, allow) = (denial.subject.clone(), denied.grant(&denial));
            conditions.raise(
                Part::Settlement,
                &format!(
                    "the NATS server does not let this user publish to `{allow}`, so nothing can be settled: allow it; \
                     nothing is fetched and handled until then"
                ),
            );
            loop {
                sleep(EVERY).await;
                let trial = async {
                    let said = binding.client.nats.publish(subject.clone(), Bytes::from_static(b"+WPI")).await;
                    sleep(SILENCE).await;
                    said.is_ok() && binding.client.is_connected()
                };
                if denied.unless(|denial| denial.subject == subject, trial).await.unwrap_or(false) {
                    break;
                }
            }
            hold(false);
            conditions.clear(Part::Settlement);
        }
    }

    fn is_ack(&self, denial: &Denial) -> bool {
        denial.verb == Verb::Publish
            && ack_of(&denial.subject) == Some((self.binding.stream.as_str(), self.binding.consumer.as_str()))
    }
}
