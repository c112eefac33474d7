//! The bucket that a configuration names.

use anyhow::Context as _;
use tidegate_runtime::config::Config;
use tidegate_runtime::jetstream::{Client, PluginBucket};

/// Connects to the bucket, which may not be there, and says its name.
///
/// # Errors
/// If the configuration names none, or there is no connection.
pub(super) async fn bucket(config: &Config) -> anyhow::Result<(PluginBucket, String)> {
    let name = config.plugins.origin.bucket.clone().context(
        "the configuration names no bucket of plugins; give plugins.bucket, or --plugin-bucket TIDEGATE_PLUGINS",
    )?;
    let client = Client::connect(&config.nats).await?;
    Ok((PluginBucket::new(client, &name), name))
}
