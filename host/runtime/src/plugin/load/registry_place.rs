//! A plugin that comes from a registry: which artifact its reference leads to, asked again and again.
//!
//! What is used changes only when the component of another artifact is here, so that one that cannot be fetched changes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::file_progress::{Fingerprint, Stamp};
use super::refusal::PluginRefusal;
use super::registry_access::RegistryAccess;
use super::source::FileContent;
use crate::backoff::Backoff;
use crate::config::{OciReference, OciVersion};
use crate::digest::Digest;
use crate::registry::Artifact;
use crate::signature;

/// The first pause before a registry is asked again that did not answer; the longest is the time between two polls.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest pause before a component is fetched again that could not be had, in polls.
const LONGEST: u32 = 10;

/// One reference, as far as it is known where it leads.
#[derive(Debug)]
pub(super) struct RegistryPlace {
    name: String,
    reference: OciReference,
    access: Arc<RegistryAccess>,
    seen: Mutex<Seen>,
    /// Changes when the plugin has to be looked at.
    looks: watch::Sender<bool>,
    /// Why what the reference leads to now cannot be had, while something else is used.
    told: watch::Sender<Option<String>>,
    /// Held by whoever keeps what was loaded, so that it is written once.
    keeps: tokio::sync::Mutex<()>,
    /// Held by whoever asks. Workloads that ask different things of the plugin have it from one that does.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Where the reference leads, as the registry has said.
    leads_to: Option<Artifact>,
    /// What is used.
    current: Option<Current>,
    /// Why the registry does not give what is there.
    problem: Option<String>,
    /// What could not be fetched last.
    unread: Option<Unread>,
    /// Why what is used cannot be kept.
    unkept: Option<String>,
}

/// An artifact whose component was had.
#[derive(Debug)]
struct Current {
    artifact: Artifact,
    /// The component, until it was loaded and is kept.
    component: Option<Arc<[u8]>>,
    /// Whether this is what is kept of the reference.
    is_kept: bool,
    /// Whether it was loaded. What was not may be refused, and does not take the place of what is kept.
    is_loaded: bool,
}

impl Current {
    fn new(artifact: Artifact, component: Arc<[u8]>, is_kept: bool) -> Self {
        Self { artifact, component: Some(component), is_kept, is_loaded: false }
    }

    /// What is still to be kept of it.
    fn to_keep(&self) -> Option<(Artifact, Arc<[u8]>)> {
        let component = self.component.clone().filter(|_| self.is_loaded && !self.is_kept)?;
        Some((self.artifact.clone(), component))
    }

    fn loaded(&mut self) {
        self.is_loaded = true;
        self.forget_component();
    }

    fn kept(&mut self) {
        self.is_kept = true;
        self.forget_component();
    }

    /// From when it was loaded and is kept on, it is read from there, if ever.
    fn forget_component(&mut self) {
        if self.is_loaded && self.is_kept {
            self.component = None;
        }
    }
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

    /// Where the reference leads, or what is used while that is not known.
    fn known(&self) -> Option<&Artifact> {
        self.leads_to.as_ref().or(self.current.as_ref().map(|current| &current.artifact))
    }

    /// What is to be fetched: where the reference leads, if that is not what is used.
    fn wanted(&self) -> Option<&Artifact> {
        let is_used = |artifact: &Artifact| self.current.as_ref().is_some_and(|current| current.artifact == *artifact);
        self.leads_to.as_ref().filter(|artifact| !is_used(artifact))
    }

    /// When what is wanted is to be fetched again that could not be.
    fn again(&self) -> Option<Instant> {
        let (wanted, unread) = (self.wanted()?, self.unread.as_ref()?);
        (unread.digest == wanted.digest).then_some(unread.again)
    }
}

