//! Connections, within bounds: whoever can reach the address may open as many as it likes, and say nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::api::ConnectionEnd;

/// How long a connection may be idle and the head of a request may take, together.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection takes requests.
const ALL: Duration = Duration::from_secs(30);
/// How long its last answer may take from then on.
const LAST: Duration = Duration::from_secs(5);
/// The most connections at once.
const CONNECTIONS: u64 = 64;
/// The most bytes of a request's head.
const BYTES: usize = 16 << 10;
/// The pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a shortage of descriptors that begins again and again is told once.
const QUIET: Duration = Duration::from_secs(60);

/// Answers for ever. A connection that comes when there are as many as may be takes the place of the oldest: one that
/// says what it wants is answered long before it is that.
pub(super) async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let (most, mut open) = (most(), VecDeque::<AbortHandle>::new());
    let mut shortage = Shortage::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if is_shortage(&error) && shortage.begins(Instant::now()) {
                    tracing::warn!(
                        %error,
                        "connections of HTTP cannot be taken: this host has as many files and connections open as it \
                         may; allow it more (`ulimit -n`, LimitNOFILE of a unit)"
                    );
                }
                tracing::debug!(%error, "no connection taken");
                sleep(PAUSE).await;
                continue;
            }
        };
        shortage.ends();
        open.retain(|connection| !connection.is_finished());
        while open.len() >= most {
            open.pop_front().inspect(AbortHandle::abort);
        }
        open.push_back(tokio::spawn(answer(stream, router.clone())).abort_handle());
    }
}

/// Whether this process or the whole system has no descriptors left.
fn is_shortage(error: &std::io::Error) -> bool {
    let full = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| full.contains(&code))
}

/// When a shortage of descriptors is told: as it begins, but no more often than once in [`QUIET`].
#[derive(Debug, Default)]
struct Shortage {
    lasts: bool,
    told: Option<Instant>,
}

impl Shortage {
    /// A connection could not be taken. Returns whether that is to be told.
    fn begins(&mut self, now: Instant) -> bool {
        let lasts = std::mem::replace(&mut self.lasts, true);
        let is_due = !lasts && self.told.is_none_or(|told| told + QUIET <= now);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// One was taken.
    fn ends(&mut self) {
        self.lasts = false;
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BYTES);
    let router = router.layer(Extension(ConnectionEnd(Instant::now() + ALL)));
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    if timeout(ALL, served.as_mut()).await.is_err() {
        served.as_mut().graceful_shutdown();
        // What the other side does wrong is its own.
        let _ = timeout(LAST, served).await;
    }
}

/// So many that most descriptors of the process are left for what it is there for.
fn most() -> usize {
    let quarter = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 4;
    usize::try_from(quarter.clamp(1, CONNECTIONS)).unwrap_or(1)
}

/// Answers only what is asked of this host by a name of its own. A page in somebody's browser may have a name of its
/// own lead here, and would be let read what is answered.
pub(super) fn guard(router: Router, names: Vec<String>) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::<[String]>::from(names), ask))
}

async fn ask(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let host = match request.headers().get(header::HOST).map(|host| host.to_str()) {
        // A browser always says it.
        None => return next.run(request).await,
        Some(host) => host.unwrap_or_default(),
    };
    if is_own(host, &names) {
        return next.run(request).await;
    }
    let problem = "this name is none of this host's: ask by its address, or list the name in http-names\n";
    (StatusCode::MISDIRECTED_REQUEST, problem).into_response()
}

/// Whether a `Host` header names this host. An address cannot be led elsewhere.
fn is_own(host: &str, names: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = name.trim_end_matches('.');
    address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_descriptors_is_told_once_and_again_when_it_begins_anew_later() {
        let (mut shortage, now) = (Shortage::default(), Instant::now());
        assert!(shortage.begins(now));
        assert!(!shortage.begins(now) && !shortage.begins(now + 2 * QUIET));
        shortage.ends();
        assert!(shortage.begins(now + 2 * QUIET));
        shortage.ends();
        assert!(!shortage.begins(now + 2 * QUIET + PAUSE));
        assert!(is_shortage(&Errno::MFILE.into()) && !is_shortage(&Errno::CONNABORTED.into()));
    }

    #[test]
    fn a_host_answers_to_addresses_to_localhost_and_to_the_names_that_it_was_given() {
        let names = ["tidegate.internal".to_owned()];
        for own in [
            "127.0.0.1",
            "127.0.0.1:8222",
            "[::1]:8222",
            "[::1]",
            "10.1.2.3:80",
            "localhost:8222",
            "LOCALHOST",
            "localhost.",
            "tidegate.internal",
            "Tidegate.Internal:8222",
        ] {
            assert!(is_own(own, &names), "{own}");
        }
        for other in
            ["evil.example", "evil.example:8222", "127.0.0.1.evil.example", "", ":8222", "localhost.evil.example:1"]
        {
            assert!(!is_own(other, &names), "{other}");
        }
    }
}
