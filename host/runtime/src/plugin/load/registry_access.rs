//! The registries of a host, and what is kept of them.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::registry_cache::RegistryCache;
use crate::config::OciConfig;
use crate::registry::{Artifact, Registries};

/// The registries of a host, and what is kept of them.
#[derive(Debug)]
pub(super) struct RegistryAccess {
    pub(super) registries: Registries,
    pub(super) config: OciConfig,
    cache: Mutex<Opened>,
}

/// What is kept, as far as it was opened.
#[derive(Debug, Default)]
struct Opened {
    /// `None` until it can be used.
    cache: Option<RegistryCache>,
    /// Why it could not be used the last time.
    problem: Option<String>,
}

impl RegistryAccess {
    pub(super) fn new(config: &OciConfig) -> Arc<Self> {
        Arc::new(Self { registries: Registries::new(config), config: config.clone(), cache: Mutex::default() })
    }

    /// What is kept, opened when it is needed first. One that cannot be used is told once for each reason, and keeps
    /// nothing until it can be: it is opened again each time that it is needed.
    async fn cache(&self) -> RegistryCache {
        let mut opened = self.cache.lock().await;
        if let Some(cache) = &opened.cache {
            return cache.clone();
        }
        let dir = self.config.cache.clone();
        let tried = tokio::task::spawn_blocking(move || RegistryCache::open(dir.as_deref())).await;
        // A task that ends with the runtime has opened nothing.
        match tried.unwrap_or_else(|_| Ok(RegistryCache::off())) {
            Ok(cache) => opened.cache.insert(cache).clone(),
            Err(problem) => {
                if opened.problem.as_ref() != Some(&problem) {
                    tracing::warn!(problem, "what registries give is not kept; a start needs them");
                }
                opened.problem = Some(problem);
                RegistryCache::off()
            }
        }
    }

    /// What is kept of a reference, of at most so many bytes.
    pub(super) async fn kept(&self, name: &str, most: u64) -> Option<(Artifact, Vec<u8>)> {
        let (cache, name) = (self.cache().await, name.to_owned());
        tokio::task::spawn_blocking(move || cache.get(&name, most)).await.ok().flatten()
    }

    /// Keeps this in place of what was kept of the reference. Says whether it did.
    ///
    /// # Errors
    /// Why it cannot be kept, where it should be.
    pub(super) async fn keep(&self, name: &str, artifact: Artifact, component: Arc<[u8]>) -> Result<bool, String> {
        let (cache, of) = (self.cache().await, name.to_owned());
        let kept = tokio::task::spawn_blocking(move || cache.put(&of, &artifact, &component)).await;
        // A task that ends with the runtime has kept nothing.
        kept.unwrap_or(Ok(false))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use crate::plugin::load::registry_cache::tests::artifact;

    #[tokio::test]
    async fn a_directory_that_could_not_be_used_once_is_used_when_it_can_be() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("oci");
        std::fs::write(&dir, "no directory").unwrap();
        let access = RegistryAccess::new(&OciConfig { cache: Some(dir.clone()), ..OciConfig::default() });
        let keep = async || access.keep("oci://r.io/a:1", artifact(b"one"), b"one".as_slice().into()).await;
        assert_eq!(keep().await, Ok(false));
        let problem = access.cache.lock().await.problem.clone().unwrap();
        assert!(problem.contains("is not a directory") && problem.ends_with("(plugins.oci.cache)"), "{problem}");
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(keep().await, Ok(true));
        assert!(access.kept("oci://r.io/a:1", 100).await.is_some());
    }
}
