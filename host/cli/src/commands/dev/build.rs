//! Builds a project, and puts what it made where the host looks.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::task::spawn_blocking;

use super::project::{Project, cargo_component};
use tidegate_runtime::bounded_file;

/// Builds a project again and again.
pub(super) struct Builder {
    project: Project,
    /// The file in the plugin directory.
    plugin: PathBuf,
    /// The most bytes that it may have.
    most: u64,
}

impl Builder {
    pub(super) fn new(project: Project, plugin: PathBuf, most: u64) -> Self {
        Self { project, plugin, most }
    }

    /// Builds, and puts the component into use. What goes wrong is told, and what runs stays.
    pub(super) async fn build(&self) {
        let began = Instant::now();
        tracing::info!("building: {}", self.project.command);
        let (plugin, most) = (self.plugin.clone(), self.most);
        let built = async {
            let there = plugin.clone();
            let before = spawn_blocking(move || bounded_file::read(&there, most).ok()).await?;
            let component = self.component().await?;
            let made = spawn_blocking(move || install(&component, &plugin, most)).await??;
            anyhow::Ok(before.is_some_and(|before| before == made))
        };
        let built = built.await;
        let took = format!("{:.1} s", began.elapsed().as_secs_f64());
        match built {
            Ok(true) => {
                tracing::info!(%took, "built; the component is the same as before");
            }
            Ok(false) => tracing::info!(%took, plugin = %self.plugin.display(), "built"),
            Err(problem) => tracing::error!("{problem:#}; what runs stays, and the next change is built"),
        }
    }

    /// Runs the command, and gives the file that it made.
    async fn component(&self) -> anyhow::Result<PathBuf> {
        let Project { command, component, .. } = &self.project;
        let said = run(command, component.is_none()).await?;
        let component = component.clone().or_else(|| cargo_component(&said));
        component.context("cargo named no component; its crate-type has to be [\"cdylib\"]")
    }
}

/// Runs a command to its end. What it says goes to standard error, but for its standard output if that is `wanted`.
async fn run(command: &str, wanted: bool) -> anyhow::Result<String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit()).process_group(0);
    shell.stdout(if wanted { Stdio::piped() } else { Stdio::from(std::io::stderr()) });
    let mut child = shell.spawn().context("cannot start sh")?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said).await.context("cannot read what the build says")?;
    }
    let status = child.wait().await.context("cannot wait for the build")?;
    group.0 = None;
    if !status.success() {
        bail!("the build failed ({status})");
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The processes of a build. They end with it if it is given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // They may have ended just now.
            let _ = kill_process_group(pid, Signal::TERM);
        }
    }
}

/// Puts a component of at most so many bytes in the place of a plugin, in one step. Its bytes. Blocks.
fn install(component: &Path, plugin: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let named =
        || format!("cannot read {}, which the build should have made; name it by --component", component.display());
    let bytes = bounded_file::read(component, most).with_context(named)?;
    if bounded_file::read(plugin, most).is_ok_and(|there| there == bytes) {
        return Ok(bytes);
    }
    let failed = || format!("cannot write {}", plugin.display());
    let directory = plugin.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).with_context(failed)?;
    let mut part = tempfile::NamedTempFile::new_in(directory).with_context(failed)?;
    std::io::Write::write_all(&mut part, &bytes).with_context(failed)?;
    part.persist(plugin).with_context(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[tokio::test]
    async fn a_command_that_fails_is_told_and_what_one_says_is_taken() {
        assert_eq!(run("echo made", true).await.unwrap(), "made\n");
        assert_eq!(run("echo made", false).await.unwrap(), "");
        let failed = run("exit 3", true).await.unwrap_err().to_string();
        assert_eq!(failed, "the build failed (exit status: 3)");
    }

    #[test]
    fn a_component_takes_the_place_of_the_plugin_and_one_that_is_missing_leaves_it() {
        let dir = tempfile::tempdir().unwrap();
        let (component, plugin) = (dir.path().join("built.wasm"), dir.path().join("plugins/shout.wasm"));
        std::fs::write(&component, "one").unwrap();
        assert_eq!(install(&component, &plugin, 3).unwrap(), b"one");
        for (endless, why) in [(Path::new("/dev/zero"), "it is not a file"), (&component, "it has more than 2 bytes")] {
            let refused = format!("{:#}", install(endless, &plugin, 2).unwrap_err());
            assert!(refused.ends_with(&format!("name it by --component: {why}")), "{refused}");
        }
        std::fs::remove_file(&component).unwrap();
        let missing = install(&component, &plugin, 3).unwrap_err().to_string();
        assert!(missing.ends_with("name it by --component"), "{missing}");
        assert_eq!(std::fs::read(&plugin).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(plugin.parent().unwrap()).unwrap().count(), 1);
    }
}
