//! What is wanted of registries: which artifact a reference leads to now, and its component.

use std::future::Future;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::manifest::{self, INDEXES, Interfaces, LARGEST, MANIFEST};
use super::push;
use super::session::{Asked, HttpClient, Session, bounded, client};
use crate::config::units::{show_duration, show_size};
use crate::config::{OciConfig, OciReference, OciVersion};
use crate::digest::sha256;

/// The header in which a registry says which manifest it sends.
const DIGEST: &str = "docker-content-digest";
/// How long a registry may take to say what an artifact is, which is little to send.
const ANSWER: Duration = Duration::from_secs(15);

/// An artifact with a component, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The manifest, as it came.
    pub(crate) manifest: Vec<u8>,
    /// The SHA-256 of the manifest, in hexadecimal digits: that of `oci://...@sha256:`.
    pub digest: String,
    /// The SHA-256 of the component, in hexadecimal digits: that of its file.
    pub component: String,
    /// Bytes of the component.
    pub bytes: u64,
    /// The signature that its annotation `tidegate-signature` has.
    pub signature: Option<String>,
}

impl Artifact {
    /// What this manifest describes.
    ///
    /// # Errors
    /// If that is no component.
    pub(crate) fn of(manifest: Vec<u8>) -> Result<Self, String> {
        let manifest::Component { digest: component, bytes, signature } = manifest::component(&manifest)?;
        Ok(Self { digest: sha256(&manifest), manifest, component, bytes, signature })
    }
}

/// All registries, as one configuration reaches them.
pub struct Registries {
    config: OciConfig,
    /// Made when it is needed first, and made again until it can be.
    http: OnceCell<HttpClient>,
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registries").finish_non_exhaustive()
    }
}

impl Registries {
    /// Reached as the configuration says. Nothing is sent before something is asked for.
    pub fn new(config: &OciConfig) -> Self {
        Self { config: config.clone(), http: OnceCell::new() }
    }

    /// The artifact that a reference leads to now; `None` if it is still the one with the manifest `known`.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub async fn find(&self, reference: &OciReference, known: Option<&str>) -> Result<Option<Artifact>, String> {
        self.within(
            ANSWER.min(self.config.timeout),
            reference,
            Box::pin(async {
                let mut session = Session::new(self.http().await?, &self.config, reference, "pull");
                let (version, digest) = match &reference.version {
                    OciVersion::Tag(tag) => (tag.clone(), None),
                    OciVersion::Digest(digest) if known == Some(digest) => return Ok(None),
                    OciVersion::Digest(digest) => (format!("sha256:{digest}"), Some(digest.as_str())),
                };
                let accept = [MANIFEST, INDEXES[0], INDEXES[1]].join(", ");
                let url = format!("/v2/{}/manifests/{version}", reference.name);
                let mut asked = Asked { accept: Some(accept), ..Asked::new(Method::GET, url) };
                if let Some(known) = known {
                    // Registries count what is fetched, and not who looks whether something has changed.
                    asked.method = Method::HEAD;
                    let answer = session.ask(&asked).await?;
                    if answer.status().is_success() && said(&answer).is_some_and(|said| said == known) {
                        return Ok(None);
                    }
                    asked.method = Method::GET;
                }
                let answer = session.ask(&asked).await?;
                if answer.status() != StatusCode::OK {
                    return Err(session.refused(answer.status()));
                }
                let (said, kind) = (said(&answer), header(&answer, "content-type").unwrap_or_default());
                let manifest = bounded(answer.into_body(), LARGEST).await.map_err(|why| session.odd(&why))?;
                let found = sha256(&manifest);
                if digest.is_some_and(|digest| digest != found) || said.is_some_and(|said| said != found) {
                    return Err(session.odd("sends a manifest that does not have its digest"));
                }
                if INDEXES.iter().any(|index| kind.starts_with(index)) {
                    return Err(manifest::index());
                }
                if known == Some(found.as_str()) { Ok(None) } else { Artifact::of(manifest).map(Some) }
            }),
        )
        .await
    }

    /// The component of an artifact, if it has at most so many bytes and its digest is right.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub async fn component(&self, reference: &OciReference, artifact: &Artifact, most: u64) -> Result<Vec<u8>, String> {
        let Artifact { component, bytes, .. } = artifact;
        if *bytes > most {
            let most = show_size(&most);
            return Err(format!("it has {bytes} bytes, more than {most}; make it smaller, or raise plugins.max-size"));
        }
        self.within(
            self.config.timeout,
            reference,
            Box::pin(async {
                let mut session = Session::new(self.http().await?, &self.config, reference, "pull");
                let url = format!("/v2/{}/blobs/sha256:{component}", reference.name);
                let answer = session.follow(&Asked::new(Method::GET, url)).await?;
                if answer.status() != StatusCode::OK {
                    return Err(session.refused(answer.status()));
                }
                let most = usize::try_from(*bytes).unwrap_or(usize::MAX);
                let content = bounded(answer.into_body(), most).await.map_err(|why| session.odd(&why))?;
                if sha256(&content) != *component {
                    return Err(session.odd("sends a component that does not have its digest"));
                }
                Ok(content)
            }),
        )
        .await
    }

    /// The artifact that a reference leads to now, and its component of at most so many bytes.
    ///
    /// # Errors
    /// Why they cannot be had, and what to do.
    pub async fn fetch(&self, reference: &OciReference, most: u64) -> Result<(Artifact, Vec<u8>), String> {
        let found = self.find(reference, None).await?;
        let artifact = found.ok_or_else(|| format!("{reference} leads to nothing"))?;
        let content = self.component(reference, &artifact, most).await?;
        Ok((artifact, content))
    }

    /// Puts a component there, with what it exports and imports and with its signature, and gives the digest of its
    /// manifest.
    ///
    /// # Errors
    /// Why the registry does not take it.
    pub async fn push(
        &self,
        reference: &OciReference,
        component: (&[u8], &Interfaces),
        signature: Option<String>,
    ) -> Result<String, String> {
        self.within(
            self.config.timeout,
            reference,
            Box::pin(async {
                let session = Session::new(self.http().await?, &self.config, reference, "pull,push");
                push::push(session, reference, component, signature).await
            }),
        )
        .await
    }

    async fn http(&self) -> Result<&HttpClient, String> {
        let make = async {
            let config = self.config.clone();
            let made = tokio::task::spawn_blocking(move || client(&config)).await;
            made.unwrap_or_else(|_| Err("this host is stopping".to_owned()))
        };
        self.http.get_or_try_init(|| make).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        of: &OciReference,
        asked: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        timeout(limit, asked).await.unwrap_or_else(|_| {
            let (registry, within) = (&of.registry, show_duration(&limit));
            let or = if limit < self.config.timeout { "" } else { ", or raise plugins.oci.timeout" };
            Err(format!("the registry {registry} does not give it within {within}; see that it is well{or}"))
        })
    }
}

fn header(answer: &Response<Incoming>, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The digest that a registry says a manifest has.
fn said(answer: &Response<Incoming>) -> Option<String> {
    header(answer, DIGEST)?.strip_prefix("sha256:").map(str::to_owned)
}
