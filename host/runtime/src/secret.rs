//! Reads what stands elsewhere than in the configuration, because it is secret.

use std::path::Path;

use crate::bounded_file::{self, NotRead};
use crate::config::Setting;

/// Bytes of the largest one, which is the largest setting of a handler.
pub(crate) const LONGEST: u64 = 64 << 10;

/// The text of a setting, wherever it stands.
///
/// # Errors
/// What is wrong with the place, in words that never hold what stands there.
pub(crate) async fn value(setting: &Setting) -> Result<String, String> {
    match setting {
        Setting::Text(text) => Ok(text.clone()),
        Setting::Env(name) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the variable {name} is not set; set it for this host"),
            std::env::VarError::NotUnicode(_) => format!("the variable {name} is not UTF-8; write text in it"),
        }),
        Setting::File(path) => file(path).await.map_err(|why| format!("{}: {why}", path.display())),
    }
}

/// The text of a file, without the line break that editors put at its end.
async fn file(path: &Path) -> Result<String, String> {
    let bytes = bounded_file::read_async(path, LONGEST).await.map_err(|error| match error {
        NotRead::NoFile => "this is not a file; write the secret in one".to_owned(),
        NotRead::TooLarge(most) => format!("it has more than {most} bytes; name a file with the secret alone"),
        NotRead::Io(error) => format!("{error}; let the user that runs this host read a file there"),
    })?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8; write text in it".to_owned())?;
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    Ok(text)
}
