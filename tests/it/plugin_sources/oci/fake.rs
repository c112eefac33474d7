//! A registry in this process, which can lie.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::super::digest;

/// What it does that a registry should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    Nothing,
    /// It answers that it cannot.
    Broken,
    /// It takes requests and does not answer them.
    Silent,
    OtherManifest,
    EndlessManifest,
    Index,
    ManifestElsewhere,
    OtherComponent,
    EndlessComponent,
    HalfComponent,
    ComponentElsewhere,
}

/// What it wants of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Nothing,
    Basic,
    Token,
}

/// Who may ask, where somebody has to be named.
pub(super) const LOGIN: &str = "anna:hunter2";
const TOKEN: &str = "a-token-of-the-test";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(super) struct Fake {
    pub(super) address: String,
    pub(super) lie: Mutex<Lie>,
    wants: Wants,
    /// By `NAME:REFERENCE`.
    pub(super) manifests: Mutex<HashMap<String, Bytes>>,
    /// What the manifests become, as soon as a component is fetched.
    pub(super) next: Mutex<Option<HashMap<String, Bytes>>>,
    pub(super) blobs: Mutex<HashMap<String, Bytes>>,
    /// The methods and paths of requests.
    pub(super) seen: Mutex<Vec<String>>,
}

impl Fake {
    pub(super) async fn start(wants: Wants) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            address: listener.local_addr().unwrap().to_string(),
            lie: Mutex::new(Lie::Nothing),
            wants,
            manifests: Mutex::default(),
            next: Mutex::default(),
            blobs: Mutex::default(),
            seen: Mutex::default(),
        });
        let app = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    /// The place of this in it.
    pub(super) fn place(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    pub(super) fn lies(&self, lie: Lie) {
        *self.lie.lock() = lie;
    }

    /// What is wrong with who asks, if they have to be known.
    fn refused(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let (expected, challenge) = match self.wants {
            Wants::Nothing => return None,
            Wants::Basic => (basic(), "Basic realm=\"fake\"".to_owned()),
            Wants::Token => {
                let realm = format!("http://{}/token", self.address);
                (format!("Bearer {TOKEN}"), format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"x\""))
            }
        };
        let response = Response::builder().status(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, challenge);
        (given != Some(expected)).then(|| response.body(Body::empty()).unwrap())
    }

    fn manifest(&self, name: &str, reference: &str, method: &Method) -> Response<Body> {
        let lie = *self.lie.lock();
        let Some(manifest) = self.manifests.lock().get(&format!("{name}:{reference}")).cloned() else {
            return status(StatusCode::NOT_FOUND);
        };
        let said = if lie == Lie::OtherManifest { digest(b"other") } else { digest(&manifest) };
        let kind = if lie == Lie::Index { INDEX } else { "application/vnd.oci.image.manifest.v1+json" };
        let response = Response::builder()
            .header(header::CONTENT_TYPE, kind)
            .header("Docker-Content-Digest", format!("sha256:{said}"));
        let body = match lie {
            Lie::Broken => return status(StatusCode::SERVICE_UNAVAILABLE),
            Lie::ManifestElsewhere => return elsewhere("http://127.0.0.1:9/v2/x/manifests/1"),
            _ if method == Method::HEAD => Body::empty(),
            Lie::EndlessManifest => endless(),
            _ => Body::from(manifest),
        };
        response.body(body).unwrap()
    }

    fn blob(&self, digits: &str) -> Response<Body> {
        let Some(blob) = self.blobs.lock().get(digits).cloned() else { return status(StatusCode::NOT_FOUND) };
        if let Some(next) = self.next.lock().take() {
            *self.manifests.lock() = next;
        }
        let body = match *self.lie.lock() {
            Lie::ComponentElsewhere => return elsewhere("http://127.0.0.1:9/component"),
            Lie::OtherComponent => Body::from(vec![0; blob.len()]),
            Lie::EndlessComponent => endless(),
            Lie::HalfComponent => Body::from(blob.slice(..blob.len() / 2)),
            _ => Body::from(blob),
        };
        Response::new(body)
    }
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(LOGIN))
}

fn status(code: StatusCode) -> Response<Body> {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

fn elsewhere(to: &str) -> Response<Body> {
    let response = Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, to);
    response.body(Body::empty()).unwrap()
}

fn endless() -> Body {
    Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 1 << 16]))))
}

async fn answer(State(fake): State<Arc<Fake>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    fake.seen.lock().push(format!("{} {path}", head.method));
    if *fake.lie.lock() == Lie::Silent {
        return std::future::pending().await;
    }
    if path == "/token" {
        let query = head.uri.query().unwrap_or_default();
        assert!(query.contains("scope=repository:acme/probe:pull") && query.contains("service=fake"), "{query}");
        let may = head.headers.get(header::AUTHORIZATION).is_some_and(|value| value.to_str().unwrap() == basic());
        let token = Response::new(Body::from(format!("{{\"token\": \"{TOKEN}\"}}")));
        return if may { token } else { status(StatusCode::UNAUTHORIZED) };
    }
    if let Some(refused) = fake.refused(&head.headers) {
        return refused;
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let parts: Vec<&str> = path.strip_prefix("/v2/").unwrap().rsplitn(3, '/').collect();
    match (head.method.clone(), parts.as_slice()) {
        (Method::GET | Method::HEAD, [reference, "manifests", name]) => fake.manifest(name, reference, &head.method),
        (Method::PUT, [reference, "manifests", name]) => {
            let by_digest = format!("{name}:sha256:{}", digest(&body));
            let mut manifests = fake.manifests.lock();
            manifests.insert(by_digest, body.clone());
            manifests.insert(format!("{name}:{reference}"), body);
            status(StatusCode::CREATED)
        }
        // What is large is elsewhere at the same registry.
        (Method::GET, [digest, "blobs", "acme/probe"]) => elsewhere(&format!("/v2/large/blobs/{digest}")),
        (Method::GET | Method::HEAD, [digest, "blobs", _]) => fake.blob(digest.strip_prefix("sha256:").unwrap()),
        (Method::POST, ["", "uploads", _]) => {
            let begun = Response::builder().status(StatusCode::ACCEPTED);
            begun.header(header::LOCATION, "/v2/upload/to/here?state=1").body(Body::empty()).unwrap()
        }
        (Method::PUT, ["here", "to", "upload"]) => {
            let said = head.uri.query().unwrap().rsplit_once("digest=sha256:").unwrap().1.to_owned();
            assert_eq!(said, digest(&body));
            fake.blobs.lock().insert(said, body);
            status(StatusCode::CREATED)
        }
        other => panic!("{other:?}"),
    }
}
