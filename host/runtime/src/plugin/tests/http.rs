//! Requests of a real guest to a server of the test's process, plain and by TLS.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::config::Config;
use crate::contract::Fault;
use crate::plugin::{HandlerInstance, HandlerPlugin, HttpAccess, WorkerContext};

/// A server that does what a path says.
struct Server {
    port: u16,
    accepted: Arc<AtomicUsize>,
    /// Paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
    /// Connections that are open.
    open: watch::Sender<usize>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, accepted: Arc::default(), asked: Arc::default(), open: watch::Sender::new(0) };
        let (accepted, asked, open) = (server.accepted.clone(), server.asked.clone(), server.open.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                let (tls, asked, open) = (tls.clone(), asked.clone(), open.clone());
                open.send_modify(|count| *count += 1);
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, &asked).await;
                            }
                        }
                        None => serve(socket, &asked).await,
                    }
                    open.send_modify(|count| *count -= 1);
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn all_closed(&self) {
        self.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }
}

/// Answers until the client is gone.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, asked: &Mutex<Vec<String>>) {
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        while !read.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            match socket.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&part[..count]),
            }
        }
        let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        asked.lock().push(path.clone());
        let answer: &[u8] = match path.as_str() {
            "/v1/redirect" => b"HTTP/1.1 302 Found\r\nlocation: /v1/price\r\ncontent-length: 0\r\n\r\n",
            "/v1/down" => b"HTTP/1.1 503 Not now\r\ncontent-length: 0\r\n\r\n",
            "/v1/begin" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx",
            "/v1/large" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n",
            "/v1/endless" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "/v1/headers" => b"HTTP/1.1 200 OK\r\n",
            "/v1/cut" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx",
            "/v1/nonsense" => b"what?\r\n\r\n",
            "/v1/never" => b"",
            "/v1/head" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n",
            "/v1/same" => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000000000\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nprice",
        };
        let more: &[u8] = match path.as_str() {
            "/v1/endless" => b"5\r\nprice\r\n",
            "/v1/headers" => b"x-more: and more\r\n",
            _ => b"",
        };
        if socket.write_all(answer).await.is_err() || path == "/v1/cut" {
            return;
        }
        while !more.is_empty() {
            if socket.write_all(&more.repeat(100)).await.is_err() {
                return;
            }
        }
    }
}

async fn instance(config: &str) -> HandlerInstance {
    let text = format!(
        "[workload.prices]\nstream = \"S\"\nhandler = \"probe\"\npolicy = \"p\"\nlimits.http-requests = 2000\n{config}"
    );
    let workload = Config::from_toml(&text).unwrap().workloads.remove(0);
    let access = Arc::new(HttpAccess::new(&workload));
    access.ready().await.unwrap();
    let (_dir, file) = file(tidegate_test_artifacts::probes::HTTP);
    let plugin: HandlerPlugin = host().load(&file, &limits()).await.unwrap();
    let context = WorkerContext { http: access, ..WorkerContext::new("prices".into(), 1, Arc::new([]), limits()) };
    plugin.instantiate(&context).await.unwrap()
}

/// An instance that may send requests to `/v1/` of a server.
async fn granted(server: &Server, more: &str) -> HandlerInstance {
    instance(&format!("grants.http = [\"{}\"]\n{more}", server.url("/v1/"))).await
}

async fn reply(instance: &mut HandlerInstance, script: &str) -> String {
    let response = instance.handle(&delivery(script)).await.unwrap().unwrap();
    String::from_utf8(response.reply.unwrap()).unwrap()
}

