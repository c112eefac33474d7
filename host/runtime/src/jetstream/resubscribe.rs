//! Hearing again. Where the right to subscribe is taken away from a connected client, the server drops the
//! subscriptions; where it is given back, the server neither restores them nor says a word.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::Client;

/// How often to try.
const EVERY: Duration = Duration::from_secs(2);

/// A server that says nothing against a subscription for so long allows it.
const SILENCE: Duration = Duration::from_secs(1);

impl Client {
    /// Connects anew once a client that was denied to listen may do so again. Never ends.
    ///
    /// It tries by a subscription of no other use, for to connect anew each time would be told each time.
    pub(crate) async fn hear_again(&self) -> Infallible {
        loop {
            // Only a denial ends this.
            let _ = self.denied.unless(|_| false, std::future::pending::<()>()).await;
            while !self.may_listen().await {}
            tracing::info!("the NATS server lets this client listen again; connecting anew");
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
