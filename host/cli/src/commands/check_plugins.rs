//! Where `tidegate check` takes plugins from: the directory, or what the bucket and registries have of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;
use tidegate_runtime::config::{Config, OciReference};
use tidegate_runtime::digest::Digest;
use tidegate_runtime::jetstream::{Client, PluginBucket};
use tidegate_runtime::plugin::{LoadError, PluginRefusal, others, signature_file};
use tidegate_runtime::registry::Registries;

/// The plugins as files.
pub(super) struct PluginFiles {
    dir: PathBuf,
    bucket: Option<BucketFiles>,
    artifacts: Artifacts,
}

/// Plugins of a bucket.
struct BucketFiles {
    name: String,
    /// The directory that they were put into, which is there as long as this is.
    _place: TempDir,
    /// Why those cannot be read that cannot.
    refused: BTreeMap<String, String>,
}

/// Plugins of registries.
struct Artifacts {
    /// The directory that they were put into; `None` if they were not asked for.
    place: Option<TempDir>,
    /// Each that the configuration names, and how it is there.
    files: BTreeMap<String, Result<PathBuf, String>>,
}

impl Artifacts {
    /// Those that the configuration names, fetched if registries may be asked.
    async fn named(config: &Config, ask: bool) -> anyhow::Result<Self> {
        let place =
            if ask { Some(tempfile::tempdir().context("there is no place for plugins of registries")?) } else { None };
        let registries = Registries::new(&config.plugins.origin.oci);
        let mut files = BTreeMap::new();
        for (number, name) in config.plugin_names().into_iter().enumerate() {
            let Some(Ok(reference)) = OciReference::parse(name) else { continue };
            let file = match &place {
                None => Err(String::new()),
                Some(place) => match registries.fetch(&reference, config.plugins.compile.max_size).await {
                    Err(why) => Err(why),
                    Ok((artifact, content)) => {
                        let file = place.path().join(format!("{number}.wasm"));
                        std::fs::write(&file, content)?;
                        if let Some(signature) = artifact.signature {
                            std::fs::write(signature_file(&file), signature)?;
                        }
                        Ok(file)
                    }
                },
            };
            files.insert(name.to_owned(), file);
        }
        Ok(Self { place, files })
    }
}

impl PluginFiles {
    /// Of the plugin directory, and of registries if they may be asked. `None` if the directory cannot be read, which
    /// is told in `problems`: a host waits for it, and one that is checked should be there.
    ///
    /// # Errors
    /// If what registries have cannot be put into a directory.
    pub(super) async fn in_directory(
        config: &Config,
        ask: bool,
        problems: &mut Vec<String>,
    ) -> anyhow::Result<Option<Self>> {
        let dir = &config.plugins.dir;
        let is_needed = !config.plugin_names().into_iter().all(OciReference::is_one);
        if let Err(error) = std::fs::read_dir(dir).map(drop)
            && is_needed
        {
            let remedy = "create it, or name another with --plugins or plugins.dir";
            let dir = dir.display();
            problems.push(format!(
                "the plugin directory {dir} cannot be read: {error}; {remedy} (`tidegate plugin export {dir}` writes \
                 what ships there)"
            ));
            return Ok(None);
        }
        let artifacts = Artifacts::named(config, ask).await?;
        Ok(Some(Self { dir: dir.to_owned(), bucket: None, artifacts }))
    }

    /// What is to be said of a plugin that is not here: that it was not looked at, or why it cannot be had.
    pub(super) fn absent(&self, plugin: &str) -> Option<Result<String, String>> {
        if let Some(why) = self.bucket.as_ref().and_then(|bucket| bucket.refused.get(plugin)) {
            return Some(Err(format!("{}: {why}", self.show(plugin))));
        }
        match self.artifacts.files.get(plugin)? {
            Ok(_) => None,
            Err(_) if self.artifacts.place.is_none() => Some(Ok(format!("{plugin} (not looked at)"))),
            Err(why) => Some(Err(format!("{plugin}: {why}"))),
        }
    }

    /// The plugins that were not looked at, because registries were not asked.
    pub(super) fn unseen(&self) -> Vec<&str> {
        let unseen = self.artifacts.files.keys().map(String::as_str);
        if self.artifacts.place.is_none() { unseen.collect() } else { Vec::new() }
    }

    /// Those of a bucket that the configuration names. What cannot be read is told in `problems`.
    ///
    /// # Errors
    /// If they cannot be put into a directory.
    pub(super) async fn in_bucket(
        bucket: &str,
        client: &Client,
        config: &Config,
        problems: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let store = PluginBucket::new(client.clone(), bucket);
        let place = tempfile::tempdir().context("there is no place for the plugins of the bucket")?;
        let (dir, mut refused) = (place.path().to_owned(), BTreeMap::new());
        for name in config.plugin_names().into_iter().filter(|name| !OciReference::is_one(name)) {
            let file = dir.join(format!("{name}.wasm"));
            match store.get(name, config.plugins.compile.max_size).await {
                Ok(Some((stored, content))) => {
                    // Of what is too large, the rest is not here, and that is told otherwise.
                    let is_whole = stored.bytes <= config.plugins.compile.max_size;
                    if is_whole && stored.digest.as_deref() != Some(Digest::of(&content).whole()) {
                        let why = "its content is not what its digest says; push it again";
                        problems.push(format!("{name} in the bucket {bucket}: {why}"));
                    }
                    std::fs::write(&file, content)?;
                    if let Some(signature) = stored.signature {
                        std::fs::write(signature_file(&file), signature)?;
                    }
                }
                Ok(None) => {}
                Err(why) => drop(refused.insert(name.to_owned(), why)),
            }
        }
        let artifacts = Artifacts::named(config, true).await?;
        let bucket = BucketFiles { name: bucket.to_owned(), _place: place, refused };
        Ok(Self { dir, bucket: Some(bucket), artifacts })
    }

    pub(super) fn file(&self, plugin: &str) -> PathBuf {
        if let Some(Ok(file)) = self.artifacts.files.get(plugin) {
            return file.clone();
        }
        self.dir.join(format!("{plugin}.wasm"))
    }

    /// How a plugin is called in what is told.
    pub(super) fn show(&self, plugin: &str) -> String {
        match &self.bucket {
            _ if self.artifacts.files.contains_key(plugin) => plugin.to_owned(),
            Some(bucket) => format!("{plugin} in the bucket {}", bucket.name),
            None => self.file(plugin).display().to_string(),
        }
    }

    /// Why a plugin is not used.
    pub(super) fn refused(&self, plugin: &str, error: LoadError) -> String {
        if self.artifacts.files.contains_key(plugin) {
            return format!("{plugin}: {}", error.refusal);
        }
        let Some(bucket) = &self.bucket else { return refused(&error) };
        let refusal = match error.refusal {
            PluginRefusal::Missing => {
                PluginRefusal::NoObject { plugin: plugin.to_owned(), bucket: bucket.name.clone() }
            }
            refusal => refusal,
        };
        format!("{}: {refusal}", self.show(plugin))
    }
}

/// Why a file is not used. A missing one may be a misspelt name, so what is there is told too.
pub(super) fn refused(error: &LoadError) -> String {
    match error.refusal {
        PluginRefusal::Missing => format!("{error}; {}", others(&error.file)),
        _ => error.to_string(),
    }
}
