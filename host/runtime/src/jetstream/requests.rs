//! Opens the connection on which a host hears what it is asked as a NATS service.

use super::Client;
use super::fallback::Requests;
use crate::permissions::Denial;

impl Client {
    /// Hears requests on these subjects, which may have wildcards, on a connection of their own.
    ///
    /// # Errors
    /// If none of the servers accepts the client.
    pub(crate) async fn requests(&self, subjects: Vec<String>) -> anyhow::Result<Requests> {
        let mut pool = self.nats.server_pool().await?;
        pool.sort_by_key(|server| (!server.did_connect, server.failed_attempts));
        let servers: Vec<_> = pool.into_iter().map(|server| server.addr).collect();
        Requests::open(&self.config, &servers, subjects, self.max_payload()).await
    }

    /// Notes what was denied on such a connection, and tells it if it is new.
    pub(crate) fn note_denial(&self, denial: &Denial) {
        self.denied.tell();
        self.denied.note(denial);
    }
}
