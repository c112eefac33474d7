//! Asks the server for what a host will do, in ways that change nothing, so that a permission that is missing shows now
//! and not when the first message has been handled and cannot be settled.
//!
//! The server does not answer what it denies. Who probes listens for denials meanwhile ([`PermissionDenials::unless`]).

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
/// What the subject of an ack says of one delivery: here of none.
const NO_DELIVERY: &str = "1.0.0.0.0";

impl Client {
    /// Sends a request with a payload that asks for nothing. What is answered does not matter, nor that it is an error.
    pub(super) async fn probe(&self, subject: String, payload: &'static str) {
        let _ = timeout(WITHIN, self.nats.request(subject, payload.into())).await;
    }

    /// Does what work on these consumers does.
    pub(super) async fn probe_consumers(&self, stream: &str, consumers: &[&str]) {
        join_all(consumers.iter().map(|consumer| self.probe_consumer(stream, consumer))).await;
        sleep(PASSED_ON).await;
    }

    async fn probe_consumer(&self, stream: &str, consumer: &str) {
        // Nobody answers a signal that a delivery is in progress.
        let signal = |subject: String| self.nats.publish(subject, "+WPI".into());
        let _ = signal(format!("$JS.ACK.{stream}.{consumer}.{NO_DELIVERY}")).await;
        // Such a server may send subjects of either form, now or after its next start.
        if self.nats.is_server_compatible(2, 14, 0) {
            let _ = signal(format!("$JS.ACK._.probe.{stream}.{consumer}.{NO_DELIVERY}")).await;
        }
        tokio::join!(
            self.probe(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), "{\"batch\":\"none\"}"),
            self.probe(format!("$JS.API.STREAM.MSG.GET.{stream}"), "{\"seq\":0}"),
        );
    }
}
