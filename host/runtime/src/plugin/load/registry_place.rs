//! A plugin that comes from a registry: which artifact its reference leads to, asked again and again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio::time::sleep;

use super::file_progress::{Fingerprint, Stamp};
use super::refusal::PluginRefusal;
use super::registry_cache::RegistryCache;
use super::source::FileContent;
use crate::backoff::Backoff;
use crate::config::{OciConfig, OciReference, OciVersion};
use crate::registry::{Artifact, Registries};
use crate::signature;

/// The first pause before a registry is asked again that did not answer; the longest is the time between two polls.
const AGAIN: Duration = Duration::from_secs(1);

/// The registries of a host, and what is kept of them.
#[derive(Debug)]
pub(super) struct RegistryAccess {
    registries: Registries,
    config: OciConfig,
    cache: OnceCell<RegistryCache>,
}

impl RegistryAccess {
    pub(super) fn new(config: &OciConfig) -> Arc<Self> {
        Arc::new(Self { registries: Registries::new(config), config: config.clone(), cache: OnceCell::new() })
    }

    /// What is kept, opened when it is needed first. One that cannot be used is told once, and keeps nothing.
    async fn cache(&self) -> RegistryCache {
        let open = async {
            let dir = self.config.cache.clone();
            let opened = tokio::task::spawn_blocking(move || RegistryCache::open(dir.as_deref())).await;
            let opened = opened.unwrap_or_else(|_| Ok(RegistryCache::off()));
            opened.unwrap_or_else(|problem| {
                tracing::warn!(problem, "what registries give is not kept; a start needs them");
                RegistryCache::off()
            })
        };
        self.cache.get_or_init(|| open).await.clone()
    }

    /// What is kept of a reference, of at most so many bytes.
    async fn kept(&self, name: &str, most: u64) -> Option<(Artifact, Vec<u8>)> {
        let (cache, name) = (self.cache().await, name.to_owned());
        tokio::task::spawn_blocking(move || cache.get(&name, most)).await.ok().flatten()
    }

    async fn keep(&self, name: &str, artifact: &Artifact, component: &[u8]) {
        let (cache, of) = (self.cache().await, name.to_owned());
        let (artifact, component) = (artifact.clone(), component.to_vec());
        let kept = tokio::task::spawn_blocking(move || cache.put(&of, &artifact, &component)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(plugin = name, %error, "what the registry gave cannot be kept; a start needs it");
        }
    }
}

/// One reference, as far as it is known where it leads.
#[derive(Debug)]
pub(super) struct RegistryPlace {
    name: String,
    reference: OciReference,
    access: Arc<RegistryAccess>,
    seen: Mutex<Seen>,
    /// Changes when the plugin has to be looked at.
    looks: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Seen {
    artifact: Option<Artifact>,
    /// Why the registry could not be asked last.
    problem: Option<String>,
}

impl RegistryPlace {
    /// Of the plugin with this name, if it is one in a registry.
    pub(super) fn of(name: &str, access: &Arc<RegistryAccess>) -> Option<Arc<Self>> {
        let reference = OciReference::parse(name)?.ok()?;
        let (access, seen, looks) = (access.clone(), Mutex::default(), watch::Sender::new(false));
        Some(Arc::new(Self { name: name.to_owned(), reference, access, seen, looks }))
    }

    pub(super) fn looks(&self) -> watch::Receiver<bool> {
        self.looks.subscribe()
    }

    /// Asks the registry again and again where the reference leads, for ever. `tell` is given why it cannot be asked,
    /// and `None` when it can, each time that this has changed while an artifact is known.
    pub(super) async fn follow(&self, most: u64, tell: impl Fn(Option<&str>)) {
        let poll = self.access.config.poll;
        let mut backoff = Backoff::new(AGAIN.min(poll), poll);
        if matches!(self.reference.version, OciVersion::Digest(_)) {
            // Nothing else can have this digest, whatever the registry says.
            self.seen.lock().artifact = self.access.kept(&self.name, most).await.map(|(artifact, _)| artifact);
        }
        loop {
            let known = self.seen.lock().artifact.as_ref().map(|artifact| artifact.digest.clone());
            let pause = match self.access.registries.find(&self.reference, known.as_deref()).await {
                Ok(found) => {
                    backoff.reset();
                    self.found(found, &tell);
                    poll
                }
                Err(problem) => {
                    self.failed(problem, most, &tell).await;
                    backoff.pause()
                }
            };
            // Even if nothing has changed: what could not be read is read again.
            self.looks.send_replace(true);
            sleep(pause).await;
        }
    }

    fn found(&self, found: Option<Artifact>, tell: &impl Fn(Option<&str>)) {
        let mut seen = self.seen.lock();
        let had_problem = seen.problem.take().is_some();
        if let Some(artifact) = found {
            seen.artifact = Some(artifact);
        }
        drop(seen);
        if had_problem {
            tracing::info!(plugin = self.name, "the registry can be asked again");
            tell(None);
        }
    }

    async fn failed(&self, problem: String, most: u64, tell: &impl Fn(Option<&str>)) {
        let is_known = self.seen.lock().artifact.is_some();
        let kept = if is_known { None } else { self.access.kept(&self.name, most).await };
        let mut seen = self.seen.lock();
        let is_news = seen.problem.as_ref() != Some(&problem);
        let begins_with_kept = kept.is_some();
        if let Some((artifact, _)) = kept {
            seen.artifact = Some(artifact);
        }
        let is_known = seen.artifact.is_some();
        seen.problem = Some(problem.clone());
        drop(seen);
        let name = &self.name;
        // Where nothing is known yet, whoever waits for it tells.
        if begins_with_kept {
            tracing::warn!(plugin = name, problem, "the registry cannot be asked; what was fetched before is used");
        } else if is_known && is_news {
            tracing::warn!(plugin = name, problem, "the registry cannot be asked; what is loaded stays");
        }
        if is_known && (is_news || begins_with_kept) {
            tell(Some(&problem));
        }
    }

    /// What tells the artifact from another.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let seen = self.seen.lock();
        let artifact = seen.artifact.as_ref()?;
        let digits = |range| artifact.digest.get(range).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let (device, inode) = (digits(0..16).unwrap_or_default(), digits(16..32).unwrap_or_default());
        let content = Stamp { device, inode, length: artifact.bytes, modified: None, changed: (0, 0) };
        Some(Fingerprint { content, signature: None, is_exact: true })
    }

    /// Reads the component, from what is kept or from the registry.
    pub(super) async fn read(&self, most: u64) -> Result<FileContent, PluginRefusal> {
        let (known, problem) = {
            let seen = self.seen.lock();
            (seen.artifact.clone(), seen.problem.clone())
        };
        let Some(artifact) = known else {
            return Err(PluginRefusal::Object(problem.unwrap_or_else(|| "its registry is being asked".to_owned())));
        };
        let kept = self.access.kept(&self.name, most).await.filter(|(kept, _)| *kept == artifact);
        let bytes = match kept {
            Some((_, bytes)) => bytes,
            None => {
                let got = self.access.registries.component(&self.reference, &artifact, most).await;
                let bytes = got.map_err(PluginRefusal::Object)?;
                self.access.keep(&self.name, &artifact, &bytes).await;
                bytes
            }
        };
        let signature = artifact.signature.map(|text| match text.len() {
            0..=signature::MOST => Ok(text.into_bytes()),
            _ => Err("is larger than a signature is"),
        });
        Ok(FileContent::new(&self.name, bytes).signed(signature))
    }
}
