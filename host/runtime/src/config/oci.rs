//! How registries with plugins are reached, and what is kept of them.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::keys::HOST;
use super::oci_reference::is_registry;
use super::reader::Reader;
use super::setting::Setting;
use super::units::quoted;

/// How registries are reached, and what is kept of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciConfig {
    /// How often a registry is asked whether a tag has moved.
    pub poll: Duration,
    /// How long fetching one plugin may take in all.
    pub timeout: Duration,
    /// Authorities beside the system's.
    pub ca: Option<PathBuf>,
    /// A file as `docker login` writes it, and whether the configuration names it; else it may be missing.
    pub docker_config: Option<(PathBuf, bool)>,
    /// `USER:PASSWORD` by registry.
    pub credentials: Vec<(String, Setting)>,
    /// The registries that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// Where what was fetched is kept; `None` keeps nothing.
    pub cache: Option<PathBuf>,
}

impl OciConfig {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        let credentials: Vec<(String, Setting)> = keys.get("plugins.oci.credentials");
        for (registry, setting) in &credentials {
            let place = keys.place("plugins.oci.credentials");
            if !is_registry(registry) {
                let problem = format!("{} is not a registry", quoted(registry));
                keys.note(place.error(problem, "write its host, and its port if it has one, in quotes: \"ghcr.io\""));
            } else if setting.text().is_some() {
                // It is a secret by now, and not repeated.
                let problem = format!("the user and the password for {} stand in the file", quoted(registry));
                let remedy = "write { env = \"NAME\" } or { file = \"/run/secrets/name\" } that holds USER:PASSWORD";
                keys.note(place.error(problem, remedy));
            }
        }
        let docker_config = match keys.path("plugins.oci.docker-config") {
            Some(path) => Some((path, true)),
            None => default_docker_config(keys.variables).map(|path| (path, false)),
        };
        Self {
            poll: keys.get("plugins.poll"),
            timeout: keys.get("plugins.oci.timeout"),
            ca: keys.path("plugins.oci.ca"),
            docker_config,
            credentials,
            plain_http: keys.get("plugins.oci.plain-http"),
            cache: match keys.maybe::<String>("plugins.oci.cache").as_deref() {
                Some("off") => None,
                Some(_) => keys.path("plugins.oci.cache"),
                None => default_cache(keys.variables),
            },
        }
    }
}

impl Default for OciConfig {
    fn default() -> Self {
        Reader::of_nothing(HOST, Self::read)
    }
}

/// Where `docker login` writes.
fn default_docker_config(variables: &Environment) -> Option<PathBuf> {
    let dir = variables.get("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = dir
        .or_else(|| Some(PathBuf::from(variables.get("HOME").filter(|home| home.starts_with('/'))?).join(".docker")))?;
    Some(dir.join("config.json"))
}

/// Beside the cache of compiled code, whose directory holds nothing else.
fn default_cache(variables: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| variables.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("tidegate").join("oci"))
}
