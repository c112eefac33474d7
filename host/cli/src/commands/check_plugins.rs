//! Where `tidegate check` takes plugins from: the directory, or what the bucket has of them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;
use tidegate_runtime::config::Config;
use tidegate_runtime::jetstream::{Client, PluginBucket};
use tidegate_runtime::plugin::{LoadError, PluginRefusal, others, signature_file};

/// The plugins as files.
pub(super) struct PluginFiles {
    dir: PathBuf,
    /// The bucket that they were read from, and the directory that they were put into.
    bucket: Option<(String, TempDir)>,
}

impl PluginFiles {
    /// Of the plugin directory.
    ///
    /// # Errors
    /// If it cannot be read. A host waits for it; one that is checked should be there.
    pub(super) fn in_directory(dir: &Path) -> Result<Self, String> {
        std::fs::read_dir(dir).map(drop).map_err(|error| {
            let remedy = "create it, or name another with --plugins or plugins.dir";
            let dir = dir.display();
            format!(
                "the plugin directory {dir} cannot be read: {error}; {remedy} (`tidegate plugin export {dir}` writes \
                 what ships there)"
            )
        })?;
        Ok(Self { dir: dir.to_owned(), bucket: None })
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
        let dir = place.path().to_owned();
        for name in named(config) {
            let file = dir.join(format!("{name}.wasm"));
            match store.get(name, config.plugins.compile.max_size).await {
                Ok(Some((stored, content))) => {
                    std::fs::write(&file, content)?;
                    if let Some(signature) = stored.signature {
                        std::fs::write(signature_file(&file), signature)?;
                    }
                }
                Ok(None) => {}
                Err(why) => problems.push(format!("{name} in the bucket {bucket}: {why}")),
            }
        }
        Ok(Self { dir, bucket: Some((bucket.to_owned(), place)) })
    }

    pub(super) fn file(&self, plugin: &str) -> PathBuf {
        self.dir.join(format!("{plugin}.wasm"))
    }

    /// How a plugin is called in what is told.
    pub(super) fn show(&self, plugin: &str) -> String {
        match &self.bucket {
            Some((bucket, _)) => format!("{plugin} in the bucket {bucket}"),
            None => self.file(plugin).display().to_string(),
        }
    }

    /// Why a plugin is not used.
    pub(super) fn refused(&self, plugin: &str, error: LoadError) -> String {
        let Some((bucket, _)) = &self.bucket else { return refused(&error) };
        let refusal = match error.refusal {
            PluginRefusal::Missing => PluginRefusal::NoObject { plugin: plugin.to_owned(), bucket: bucket.clone() },
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

/// The plugins that workloads name, each once.
fn named(config: &Config) -> Vec<&str> {
    let all = config.workloads.iter().flat_map(|workload| {
        let shadow = workload.shadow.as_ref().map(|shadow| shadow.policy.as_str());
        [workload.handler.as_str(), workload.policy.as_str()].into_iter().chain(shadow)
    });
    let mut names: Vec<&str> = all.collect();
    names.sort_unstable();
    names.dedup();
    names
}