impl RegistryPlace {
    /// Of the plugin with this name, if it is one in a registry.
    pub(super) fn of(name: &str, access: &Arc<RegistryAccess>) -> Option<Arc<Self>> {
        let reference = OciReference::parse(name)?.ok()?;
        Some(Arc::new(Self {
            name: name.to_owned(),
            reference,
            access: access.clone(),
            seen: Mutex::default(),
            looks: watch::Sender::new(false),
            told: watch::Sender::default(),
            keeps: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn looks(&self) -> watch::Receiver<bool> {
        self.looks.subscribe()
    }

    /// Tells for ever why what the reference leads to now cannot be had, while something else is used.
    pub(super) async fn tell(&self, tell: impl Fn(Option<String>)) {
        let mut told = self.told.subscribe();
        loop {
            tell(told.borrow_and_update().clone());
            if told.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks the registry again and again where the reference leads, for ever, and fetches that. Where several follow
    /// it, one does so.
    pub(super) async fn follow(&self, most: u64) {
        let _turn = self.turn.lock().await;
        let poll = self.access.config.poll;
        let mut backoff = Backoff::new(AGAIN.min(poll), poll);
        if matches!(self.reference.version, OciVersion::Digest(_)) {
            // Nothing else can have this digest, whatever the registry says.
            self.begin_with_kept(most).await;
        }
        loop {
            let asked = self.find().await;
            let pause = match &asked {
                Ok(()) => {
                    backoff.reset();
                    poll
                }
                Err(_) => backoff.pause(),
            };
            let until = Instant::now() + pause;
            loop {
                let had = match &asked {
                    Ok(()) => self.fetch(most).await,
                    Err(problem) => Err(problem.clone()),
                };
                let begins_with_kept = had.is_err() && self.begin_with_kept(most).await;
                self.note(had.err(), begins_with_kept);
                // Even if nothing has changed: what could not be read is read again.
                self.looks.send_replace(true);
                let again = self.seen.lock().again().filter(|again| asked.is_ok() && *again < until);
                let Some(again) = again else { break };
                sleep_until(again).await;
            }
            sleep_until(until).await;
            // A disk that was full may have room by now.
            self.keep_loaded().await;
        }
    }

    /// Asks where the reference leads.
    async fn find(&self) -> Result<(), String> {
        let known = self.seen.lock().known().map(|artifact| artifact.digest.clone());
        let found = self.access.registries.find(&self.reference, known.as_deref()).await?;
        let mut seen = self.seen.lock();
        seen.leads_to = found.or_else(|| seen.known().cloned());
        Ok(())
    }

    /// Fetches the component of where the reference leads, if that is not what is used.
    async fn fetch(&self, most: u64) -> Result<(), String> {
        let Some(artifact) = self.seen.lock().wanted().cloned() else { return Ok(()) };
        let (component, is_kept) = self.component(&artifact, most).await?;
        self.seen.lock().current = Some(Current::new(artifact, component, is_kept));
        Ok(())
    }

    /// Where nothing is used yet, begins with what is kept, if the reference can lead to that. Says whether it did.
    async fn begin_with_kept(&self, most: u64) -> bool {
        if self.seen.lock().current.is_some() {
            return false;
        }
        let Some((artifact, component)) = self.kept(most).await else { return false };
        self.seen.lock().current = Some(Current::new(artifact, component.into(), true));
        true
    }

    /// What is kept, if the reference can lead to that.
    async fn kept(&self, most: u64) -> Option<(Artifact, Vec<u8>)> {
        let kept = self.access.kept(&self.name, most).await?;
        match &self.reference.version {
            OciVersion::Digest(digest) if *digest != kept.0.digest => None,
            _ => Some(kept),
        }
    }

    /// What is kept, if it is something else than what the reference leads to: what was good before.
    pub(super) async fn before(&self, most: u64) -> Option<FileContent> {
        let (artifact, component) = self.kept(most).await?;
        let is_used = self.seen.lock().current.as_ref().is_some_and(|current| current.artifact == artifact);
        (!is_used).then(|| self.content(artifact, component))
    }

    /// Notes and logs why the registry does not give what is there, if it does not.
    fn note(&self, problem: Option<String>, begins_with_kept: bool) {
        let mut seen = self.seen.lock();
        let is_known = seen.current.is_some();
        let before = std::mem::replace(&mut seen.problem, problem.clone());
        drop(seen);
        let name = &self.name;
        match &problem {
            None if before.is_some() => tracing::info!(plugin = name, "the registry gives what is there again"),
            Some(problem) if begins_with_kept => tracing::warn!(
                plugin = name,
                problem,
                "the registry does not give what is there; what was fetched before is used"
            ),
            // Where nothing is known yet, whoever waits for it tells.
            Some(problem) if is_known && before.as_ref() != Some(problem) => {
                tracing::warn!(plugin = name, problem, "the registry does not give what is there; what is loaded stays")
            }
            _ => {}
        }
        let told = problem.filter(|_| is_known);
        self.told.send_if_modified(|before| std::mem::replace(before, told.clone()) != told);
    }

    /// What tells the artifact that is used from another.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let seen = self.seen.lock();
        let artifact = &seen.current.as_ref()?.artifact;
        let digits = |range| artifact.digest.get(range).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let (device, inode) = (digits(0..16).unwrap_or_default(), digits(16..32).unwrap_or_default());
        let content = Stamp { device, inode, length: artifact.bytes, modified: None, changed: (0, 0) };
        Some(Fingerprint { content, signature: None, is_exact: true })
    }

    /// Reads the component of what is used, of at most so many bytes.
    pub(super) async fn read(&self, most: u64) -> Result<FileContent, PluginRefusal> {
        let (artifact, component) = {
            let seen = self.seen.lock();
            let Some(Current { artifact, component, .. }) = &seen.current else {
                let problem = seen.problem.clone();
                return Err(PluginRefusal::Object(problem.unwrap_or_else(|| "its registry is being asked".to_owned())));
            };
            (artifact.clone(), component.clone())
        };
        let component = match component {
            Some(component) => component,
            None => self.component(&artifact, most).await.map_err(PluginRefusal::Object)?.0,
        };
        Ok(self.content(artifact, component))
    }

    fn content(&self, artifact: Artifact, component: impl Into<Arc<[u8]>>) -> FileContent {
        let signature = artifact.signature.map(|text| match text.len() {
            0..=signature::MOST => Ok(text.into_bytes()),
            _ => Err("is larger than a signature is"),
        });
        FileContent::new(&self.name, component).signed(signature)
    }

    /// The component of an artifact, from what is kept or from the registry, and whether it is kept.
    async fn component(&self, artifact: &Artifact, most: u64) -> Result<(Arc<[u8]>, bool), String> {
        if let Some((kept, component)) = self.access.kept(&self.name, most).await
            && kept == *artifact
        {
            return Ok((component.into(), true));
        }
        if let Some(problem) = self.seen.lock().not_now(&artifact.digest) {
            return Err(problem);
        }
        let got = self.access.registries.component(&self.reference, artifact, most).await;
        let mut seen = self.seen.lock();
        let component = got.inspect_err(|problem| {
            seen.could_not(&artifact.digest, problem, self.access.config.poll);
        })?;
        seen.unread = None;
        Ok((component.into(), false))
    }

    /// A plugin with this digest was loaded: it takes the place of what was kept, which was good too.
    pub(super) async fn loaded(&self, digest: &Digest) {
        let is_it = |current: &&mut Current| current.artifact.component == digest.whole();
        if let Some(current) = self.seen.lock().current.as_mut().filter(is_it) {
            current.loaded();
        }
        self.keep_loaded().await;
    }

    /// Keeps what is used, once it was loaded. What cannot be kept stays in memory until it can.
    async fn keep_loaded(&self) {
        let _turn = self.keeps.lock().await;
        let Some((artifact, component)) = self.seen.lock().current.as_ref().and_then(Current::to_keep) else { return };
        let kept = self.access.keep(&self.name, artifact.clone(), component).await;
        let mut seen = self.seen.lock();
        if kept == Ok(true)
            && let Some(current) = seen.current.as_mut().filter(|current| current.artifact == artifact)
        {
            current.kept();
        }
        let problem = kept.err();
        let before = std::mem::replace(&mut seen.unkept, problem.clone());
        drop(seen);
        if let Some(error) = problem.filter(|problem| before.as_ref() != Some(problem)) {
            tracing::warn!(plugin = self.name, error, "what the registry gave cannot be kept; a start needs it");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use crate::config::OciConfig;
    use crate::plugin::load::registry_cache::tests::artifact;

    const POLL: Duration = Duration::from_secs(60);
    /// A registry that is away.
    const NAME: &str = "oci://127.0.0.1:1/acme/a:1";
    const MOST: u64 = 1 << 20;

    impl RegistryPlace {
        /// As if the registry had said that the reference leads to this, and had given it.
        pub(in crate::plugin::load) fn leads_to(&self, component: &[u8]) {
            let mut seen = self.seen.lock();
            seen.leads_to = Some(artifact(component));
            seen.current = Some(Current::new(artifact(component), component.into(), false));
        }
    }

    /// A place of which this directory keeps what it gives.
    pub(in crate::plugin::load) fn place(cache: Option<&std::path::Path>) -> Arc<RegistryPlace> {
        let config = OciConfig {
            poll: Duration::from_millis(50),
            plain_http: vec!["127.0.0.1:1".to_owned()],
            cache: cache.map(std::path::Path::to_owned),
            ..OciConfig::default()
        };
        RegistryPlace::of(NAME, &RegistryAccess::new(&config)).unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_kept_for_a_moment_is_kept_at_a_later_poll() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("oci");
        let place = place(Some(&dir));
        // It is opened, and nothing can be written there.
        assert!(place.access.kept(NAME, MOST).await.is_none());
        std::fs::remove_dir(&dir).unwrap();
        std::fs::write(&dir, "no directory").unwrap();
        place.leads_to(b"one");
        place.loaded(&Digest::of(b"one")).await;
        // Whoever else asks for it has it from memory.
        assert_eq!(*place.read(MOST).await.map(|content| content.bytes).unwrap(), *b"one");
        let unkept = || place.seen.lock().unkept.clone();
        let told = unkept();
        assert!(told.is_some());
        // It is told once: the next time it is the same.
        place.keep_loaded().await;
        assert_eq!(unkept(), told);
        std::fs::remove_file(&dir).unwrap();
        let is_kept = async {
            let mut looks = place.looks();
            while place.access.kept(NAME, MOST).await.is_none() {
                looks.changed().await.unwrap();
            }
        };
        tokio::select! {
            () = place.follow(MOST) => {}
            () = is_kept => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
        }
        assert_eq!(place.access.kept(NAME, MOST).await, Some((artifact(b"one"), b"one".to_vec())));
        place.keep_loaded().await;
        assert!(place.seen.lock().current.as_ref().unwrap().component.is_none());
        assert_eq!(*place.read(MOST).await.map(|content| content.bytes).unwrap(), *b"one");
    }

    #[tokio::test]
    async fn where_nothing_is_kept_another_user_of_the_place_has_it_from_memory() {
        let place = place(None);
        place.leads_to(b"one");
        place.loaded(&Digest::of(b"one")).await;
        assert_eq!(*place.read(MOST).await.map(|content| content.bytes).unwrap(), *b"one");
    }

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
