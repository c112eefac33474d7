//! Carries requests to one registry out, with a token or credentials where it wants them.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::challenge::{Challenge, token};
use super::credentials;
use crate::config::{OciConfig, OciReference};
use crate::http_client::{Connector, connector};

pub(super) type HttpClient = Client<Connector, Full<Bytes>>;

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of the head of an answer, and headers.
const HEAD: (usize, usize) = (64 << 10, 100);
/// Bytes of the largest answer with a token.
const LARGEST_TOKEN: usize = 64 << 10;
/// How often what is asked for may be elsewhere.
const REDIRECTS: usize = 5;
/// What cannot stand in a query as it is.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'&').add(b'+').add(b'%');
/// The registry of Docker has another name than the one that it goes by.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// What this program calls itself.
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// Makes what sends. Reads files, so it blocks.
///
/// # Errors
/// What is wrong with the file of authorities.
pub(super) fn client(config: &OciConfig) -> Result<HttpClient, String> {
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(HEAD.0)
        .http1_max_headers(HEAD.1)
        .build(connector((config.ca.as_deref(), "plugins.oci.ca"), CONNECT)?))
}

/// What is asked of a registry.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// From the first slash, or whole.
    pub(super) url: String,
    pub(super) accept: Option<String>,
    pub(super) content: Option<&'static str>,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn new(method: Method, url: String) -> Self {
        Self { method, url, accept: None, content: None, body: Bytes::new() }
    }
}

