//! The policies that are there to replay decisions with, found by the digest of their code.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{ReplayError, ReplayPolicy};
use tidegate_runtime::config::OciReference;
use tidegate_runtime::digest::{is_same, shown};
use tidegate_runtime::journal::{PolicyName, digest};
use tidegate_runtime::plugin::PluginHost;

/// Files of policies, possibly several generations of one policy.
#[derive(Debug)]
pub struct PolicyFiles {
    from: PolicySource,
    /// Those that are loaded, by the digest that a journal names; nothing where there is no such file.
    known: HashMap<String, Option<usize>>,
    loaded: Vec<ReplayPolicy>,
}

#[derive(Debug)]
enum PolicySource {
    /// They are all loaded.
    Files,
    /// Its files and their digests, read when the first policy is looked for.
    Directory(PathBuf, Option<Vec<(PathBuf, String)>>),
}

impl PolicyFiles {
    /// Of policies that are loaded.
    pub fn of(loaded: Vec<ReplayPolicy>) -> Self {
        Self { from: PolicySource::Files, known: HashMap::new(), loaded }
    }

    /// Of what is in the plugin directory. Only what is asked for is loaded.
    pub fn directory(dir: PathBuf) -> Self {
        Self { from: PolicySource::Directory(dir, None), known: HashMap::new(), loaded: Vec::new() }
    }

    /// Where policies are looked for, for a person.
    pub fn place(&self) -> String {
        match &self.from {
            PolicySource::Files => "what --policy names".to_owned(),
            PolicySource::Directory(dir, _) => dir.display().to_string(),
        }
    }

    /// The policy that is this code, if there is one.
    ///
    /// # Errors
    /// If its file is there and no policy that can run.
    pub(super) async fn find(
        &mut self,
        host: &PluginHost,
        policy: &PolicyName,
    ) -> Result<Option<&mut ReplayPolicy>, ReplayError> {
        let place = match self.known.get(&policy.generation) {
            Some(place) => *place,
            None => {
                let place = self.look(host, policy).await?;
                self.known.insert(policy.generation.clone(), place);
                place
            }
        };
        Ok(place.and_then(|place| self.loaded.get_mut(place)))
    }

    async fn look(&mut self, host: &PluginHost, policy: &PolicyName) -> Result<Option<usize>, ReplayError> {
        if let Some(place) = self.loaded.iter().position(|asked| is_same(&asked.name().generation, &policy.generation))
        {
            return Ok(Some(place));
        }
        let PolicySource::Directory(dir, files) = &mut self.from else { return Ok(None) };
        let files = files.get_or_insert_with(|| digests(dir));
        let Some((file, _)) = files.iter().find(|(_, digest)| is_same(digest, &policy.generation)) else {
            return Ok(None);
        };
        self.loaded.push(ReplayPolicy::load(host, file).await?);
        Ok(self.loaded.len().checked_sub(1))
    }

    /// The error for a journal of which nothing could be replayed. `policy` is the first code that was needed.
    pub(super) async fn nothing(&self, host: &PluginHost, policy: PolicyName, journal: String) -> ReplayError {
        let PolicyName { name, generation: wants } = policy;
        let found = match &self.from {
            PolicySource::Files => format!("{} has other generations", self.place()),
            PolicySource::Directory(dir, _) if OciReference::is_one(&name) => format!(
                "{} has no file of it (`tidegate plugin fetch {name} --into {}` brings what is in the registry now)",
                dir.display(),
                dir.display()
            ),
            PolicySource::Directory(dir, _) => {
                let file = dir.join(format!("{name}.wasm"));
                match ReplayPolicy::load(host, &file).await {
                    Ok(asked) => format!("{} is generation {}", file.display(), shown(&asked.name().generation)),
                    Err(error) => return error.into(),
                }
            }
        };
        ReplayError::Generation { found, name, wants: shown(&wants).to_owned(), journal }
    }
}

/// The digests of all files that may be plugins. What cannot be read is none: a policy that is missed is told by name.
fn digests(dir: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        files.filter(|file| file.is_file() && file.extension().is_some_and(|end| end == "wasm")).collect();
    files.sort();
    files
        .into_iter()
        .filter_map(|file| {
            let digest = digest(&fs::read(&file).ok()?);
            Some((file, digest))
        })
        .collect()
}