async fn get(instance: &mut HandlerInstance, url: &str) -> String {
    reply(instance, &format!("get {url}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_request_is_answered_and_any_other_never_sent() {
    let (server, other) = (Server::start(None).await, Server::start(None).await);
    let mut guest = granted(&server, "").await;
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "200 price");
    assert_eq!(get(&mut guest, &server.url("/v1/down")).await, "503 ");
    for url in [
        other.url("/v1/price"),
        format!("http://localhost:{}/v1/price", server.port),
        server.url("/"),
        server.url("/v10/price"),
        server.url("/v1/../secret"),
        server.url("/v1/%2e%2E/secret"),
        server.url("/v1/..%2fsecret"),
        server.url("/v1/%252e%252e/secret"),
        format!("http://127.0.0.1:{}@127.0.0.1:{}/v1/", server.port, other.port),
    ] {
        assert_eq!(get(&mut guest, &url).await, "ErrorCode::HttpRequestDenied", "{url}");
    }
    assert_eq!(*server.asked.lock(), ["/v1/price", "/v1/down"]);
    assert_eq!(other.accepted(), 0);
    let mut guest = instance("").await;
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "ErrorCode::HttpRequestDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_what_is_the_connections_is_not_the_guests() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "").await;
    assert_eq!(get(&mut guest, &server.url("/v1/redirect")).await, "302 ");
    assert_eq!(*server.asked.lock(), ["/v1/redirect"]);
    let connect = reply(&mut guest, &format!("connect {}", server.url("/v1/"))).await;
    assert_eq!(connect, "ErrorCode::HttpRequestMethodInvalid");
    for name in ["Host", "connection", "Transfer-Encoding", "upgrade", "te", "Expect"] {
        let said = reply(&mut guest, &format!("header {name}")).await;
        assert!(said.contains("Forbidden"), "{name}: {said}");
    }
    assert_eq!(reply(&mut guest, "header authorization").await, "Ok(())");
}

/// A peer that takes no connection, for its queue is full: the system answers no more.
async fn full() -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let first = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_and_a_peer_without_a_connection_are_told_apart_each_by_its_own_limit() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-connect = \"1h\"\nlimits.http-first-byte = \"2s\"\n").await;
    // What is silent then has a connection in the pool.
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "200 price");
    assert_eq!(get(&mut guest, &server.url("/v1/never")).await, "ErrorCode::HttpResponseTimeout");
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "200 price");
    let limits = "limits.http-connect = \"100ms\"\nlimits.http-first-byte = \"1h\"\n";
    let (mute, (full, _first)) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), full().await);
    let mut peers = vec![format!("https://{}/", mute.local_addr().unwrap())];
    // Other systems answer in spite of a full queue.
    if cfg!(target_os = "linux") {
        peers.push(format!("http://{}/", full.local_addr().unwrap()));
    }
    for peer in peers {
        let mut guest = instance(&format!("grants.http = [\"{peer}\"]\n{limits}")).await;
        assert_eq!(get(&mut guest, &peer).await, "ErrorCode::ConnectionTimeout", "{peer}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn each_origin_that_is_denied_is_told_beside_whatever_else_is_told() {
    let log = Logged::start();
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-response-body = \"64KiB\"\n").await;
    get(&mut guest, &server.url("/v1/large")).await;
    for url in ["http://a.example:81/v1/", "http://a.example:81/v1/x", "http://a.example:81/", "http://b.example/"] {
        assert_eq!(get(&mut guest, url).await, "ErrorCode::HttpRequestDenied", "{url}");
    }
    assert_eq!(log.with("more than limits.http-response-body").len(), 1);
    let denials = log.with("no grant covers it");
    for origin in ["origin=http://a.example:81 ", "origin=http://b.example "] {
        assert!(denials.iter().any(|line| line.contains(origin)), "{denials:#?}");
    }
    // What was left out of them is told with one of them.
    let more = |line: &String| line.rsplit_once("more=").unwrap().1.trim().parse::<usize>().unwrap();
    assert_eq!(denials.len() + denials.iter().map(more).sum::<usize>(), 4, "{denials:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_or_never_ends_is_an_error_and_the_instance_goes_on() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-response-body = \"64KiB\"\n").await;
    let large = get(&mut guest, &server.url("/v1/large")).await;
    assert!(large.starts_with("ErrorCode::HttpResponseBodySize"), "{large}");
    let endless = get(&mut guest, &server.url("/v1/endless")).await;
    assert!(endless.contains("HTTP response body size exceeds limit"), "{endless}");
    let headers = get(&mut guest, &server.url("/v1/headers")).await;
    assert!(headers.starts_with("ErrorCode::HttpResponseHeaderSectionSize"), "{headers}");
    let cut = get(&mut guest, &server.url("/v1/cut")).await;
    assert!(cut.contains("incomplete HTTP response"), "{cut}");
    assert_eq!(get(&mut guest, &server.url("/v1/nonsense")).await, "ErrorCode::HttpProtocolError");
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "200 price");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut guest = instance(&format!("grants.http = [\"http://{nobody}/\"]\n")).await;
    assert_eq!(get(&mut guest, &format!("http://{nobody}/")).await, "ErrorCode::ConnectionRefused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_not_sent() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-request-body = \"1KiB\"\n").await;
    let said = reply(&mut guest, &format!("post 100000 {}", server.url("/v1/never"))).await;
    assert!(said.starts_with("ErrorCode::HttpRequestBodySize"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_take_one_connection() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "").await;
    assert_eq!(reply(&mut guest, &format!("many 500 {}", server.url("/v1/price"))).await, "500 ");
    // The pool is the workload's: another call finds it as it is.
    assert_eq!(reply(&mut guest, &format!("many 500 {}", server.url("/v1/price"))).await, "500 ");
    assert!(server.accepted() <= 3, "{}", server.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_spellings_of_an_origin_share_the_connections_of_the_pool() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "").await;
    for zeros in 0..20 {
        let url = format!("http://127.0.0.1:{}{}/v1/price", "0".repeat(zeros), server.port);
        assert_eq!(get(&mut guest, &url).await, "200 price", "{url}");
    }
    assert!(server.accepted() <= 3, "{}", server.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_the_host_keeps_have_a_bound_though_nothing_is_granted() {
    let mut guest = instance("").await;
    for (script, said) in [
        ("method 64", "Ok(())"),
        ("method 65", "Err(())"),
        ("authority 300", "Ok(())"),
        ("authority 301", "Err(())"),
        ("path 8192", "Ok(())"),
        ("path 8193", "Err(())"),
        ("fields 32000", "true"),
    ] {
        assert_eq!(reply(&mut guest, script).await, said, "{script}");
    }
    let outcome = guest.handle(&delivery("fields 33000")).await;
    assert!(matches!(&outcome, Err(Fault::Trap(why)) if why.contains("total size of fields")), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_without_a_body_is_no_body_that_is_too_large() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-response-body = \"64KiB\"\n").await;
    assert_eq!(reply(&mut guest, &format!("head {}", server.url("/v1/head"))).await, "200 ");
    assert_eq!(get(&mut guest, &server.url("/v1/same")).await, "304 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_makes_no_more_requests_than_it_may_and_the_next_may_again() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "").await;
    let many = format!("many 2001 {}", server.url("/v1/price"));
    assert_eq!(reply(&mut guest, &many).await, "2000 ErrorCode::HttpRequestDenied");
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "200 price");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_leaves_open_ends_with_its_call() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-at-once = 4\n").await;
    assert_eq!(reply(&mut guest, &format!("open 200 {}", server.url("/v1/never"))).await, "200");
    server.all_closed().await;
    assert!(server.accepted() <= 4, "{}", server.accepted());
    // More than there are places: each is given back with its call.
    for _ in 0..6 {
        assert_eq!(reply(&mut guest, &format!("begin {}", server.url("/v1/begin"))).await, "200");
        server.all_closed().await;
    }
    // So is what is still to be sent, though there is a response.
    for _ in 0..6 {
        assert_eq!(reply(&mut guest, &format!("unfinished 127.0.0.1:{}", server.port)).await, "200");
        server.all_closed().await;
    }
    assert_eq!(get(&mut guest, &server.url("/v1/price")).await, "200 price");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_requests_at_once_cost_the_guest_its_instance_at_most() {
    let server = Server::start(None).await;
    let mut guest = granted(&server, "limits.http-at-once = 4\n").await;
    let outcome = guest.handle(&delivery(&format!("open 100000 {}", server.url("/v1/never")))).await;
    assert!(matches!(outcome, Ok(_) | Err(Fault::Trap(_) | Fault::Memory(_))), "{outcome:?}");
    drop(guest);
    server.all_closed().await;
    assert!(server.accepted() <= 4, "{}", server.accepted());
}

/// A server's TLS, and the file with the authority that made its certificate.
fn tls(directory: &std::path::Path) -> (TlsAcceptor, PathBuf) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let file = directory.join("ca.pem");
    let encoded = base64::prelude::BASE64_STANDARD.encode(authority.as_ref().der());
    std::fs::write(&file, format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n")).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_and_one_that_is_named_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (acceptor, ca) = tls(directory.path());
    let server = Server::start(Some(acceptor)).await;
    let url = format!("https://localhost:{}/v1/", server.port);
    let grant = format!("grants.http = [\"{url}\"]\n");
    let mut guest = instance(&grant).await;
    assert_eq!(get(&mut guest, &url).await, "ErrorCode::TlsCertificateError");
    let refused = server.accepted();
    let mut guest = instance(&format!("{grant}grants.http-ca = \"{}\"\n", ca.display())).await;
    assert_eq!(reply(&mut guest, &format!("many 1000 {url}")).await, "1000 ");
    assert!(server.accepted() - refused <= 3, "{}", server.accepted());
    assert!(server.asked.lock().len() == 1000);
}

#[tokio::test]
async fn a_file_without_authorities_is_told_before_a_message_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let text = format!(
        "[workload.w]\nstream = \"S\"\nhandler = \"probe\"\npolicy = \"p\"\ngrants.http = [\"https://h/\"]\n\
         grants.http-ca = \"{}\"\n",
        ca.display()
    );
    let access = HttpAccess::new(&Config::from_toml(&text).unwrap().workloads[0]);
    let said = |fault: Fault| fault.to_string();
    let missing = access.ready().await.map_err(said).unwrap_err();
    assert!(missing.contains("ca.pem") && missing.contains("grants.http-ca"), "{missing}");
    std::fs::write(&ca, "no certificate").unwrap();
    let empty = access.ready().await.map_err(said).unwrap_err();
    assert!(empty.contains("no certificate"), "{empty}");
}
