//! A plugin that comes from a registry: which artifact its reference leads to, asked again and again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::{Instant, sleep_until};

use super::file_progress::{Fingerprint, Stamp};
use super::host::PluginHost;
use super::refusal::PluginRefusal;
use super::registry_cache::RegistryCache;
use super::source::FileContent;
use crate::backoff::Backoff;
use crate::config::{OciConfig, OciReference, OciVersion};
use crate::registry::{Artifact, Registries};
use crate::signature;

/// The first pause before a registry is asked again that did not answer; the longest is the time between two polls.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest pause before a component is fetched again that could not be had, in polls.
const LONGEST: u32 = 10;

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
    /// Told when a component could not be fetched.
    unread: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    artifact: Option<Artifact>,
    /// Why the registry could not be asked last.
    problem: Option<String>,
    /// What could not be fetched last.
    unread: Option<Unread>,
}

/// An artifact whose component could not be had. It is not fetched again at each poll: it may be large.
#[derive(Debug)]
struct Unread {
    digest: String,
    problem: String,
    again: Instant,
    backoff: Backoff,
}

impl Seen {
    /// Why the component of an artifact is not asked for now.
    fn not_now(&self, digest: &str) -> Option<String> {
        let unread = self.unread.as_ref().filter(|unread| unread.digest == digest && Instant::now() < unread.again)?;
        Some(unread.problem.clone())
    }

    /// Notes that it could not be had. It is asked for again soon, and then less and less often, at last each
    /// [`LONGEST`] polls, which are this far apart.
    fn could_not(&mut self, digest: &str, problem: &str, poll: Duration) {
        let before = self.unread.take().filter(|unread| unread.digest == digest);
        let mut backoff = before.map_or_else(|| Backoff::new(AGAIN.min(poll), poll * LONGEST), |unread| unread.backoff);
        let (digest, problem, again) = (digest.to_owned(), problem.to_owned(), Instant::now() + backoff.pause());
        self.unread = Some(Unread { digest, problem, again, backoff });
    }
}

impl RegistryPlace {
    /// Of the plugin with this name, if it is one in a registry.
    pub(super) fn of(name: &str, access: &Arc<RegistryAccess>) -> Option<Arc<Self>> {
        let reference = OciReference::parse(name)?.ok()?;
        let (access, seen, looks) = (access.clone(), Mutex::default(), watch::Sender::new(false));
        Some(Arc::new(Self { name: name.to_owned(), reference, access, seen, looks, unread: Notify::new() }))
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
            let kept = self.kept(most).await;
            self.seen.lock().artifact = kept;
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
            self.pause(Instant::now() + pause).await;
        }
    }

    /// Waits until then. A component that could not be fetched is looked at when its own pause is over.
    async fn pause(&self, until: Instant) {
        loop {
            let again = self.seen.lock().unread.as_ref().map(|unread| unread.again);
            let again = again.filter(|again| *again > Instant::now() && *again < until);
            tokio::select! {
                () = sleep_until(again.unwrap_or(until)) => match again {
                    Some(_) => _ = self.looks.send_replace(true),
                    None => return,
                },
                () = self.unread.notified() => {}
            }
        }
    }

    /// The artifact that is kept, if it is one to which the reference can lead.
    async fn kept(&self, most: u64) -> Option<Artifact> {
        let (artifact, _) = self.access.kept(&self.name, most).await?;
        match &self.reference.version {
            OciVersion::Digest(digest) if *digest != artifact.digest => None,
            _ => Some(artifact),
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
        let kept = if is_known { None } else { self.kept(most).await };
        let mut seen = self.seen.lock();
        let is_news = seen.problem.as_ref() != Some(&problem);
        let begins_with_kept = kept.is_some();
        if let Some(artifact) = kept {
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
    pub(super) async fn read(&self, host: &PluginHost) -> Result<FileContent, PluginRefusal> {
        let most = host.max_size();
        let (known, problem) = {
            let seen = self.seen.lock();
            (seen.artifact.clone(), seen.problem.clone())
        };
        let Some(artifact) = known else {
            return Err(PluginRefusal::Object(problem.unwrap_or_else(|| "its registry is being asked".to_owned())));
        };
        let kept = self.access.kept(&self.name, most).await.filter(|(kept, _)| *kept == artifact);
        let (bytes, is_new) = match kept {
            Some((_, bytes)) => (bytes, false),
            None => {
                if let Some(problem) = self.seen.lock().not_now(&artifact.digest) {
                    return Err(PluginRefusal::Object(problem));
                }
                let got = self.access.registries.component(&self.reference, &artifact, most).await;
                let bytes = got.map_err(|problem| {
                    self.seen.lock().could_not(&artifact.digest, &problem, self.access.config.poll);
                    self.unread.notify_one();
                    PluginRefusal::Object(problem)
                })?;
                self.seen.lock().unread = None;
                (bytes, true)
            }
        };
        let signature = artifact.signature.clone().map(|text| match text.len() {
            0..=signature::MOST => Ok(text.into_bytes()),
            _ => Err("is larger than a signature is"),
        });
        let content = FileContent::new(&self.name, bytes).signed(signature);
        // What nobody who is trusted has signed does not take the place of what was good.
        if is_new && host.check_signature(&content).is_ok() {
            self.access.keep(&self.name, &artifact, &content.bytes).await;
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const POLL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_fetched_is_fetched_again_at_longer_and_longer_intervals() {
        let mut seen = Seen::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            seen.could_not("a", "it is damaged", POLL);
            assert_eq!(seen.not_now("a").as_deref(), Some("it is damaged"));
            assert_eq!(seen.not_now("b"), None);
            let again = seen.unread.as_ref().unwrap().again;
            pauses.push((again - Instant::now()).as_secs());
            tokio::time::advance(again - Instant::now()).await;
            assert_eq!(seen.not_now("a"), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        seen.could_not("b", "it is damaged too", POLL);
        assert_eq!(seen.unread.unwrap().again - Instant::now(), AGAIN);
    }
}