/// Requests to the registry of one artifact.
pub(super) struct Session<'a> {
    http: &'a HttpClient,
    config: &'a OciConfig,
    reference: &'a OciReference,
    /// What it is to be allowed: `pull`, or `pull,push`.
    rights: &'static str,
    authorization: Option<HeaderValue>,
    /// Whether there were credentials for it.
    had_credentials: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        http: &'a HttpClient,
        config: &'a OciConfig,
        reference: &'a OciReference,
        rights: &'static str,
    ) -> Self {
        Self { http, config, reference, rights, authorization: None, had_credentials: false }
    }

    fn registry(&self) -> &'a str {
        &self.reference.registry
    }

    /// Whether it is spoken to without TLS.
    fn is_plain(&self) -> bool {
        self.config.plain_http.iter().any(|plain| plain == self.registry())
    }

    fn origin(&self) -> String {
        let host = if self.registry() == DOCKER_HUB.0 { DOCKER_HUB.1 } else { self.registry() };
        format!("{}://{host}", if self.is_plain() { "http" } else { "https" })
    }

    /// Where this is at the registry itself.
    ///
    /// # Errors
    /// If it leads elsewhere.
    fn here(&self, url: &str) -> Result<Uri, String> {
        let whole = if url.starts_with('/') { format!("{}{url}", self.origin()) } else { url.to_owned() };
        let uri: Uri = whole.parse().map_err(|_| self.odd("leads to what is no URL"))?;
        let origin: Uri = self.origin().parse().map_err(|_| self.odd("has a name that is no host"))?;
        let same = uri.scheme() == origin.scheme() && uri.authority() == origin.authority();
        if same { Ok(uri) } else { Err(self.odd("leads elsewhere, which is not followed")) }
    }

    /// What a registry does that none should.
    pub(super) fn odd(&self, what: &str) -> String {
        format!("the registry {} {what}; see that it is the one that is meant", self.registry())
    }

    /// The answer of the registry itself. Credentials are given where it wants them.
    pub(super) async fn ask(&mut self, asked: &Asked) -> Result<Response<Incoming>, String> {
        let url = self.here(&asked.url)?;
        let answer = self.send(&url, asked, self.authorization.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || self.authorization.is_some() {
            return Ok(answer);
        }
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).into_iter();
        let challenge = headers.filter_map(|header| header.to_str().ok()).find_map(Challenge::parse);
        self.authorization = match challenge {
            Some(challenge) => self.authorize(challenge).await?,
            None => return Ok(answer),
        };
        self.send(&url, asked, self.authorization.clone()).await
    }

    /// The same for what may be kept elsewhere, as large content is: it counts only by its digest. Elsewhere is asked
    /// by TLS, and gets neither token nor credentials.
    pub(super) async fn follow(&mut self, asked: &Asked) -> Result<Response<Incoming>, String> {
        let mut answer = self.ask(asked).await?;
        let mut asked = asked.clone();
        for _ in 0..REDIRECTS {
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            asked.url = to.ok_or_else(|| self.odd("leads elsewhere and does not say where"))?.to_owned();
            answer = match self.here(&asked.url) {
                Ok(_) => self.ask(&asked).await?,
                Err(problem) => {
                    let url: Uri = asked.url.parse().map_err(|_| problem.clone())?;
                    if url.scheme_str() != Some("https") || url.authority().is_none() {
                        return Err(problem);
                    }
                    let answer = self.send(&url, &asked, None).await?;
                    let (status, at) = (answer.status(), url.host().unwrap_or_default());
                    if !status.is_success() && !status.is_redirection() {
                        return Err(format!(
                            "the registry {} keeps it at {at}, which answers {}; see that this host may reach it",
                            self.registry(),
                            status.as_u16()
                        ));
                    }
                    answer
                }
            };
        }
        Err(self.odd("leads from place to place"))
    }

    async fn send(
        &self,
        url: &Uri,
        asked: &Asked,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder().method(&asked.method).uri(url).header(USER_AGENT, AGENT);
        if let Some(accept) = &asked.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(content) = asked.content {
            request = request.header(CONTENT_TYPE, content);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(asked.body.clone())).map_err(|_| self.odd("cannot be asked for this"))?;
        let host = url.host().unwrap_or_default().to_owned();
        self.http.request(request).await.map_err(|error| {
            let why = innermost(&error);
            let remedy = if why.contains("certificate") {
                "let plugins.oci.ca name its authority"
            } else {
                "see that it is there and that this host may reach it (by plain HTTP only with plugins.oci.plain-http)"
            };
            format!("the registry {} cannot be reached at {host}: {why}; {remedy}", self.registry())
        })
    }

    /// What to send with each request from now on.
    async fn authorize(&mut self, challenge: Challenge) -> Result<Option<HeaderValue>, String> {
        let credentials = credentials::find(self.config, self.registry()).await?;
        self.had_credentials = credentials.is_some();
        let basic = credentials.map(|text| secret_header(&format!("Basic {}", BASE64.encode(text.as_bytes()))));
        let basic = basic.transpose()?;
        let Challenge::Bearer { realm, service } = challenge else { return Ok(basic) };
        // It could ask for the credentials itself, so it may say who is to get them. Nobody else can: it speaks TLS.
        let odd = || self.odd("says that tokens are given at no place that could be one");
        let uri: Uri = realm.parse().map_err(|_| odd())?;
        let is_safe = uri.scheme_str() == Some("https") || self.is_plain() && uri.scheme_str() == Some("http");
        if !is_safe || uri.authority().is_none() {
            return Err(odd());
        }
        let scope = format!("repository:{}:{}", self.reference.name, self.rights);
        let mut query = format!("scope={}", utf8_percent_encode(&scope, QUERY));
        if let Some(service) = service {
            query.push_str(&format!("&service={}", utf8_percent_encode(&service, QUERY)));
        }
        let url: Uri =
            format!("{realm}{}{query}", if uri.query().is_some() { '&' } else { '?' }).parse().map_err(|_| odd())?;
        let answer = self.send(&url, &Asked::new(Method::GET, String::new()), basic).await?;
        if !answer.status().is_success() {
            return Err(self.refused(answer.status()));
        }
        let body = bounded(answer.into_body(), LARGEST_TOKEN).await.map_err(|why| self.odd(&why))?;
        let token = token(&body).ok_or_else(|| self.odd("gives no token where it says that tokens are given"))?;
        secret_header(&format!("Bearer {token}")).map(Some)
    }

    /// What an answer with this status means.
    pub(super) fn refused(&self, status: StatusCode) -> String {
        let registry = self.registry();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.had_credentials => format!(
                "the registry {registry} lets only those it knows have this, and there are no credentials for it; give \
                 them in [plugins.oci.credentials] or by plugins.oci.docker-config, or see that the name is right"
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "the registry {registry} does not let who has these credentials have this ({}); see that they are \
                 right and may {} {}",
                status.as_u16(),
                self.rights,
                self.reference.name
            ),
            StatusCode::NOT_FOUND => {
                format!("the registry {registry} does not have it; put it there with `tidegate plugin push`")
            }
            _ if status.is_redirection() => self.odd("leads elsewhere, which is not followed"),
            _ => {
                format!("the registry {registry} answers {}; see what its log says, it is asked again", status.as_u16())
            }
        }
    }
}

/// The header of an authorization, which is shown nowhere.
fn secret_header(text: &str) -> Result<HeaderValue, String> {
    let mut header = HeaderValue::from_str(text).map_err(|_| "the credentials cannot stand in a header".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// The cause of an error that says only that there was one.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Reads a body of at most so many bytes.
///
/// # Errors
/// What is wrong with it, in words that follow the name of the registry.
pub(super) async fn bounded(mut body: Incoming, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("ends its answer too early: {}", innermost(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(format!("sends more than the {most} bytes that this may have"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
