//! Makes a client hear again that lost the right to subscribe. When the right is taken away from a connected client,
//! the server drops its subscriptions. When the right is given back, the server neither restores them nor tells anyone.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::Client;

/// How often a subscription is tried.
const EVERY: Duration = Duration::from_secs(2);

/// A server that has not denied a subscription for so long allows it.
const SILENCE: Duration = Duration::from_secs(1);

impl Client {
    /// Connects anew once a client that was denied to listen may do so again. Never ends.
    ///
    /// It tries with a subscription of no other use. To connect anew each time would be logged each time.
    pub(crate) async fn hear_again(&self) -> Infallible {
        loop {
            // Only a denial ends this wait.
            let _ = self.denied.unless(|_| false, std::future::pending::<()>()).await;
            while !self.may_listen().await {}
            let workloads = self.users.names();
            tracing::info!(workloads, "the NATS server lets this client listen again; connecting anew");
            if let Err(error) = self.nats.force_reconnect().await {
                tracing::debug!(%error, "not connected anew");
            }
        }
    }

    async fn may_listen(&self) -> bool {
        sleep(EVERY).await;
        let trial = async {
            let subscribed = self.nats.subscribe(self.nats.new_inbox()).await.is_ok();
            sleep(SILENCE).await;
            subscribed && self.is_connected()
        };
        self.denied.unless(|_| false, trial).await.unwrap_or(false)
    }
}
