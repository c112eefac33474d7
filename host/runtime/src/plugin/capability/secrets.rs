//! Settings that are secrets: `wasi:config/store` with values from a variable or a file.
//!
//! Secrets are read each time that an instance starts, so that a changed file reaches the next instance. A value that
//! is read goes into the instance's store and nowhere else. An error names the setting and the place, never the value.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::Setting;
use crate::contract::Fault;
use crate::plugin::capability::Settings;
use crate::secret;

/// How long reading may take. A disk that does not answer has to be reported.
const WITHIN: Duration = Duration::from_secs(10);

/// Makes the settings of a handler's instances.
pub struct SettingsReader {
    written: Arc<[(String, Setting)]>,
    /// The settings, if none is read from elsewhere: then instances share them.
    fixed: Option<Settings>,
    /// Only one instance reads at a time. A read that hangs keeps a thread, and all workloads take their threads from
    /// one pool.
    turn: Arc<Mutex<()>>,
}

impl SettingsReader {
    /// A reader of a workload's settings.
    pub fn new(settings: &[(String, Setting)]) -> Self {
        let fixed = |(name, setting): &(String, Setting)| Some((name.clone(), setting.text()?.to_owned()));
        Self { written: settings.into(), fixed: settings.iter().map(fixed).collect(), turn: Arc::default() }
    }

    /// The settings as they are now.
    ///
    /// # Errors
    /// [`Fault::Start`] if a setting cannot be read, in words that say which and what mends it.
    pub async fn read(&self) -> Result<Settings, Fault> {
        if let Some(fixed) = &self.fixed {
            return Ok(Arc::clone(fixed));
        }
        let read = async {
            let (written, turn) = (Arc::clone(&self.written), Arc::clone(&self.turn).lock_owned().await);
            // A read that hangs keeps its turn, though nobody waits for it any more.
            tokio::spawn(async move {
                let settings = values(&written).await;
                drop(turn);
                settings
            })
            .await
        };
        let late =
            || format!("cannot read its settings within {WITHIN:?}; see whether the disk with its secrets answers");
        match timeout(WITHIN, read).await {
            Ok(Ok(settings)) => settings,
            Ok(Err(_)) | Err(_) => Err(Fault::Start(late())),
        }
    }
}

/// Reads all settings.
async fn values(written: &[(String, Setting)]) -> Result<Settings, Fault> {
    let mut settings = Vec::with_capacity(written.len());
    for (name, setting) in written {
        let value = secret::value(setting).await;
        let value = value.map_err(|why| Fault::Start(format!("cannot read its setting {name}: {why}")))?;
        settings.push((name.clone(), value));
    }
    Ok(settings.into())
}

impl std::fmt::Debug for SettingsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingsReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn reader(setting: Setting) -> SettingsReader {
        SettingsReader::new(&[("plain".to_owned(), Setting::from("x")), ("token".to_owned(), setting)])
    }

    async fn token(reader: &SettingsReader) -> String {
        let settings = reader.read().await.unwrap();
        settings.iter().find(|(name, _)| name == "token").unwrap().1.clone()
    }

    async fn refused(setting: Setting) -> String {
        match reader(setting).read().await {
            Err(Fault::Start(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_file_is_read_anew_each_time_without_its_last_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let reader = reader(Setting::File(path.clone()));
        for (written, read) in [("first\n", "first"), ("second\r\n", "second"), ("a\n\n", "a\n"), ("", "")] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(token(&reader).await, read);
        }
    }

    #[tokio::test]
    async fn a_variable_is_read_and_one_that_is_missing_is_named() {
        assert_eq!(token(&reader(Setting::Env("PATH".to_owned()))).await, std::env::var("PATH").unwrap());
        let why = refused(Setting::Env("TIDEGATE_NOT_SET".to_owned())).await;
        let expected = "cannot read its setting token: the variable TIDEGATE_NOT_SET is not set; set it for this host";
        assert_eq!(why, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_with_its_place_and_without_what_stands_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("binary"), b"hunter2\xff").unwrap();
        std::fs::write(at("long"), "hunter2".repeat(10_000)).unwrap();
        for (name, expected) in [
            ("missing", "No such file"),
            ("", "this is not a file"),
            ("binary", "it is not UTF-8"),
            ("long", "it has more than 65536 bytes"),
        ] {
            let why = refused(Setting::File(at(name))).await;
            assert!(why.contains(expected) && why.contains("setting token: /") && !why.contains("hunter2"), "{why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_told_and_no_other_is_begun_beside_it() {
        let reader = reader(Setting::Env("PATH".to_owned()));
        let hangs = reader.turn.lock().await;
        let Err(Fault::Start(why)) = reader.read().await else { panic!("it was read beside the one that hangs") };
        assert!(why.contains("within 10s"), "{why}");
        drop(hangs);
        assert!(reader.read().await.is_ok());
    }

    #[tokio::test]
    async fn settings_that_are_written_are_shared_by_all_instances() {
        let reader = reader(Setting::from("y"));
        assert!(Arc::ptr_eq(&reader.read().await.unwrap(), &reader.read().await.unwrap()));
    }
}
