//! Tries what a host will do, in ways that change nothing. So a missing permission shows at the start, and not when the
//! first message was handled and cannot be settled.
//!
//! The server does not answer what it denies. So the caller listens for denials meanwhile
//! ([`PermissionDenials::unless`]).

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::connect::Client;
#[cfg(doc)]
use super::permission_denials::PermissionDenials;

/// How long an answer is waited for. A denial comes sooner.
pub(super) const WITHIN: Duration = Duration::from_secs(1);
/// How long the client library may take to pass on what the server denied: its task for that may get its turn later
/// than the one that asked. A denial that is later still shows at the first use.
const PASSED_ON: Duration = Duration::from_millis(50);
/// The end of an ack's subject, which names a delivery. This one names none.
pub(super) const NO_DELIVERY: &str = "1.0.0.0.0";

impl Client {
    /// Sends a request with a payload that asks for nothing. Any answer will do, an error too.
    pub(super) async fn probe(&self, subject: String, payload: &'static str) {
        let _ = timeout(WITHIN, self.nats.request(subject, payload.into())).await;
    }

    /// Tries to pull from these consumers and to settle their deliveries.
    pub(super) async fn probe_consumers(&self, stream: &str, consumers: &[&str]) {
        join_all(consumers.iter().map(|consumer| self.probe_consumer(stream, consumer))).await;
        sleep(PASSED_ON).await;
    }

    async fn probe_consumer(&self, stream: &str, consumer: &str) {
        // The server does not answer an in-progress signal.
        let signal = |subject: String| self.nats.publish(subject, "+WPI".into());
        let _ = signal(format!("$JS.ACK.{stream}.{consumer}.{NO_DELIVERY}")).await;
        // Such a server may use ack subjects of either form, now or after its next start.
        if self.nats.is_server_compatible(2, 14, 0) {
            let _ = signal(format!("$JS.ACK._.probe.{stream}.{consumer}.{NO_DELIVERY}")).await;
        }
        tokio::join!(
            self.probe(self.api_subject(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}")), "{\"batch\":\"none\"}"),
            self.probe(self.api_subject(&format!("STREAM.MSG.GET.{stream}")), "{\"seq\":0}"),
        );
    }
}
