//! The registries of a host, and what is kept of them.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::registry_cache::RegistryCache;
use crate::config::OciConfig;
use crate::registry::{Artifact, Registries};

/// The registries of a host, and what is kept of them.
#[derive(Debug)]
pub(super) struct RegistryAccess {
    pub(super) registries: Registries,
    pub(super) config: OciConfig,
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
        kept.unwrap_or(Ok(false)).map_err(|error| error.to_string())
    }
}
