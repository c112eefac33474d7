//! How commands connect that read a configuration file where they are given one, or never.

use std::path::Path;

use tidegate_runtime::config::Nats;
use tidegate_runtime::jetstream::{Client, FileUse};

/// Connects.
///
/// # Errors
/// If there is no connection. The error names a configuration file only where it can mend that.
pub(super) async fn connect(nats: &Nats, file: FileUse) -> anyhow::Result<Client> {
    Ok(Client::connect(nats).await.map_err(|error| error.with_file(file))?)
}

/// What a command does with a configuration file that takes one and was given this.
pub(super) fn given(config: Option<&Path>) -> FileUse {
    if config.is_some() { FileUse::Read } else { FileUse::NotGiven }
}
