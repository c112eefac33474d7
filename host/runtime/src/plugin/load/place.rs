//! Where plugins come from, as one pipeline sees it: a directory, a bucket or a registry.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket_place::BucketPlace;
use super::directory_events::DirectoryEvents;
use super::file_progress::{Fingerprint, Stamp};
use super::host::PluginHost;
use super::late::{WITHIN, tell_late};
use super::refusal::PluginRefusal;
use super::registry_place::RegistryPlace;
use super::source::{FileContent, file, others, signature_file};
use crate::config::Plugins;
use crate::config::units::show_duration;
use crate::digest::Digest;

/// Where plugins come from. Clones are the same place.
#[derive(Clone)]
pub(super) enum Place {
    /// A directory of files.
    Directory(PathBuf),
    /// A bucket of objects.
    Bucket(Arc<BucketPlace>),
    /// An artifact in a registry.
    Registry(Arc<RegistryPlace>),
}

impl Place {
    pub(super) fn of(plugins: &Plugins) -> Self {
        match &plugins.origin.bucket {
            Some(bucket) => Self::Bucket(BucketPlace::new(bucket, plugins.rescan)),
            None => Self::Directory(plugins.dir.clone()),
        }
    }

    /// How a plugin of it is called in what is told.
    pub(super) fn show(&self, plugin: &str) -> String {
        match self {
            Self::Directory(dir) => file(dir, plugin).display().to_string(),
            Self::Bucket(bucket) => bucket.show(plugin),
            Self::Registry(_) => plugin.to_owned(),
        }
    }

    /// A text that lists what is there.
    pub(super) fn others(&self, plugin: &str) -> String {
        match self {
            Self::Directory(dir) => others(&file(dir, plugin)),
            Self::Bucket(bucket) => bucket.others(),
            Self::Registry(_) => "it is asked for again".to_owned(),
        }
    }

    /// What tells a plugin's content, and its signature where there must be one, from another, without reading it.
    /// `None` if it cannot be looked at.
    pub(super) async fn fingerprint(&self, host: &PluginHost, plugin: &str) -> Option<Fingerprint> {
        let dir = match self {
            Self::Directory(dir) => dir,
            Self::Bucket(bucket) => return bucket.fingerprint(plugin),
            Self::Registry(registry) => return registry.fingerprint(),
        };
        let path = file(dir, plugin);
        let content = Stamp::of(&tokio::fs::metadata(&path).await.ok()?);
        let signature = match host.wants_signatures() {
            true => tokio::fs::metadata(signature_file(&path)).await.ok().map(|metadata| Stamp::of(&metadata)),
            false => None,
        };
        Some(Fingerprint { content, signature, is_exact: false })
    }

    /// Reads a plugin whole.
    pub(super) async fn read(&self, host: &PluginHost, plugin: &str) -> Result<FileContent, PluginRefusal> {
        match self {
            Self::Directory(dir) => host.read(&file(dir, plugin)).await,
            Self::Bucket(bucket) => bucket.read(plugin, host.max_size()).await,
            Self::Registry(registry) => registry.read(host.max_size()).await,
        }
    }

    /// What was good before what is there now, if the place has kept it.
    pub(super) async fn before(&self, host: &PluginHost) -> Option<FileContent> {
        match self {
            Self::Directory(_) | Self::Bucket(_) => None,
            Self::Registry(registry) => registry.before(host.max_size()).await,
        }
    }

    /// A plugin with this digest, that was read there, was loaded.
    pub(super) async fn loaded(&self, digest: &Digest) {
        if let Self::Registry(registry) = self {
            registry.loaded(digest).await;
        }
    }
}

/// Tells when something in a place that many plugins share may have changed.
pub(super) enum Changes {
    /// By events of the file system.
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Its events.
        events: DirectoryEvents,
        /// Why it cannot be read, as it was logged.
        told: Option<String>,
    },
    /// By the watch of the bucket.
    Bucket(Arc<BucketPlace>),
    /// By nothing: who follows a registry says so itself.
    Nothing,
}

impl Changes {
    pub(super) fn of(place: &Place) -> Self {
        match place {
            Place::Directory(dir) => {
                Self::Directory { dir: dir.clone(), events: DirectoryEvents::new(dir, "plugin directory"), told: None }
            }
            Place::Bucket(bucket) => Self::Bucket(bucket.clone()),
            Place::Registry(_) => Self::Nothing,
        }
    }

    /// Waits until something happened since this was last called.
    pub(super) async fn changed(&self) {
        match self {
            Self::Directory { events, .. } => events.changed().await,
            Self::Bucket(bucket) => bucket.changed().await,
            Self::Nothing => std::future::pending().await,
        }
    }

    /// Waits until a change has ended since this was last called. What a bucket tells is whole.
    pub(super) async fn ended(&self) {
        if let Self::Directory { events, .. } = self {
            events.ended().await;
        }
    }

    /// The names of files to which something happened since this was last called.
    pub(super) fn touched(&self) -> BTreeSet<OsString> {
        match self {
            Self::Directory { events, .. } => events.touched(),
            Self::Bucket(bucket) => bucket.touched(),
            Self::Nothing => BTreeSet::new(),
        }
    }

    /// Whether the place is there. Logged once when it is gone, and when it is back.
    pub(super) async fn look(&mut self) -> bool {
        let (dir, events, told) = match self {
            Self::Bucket(bucket) => return bucket.is_known(),
            Self::Nothing => return false,
            Self::Directory { dir, events, told } => (dir, events, told),
        };
        let found = tell_late(tokio::fs::metadata(&*dir), || {
            tell_unread(dir, told, format!("its disk has not answered for {}", show_duration(&WITHIN)));
        });
        let error = match found.await {
            Ok(metadata) if metadata.is_dir() => {
                events.follow(&metadata);
                if told.take().is_some() {
                    tracing::info!(directory = %dir.display(), "the plugin directory is there");
                }
                return true;
            }
            Ok(_) => "it is not a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        events.lose();
        tell_unread(dir, told, error);
        false
    }
}

/// Logs why a directory of plugins cannot be read, unless that was `told` before.
fn tell_unread(dir: &Path, told: &mut Option<String>, error: String) {
    if told.as_deref() != Some(&error) {
        tracing::warn!(
            directory = %dir.display(), error,
            "the plugin directory cannot be read; create it, or name another with --plugins or plugins.dir; until \
             then what is loaded stays and the rest waits"
        );
        *told = Some(error);
    }
}
