//! What the instances of a workload's handler share: grants, limits, one pool of connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use super::client::{HttpClient, client};
use crate::config::{HttpGrant, Limits, Workload};
use crate::contract::Fault;
use crate::denial_log::DenialLog;

/// Bytes of an origin that a line of the log tells.
const TOLD: usize = 200;

/// Where a workload's handler may send HTTP requests, and how.
pub struct HttpAccess {
    workload: Arc<str>,
    granted: Vec<HttpGrant>,
    ca: Option<PathBuf>,
    pub(super) limits: HttpLimits,
    /// A place for each request that may be under way.
    places: Arc<Semaphore>,
    /// Made when the first instance starts, if anything is granted.
    client: OnceCell<HttpClient>,
    /// Of what no grant covers.
    denials: DenialLog,
    /// Of whatever else became of requests.
    failures: DenialLog,
}

/// The limits of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpLimits {
    pub(super) requests: usize,
    at_once: usize,
    pub(super) request_body: usize,
    pub(super) response_body: usize,
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
}

impl HttpLimits {
    fn of(limits: &Limits) -> Self {
        Self {
            requests: limits.http_requests,
            at_once: limits.http_at_once,
            request_body: limits.http_request_body,
            response_body: limits.http_response_body,
            connect: limits.http_connect,
            first_byte: limits.http_first_byte,
        }
    }
}

impl HttpAccess {
    /// What a workload grants its handler.
    pub fn new(workload: &Workload) -> Self {
        Self {
            granted: workload.grants.http.clone(),
            ca: workload.grants.http_ca.clone(),
            ..Self::none(workload.name.as_str().into(), &workload.limits)
        }
    }

    /// Nothing is granted.
    pub(crate) fn none(workload: Arc<str>, limits: &Limits) -> Self {
        let limits = HttpLimits::of(limits);
        Self {
            workload,
            granted: Vec::new(),
            ca: None,
            limits,
            places: Arc::new(Semaphore::new(limits.at_once)),
            client: OnceCell::new(),
            denials: DenialLog::default(),
            failures: DenialLog::default(),
        }
    }

    /// Makes what requests need, if there can be any.
    ///
    /// # Errors
    /// [`Fault::Start`] if the file with authorities cannot be used, in words that say what mends it.
    pub async fn ready(&self) -> Result<(), Fault> {
        if self.granted.is_empty() { Ok(()) } else { self.client().await.map(drop).map_err(Fault::Start) }
    }

    pub(super) async fn client(&self) -> Result<&HttpClient, String> {
        let make = || async {
            let (ca, limits) = (self.ca.clone(), self.limits);
            let made = tokio::task::spawn_blocking(move || client(ca.as_deref(), limits.connect, limits.at_once));
            made.await.unwrap_or_else(|_| Err("cannot make its HTTP client, for this host stops".to_owned()))
        };
        self.client.get_or_try_init(make).await
    }

    /// Where a request goes, if it may: all spellings of an origin share the connections of the pool.
    pub(super) fn admit(&self, to: &Uri) -> Result<Uri, Error> {
        if self.granted.iter().any(|grant| grant.covers(to)) {
            return HttpGrant::canonical(to).ok_or(Error::HttpRequestUriInvalid);
        }
        let origin = origin(to);
        if let Some(more) = self.denials.admit_of(&origin) {
            self.log(&origin, more, "is denied: no grant covers it; add its origin and path to grants.http if it may");
        }
        Err(Error::HttpRequestDenied)
    }

    /// Waits for a place among the requests under way.
    pub(super) async fn place(&self, to: &Uri, within: Duration) -> Result<OwnedSemaphorePermit, Error> {
        match timeout(within, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => {
                self.tell(to, "found no place within limits.http-connect; raise limits.http-at-once");
                Err(Error::ConnectionLimitReached)
            }
        }
    }

    /// Says in the log what became of a request, where it is not that no grant covers it.
    pub(super) fn tell(&self, to: &Uri, what: &str) {
        if let Some(more) = self.failures.admit_of(what) {
            self.log(&origin(to), more, what);
        }
    }

    fn log(&self, origin: &str, more: u64, what: &str) {
        tracing::warn!(workload = %self.workload, %origin, more, "an HTTP request of the handler {what}");
    }
}

/// Where a request goes, as the log tells it: without its path, which may hold a secret.
fn origin(to: &Uri) -> String {
    let origin = format!("{}://{}", to.scheme_str().unwrap_or_default(), to.host().unwrap_or_default());
    let origin = match to.port() {
        Some(port) => format!("{origin}:{port}"),
        None => origin,
    };
    origin.chars().take(TOLD).collect()
}

impl std::fmt::Debug for HttpAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpAccess").field("granted", &self.granted).finish_non_exhaustive()
    }
}
