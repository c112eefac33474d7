//! Finds the credentials for a registry, each time that it wants them.

use std::io;

use super::docker_config;
use crate::bounded_file::{self, NotRead};
use crate::config::OciConfig;
use crate::secret;

/// Bytes of the largest file of docker.
const LARGEST: u64 = 1 << 20;
/// Where there may be no file of docker: in a home that this user cannot look into, too.
const NOT_THERE: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];

/// `USER:PASSWORD` for a registry; `None` if there is nothing for it.
///
/// # Errors
/// What cannot be read, and what to do. Never what stands there.
pub(super) async fn find(config: &OciConfig, registry: &str) -> Result<Option<String>, String> {
    if let Some((_, setting)) = config.credentials.iter().find(|(name, _)| name == registry) {
        let key = format!("plugins.oci.credentials for {registry}");
        let text = secret::value(setting).await.map_err(|why| format!("{key}: {why}"))?;
        let is_one = text.split_once(':').is_some_and(|(user, _)| !user.is_empty());
        return if is_one { Ok(Some(text)) } else { Err(format!("{key}: it is not USER:PASSWORD; write both")) };
    }
    let Some((path, is_named)) = &config.docker_config else { return Ok(None) };
    let shown = path.display();
    match bounded_file::read_async(path, LARGEST).await {
        Ok(file) => docker_config::credentials(&file, registry).map_err(|why| format!("{shown}: {why}")),
        // Nobody has said that there is one: a registry that wants credentials says so.
        Err(NotRead::Io(error)) if !is_named && NOT_THERE.contains(&error.kind()) => Ok(None),
        Err(error) => {
            Err(format!("{shown}: {error}; let plugins.oci.docker-config name a file that this user can read"))
        }
    }
}
