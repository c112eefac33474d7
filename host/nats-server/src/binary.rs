//! Which nats-server to run, and whether it will do.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use semver::Version;
use tokio::process::Command;

use super::error::ServerError;
use super::origin::{Origin, VARIABLE};

/// What `make install` calls the one that it brings: where other programs are, it must not be in the way of another.
const BESIDE: &str = "tidegate-nats-server";

/// The oldest version whose JetStream has what is used here.
const OLDEST: Version = Version::new(2, 10, 0);

/// How long a program may take to say its version.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Reads the answer to `nats-server --version`: `nats-server: v2.10.26`. What follows a `-` is left out, for a
/// candidate of a release has its features.
fn version_in(answer: &str) -> Option<Version> {
    let version = Version::parse(answer.trim().strip_prefix("nats-server: v")?).ok()?;
    Some(Version::new(version.major, version.minor, version.patch))
}

/// A nats-server that exists, runs and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    version: Version,
}

impl Binary {
    /// Takes the named program, else the one in `TIDEGATE_NATS_SERVER`, else the first in `PATH`, else the one that
    /// `make install` puts beside this program, and runs it once to learn its version. A named one that will not do is
    /// an error, not a reason to look further.
    ///
    /// # Errors
    /// When there is none, when it is not a nats-server, or when it is older than 2.10.
    pub async fn find(named: Option<&Path>) -> Result<Self, ServerError> {
        let (variable, search_path) = (std::env::var_os(VARIABLE), std::env::var_os("PATH"));
        let program = std::env::current_exe().ok();
        let beside = program.as_deref().and_then(Path::parent);
        let (path, origin) = locate(named, variable.as_deref(), search_path.as_deref(), beside)?;
        let path = std::path::absolute(&path).map_err(ServerError::io("use", &path))?;
        let version = judge(&path, origin, ask(&path).await)?;
        Ok(Self { path, version })
    }

    /// Where it is; absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }
}

fn locate(
    named: Option<&Path>,
    variable: Option<&OsStr>,
    search_path: Option<&OsStr>,
    beside: Option<&Path>,
) -> Result<(PathBuf, Origin), ServerError> {
    if let Some(named) = named {
        return Ok((named.to_owned(), Origin::Flag));
    }
    // Make and compose files pass a variable on empty when it is not set.
    if let Some(named) = variable.filter(|named| !named.is_empty()) {
        return Ok((named.into(), Origin::Environment));
    }
    search_path
        .into_iter()
        .flat_map(std::env::split_paths)
        .map(|dir| dir.join("nats-server"))
        .find(|candidate| is_executable(candidate))
        .map(|found| (found, Origin::Path))
        .or_else(|| {
            let installed = beside?.join(BESIDE);
            is_executable(&installed).then_some((installed, Origin::Beside))
        })
        .ok_or(ServerError::NotFound)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What came of running `--version`.
type VersionAnswer = io::Result<Output>;

async fn ask(path: &Path) -> VersionAnswer {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(ANSWER_WITHIN, output).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn judge(path: &Path, origin: Origin, answer: VersionAnswer) -> Result<Version, ServerError> {
    let path = path.to_owned();
    let answer = match answer {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ServerError::Missing { path, origin });
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(ServerError::NotExecutable { path, origin });
        }
        Err(error) => {
            let answer = format!("gave no answer ({error})");
            return Err(ServerError::NotNatsServer { path, origin, answer });
        }
    };
    let said = String::from_utf8_lossy(&answer.stdout);
    match version_in(&said) {
        Some(version) if version < OLDEST => Err(ServerError::TooOld { path, origin, version }),
        Some(version) => Ok(version),
        None => {
            let first: String = said.lines().next().unwrap_or_default().chars().take(80).collect();
            let answer = format!("answered `{first}` ({})", answer.status);
            Err(ServerError::NotNatsServer { path, origin, answer })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_path() {
        let found = |named: Option<&str>, variable: Option<&str>| {
            locate(named.map(Path::new), variable.map(OsStr::new), Some(OsStr::new("")), None)
        };
        assert_eq!(found(Some("a"), Some("b")).unwrap(), ("a".into(), Origin::Flag));
        assert_eq!(found(None, Some("b")).unwrap(), ("b".into(), Origin::Environment));
        assert!(matches!(found(None, None), Err(ServerError::NotFound)));
    }

    #[test]
    fn an_empty_variable_counts_as_none() {
        assert!(matches!(locate(None, Some(OsStr::new("")), None, None), Err(ServerError::NotFound)));
    }

    #[test]
    fn the_path_is_searched_past_what_cannot_be_executed() {
        let (plain, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(plain.path().join("nats-server"), "").unwrap();
        let program = dir.path().join("nats-server");
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let search_path = std::env::join_paths([plain.path(), dir.path()]).unwrap();
        assert_eq!(locate(None, None, Some(&search_path), None).unwrap(), (program.clone(), Origin::Path));
        // What was installed with this program comes last.
        let installed = plain.path().join(BESIDE);
        std::fs::copy(&program, &installed).unwrap();
        let with = |search_path| locate(None, None, search_path, Some(plain.path())).unwrap();
        assert_eq!(with(Some(search_path.as_os_str())), (program, Origin::Path));
        assert_eq!(with(None), (installed, Origin::Beside));
    }

    #[test]
    fn a_version_is_read_from_the_answer_and_from_nothing_else() {
        assert_eq!(version_in("nats-server: v2.10.26\n"), Some(Version::new(2, 10, 26)));
        assert_eq!(version_in("nats-server: v2.12.0-RC.1"), Some(Version::new(2, 12, 0)));
        for other in ["", "nats-server", "nats-server: v2", "nats-server: v2.x.1", "ls (GNU coreutils) 9.1"] {
            assert_eq!(version_in(other), None, "{other}");
        }
    }

    #[test]
    fn versions_compare_by_number_and_not_by_letter() {
        assert!(version_in("nats-server: v2.9.25").unwrap() < OLDEST);
        assert!(version_in("nats-server: v2.10.0").unwrap() >= OLDEST);
        assert!(version_in("nats-server: v3.0.0").unwrap() > OLDEST);
    }
}
