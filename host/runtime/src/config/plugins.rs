//! The plugin directory, and what a plugin's file may cost.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::keys::HOST;
use super::oci::OciConfig;
use super::reader::Reader;

/// The plugin directory and the cache of compiled code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    /// The directory with `*.wasm` files.
    pub dir: PathBuf,
    /// How often the directory is read even if no event came.
    pub rescan: Duration,
    /// Where compiled code is kept; `None` compiles at every start.
    pub cache: Option<PathBuf>,
    /// What a plugin's file may cost before it runs.
    pub compile: Compile,
    /// Where they come from otherwise, and which are taken.
    pub origin: Origin,
}

/// Where plugins come from, if it is no directory, and which are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The bucket of an object store in place of the directory.
    pub bucket: Option<String>,
    /// The public keys (`U...`) of those who may sign plugins. With none a plugin need not be signed.
    pub trusted: Vec<String>,
    /// How registries are reached, for plugins that are named by their place in one.
    pub oci: OciConfig,
}

/// What a plugin's file may cost before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compile {
    /// The program that compiles, in a process of its own and within the bounds below: `tidegate` itself, as
    /// [`Compile::by_this_program`] has it. With `None` this process compiles, without a bound.
    pub program: Option<PathBuf>,
    /// Bytes of a plugin's file.
    pub max_size: u64,
    /// Wall-clock time of compiling one plugin.
    pub time: Duration,
    /// Bytes of memory of compiling one plugin.
    pub memory: u64,
}

impl Plugins {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        Self {
            dir: keys.path("plugins.dir").unwrap_or_default(),
            rescan: keys.get("plugins.rescan"),
            cache: match keys.maybe::<String>("plugins.cache").as_deref() {
                Some("off") => None,
                Some(_) => keys.path("plugins.cache"),
                None => default_cache(keys.variables),
            },
            compile: Compile::read(keys),
            origin: Origin::read(keys),
        }
    }
}

impl Origin {
    fn read(keys: &mut Reader<'_>) -> Self {
        let trusted: Vec<String> = keys.get("plugins.trusted");
        if trusted.is_empty() && keys.is_set("plugins.trusted") {
            let problem = "the list is empty, so nobody may sign and no plugin could run";
            let remedy = "name at least one public key, or leave the key out, and plugins need no signature";
            keys.note(keys.place("plugins.trusted").error(problem, remedy));
        }
        let bucket = keys.maybe("plugins.bucket");
        if bucket.is_some() && keys.is_set("plugins.dir") {
            let problem = "a directory is named beside a bucket";
            let remedy = "plugins come from one of the two; leave plugins.dir or plugins.bucket out";
            keys.note(keys.place("plugins.dir").error(problem, remedy));
        }
        Self { bucket, trusted, oci: OciConfig::read(keys) }
    }
}

/// The place that the XDG base directory specification gives to caches; none if there is no home either.
fn default_cache(variables: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| variables.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("tidegate").join("compiled"))
}

impl Default for Compile {
    fn default() -> Self {
        Reader::of_nothing(HOST, Self::read)
    }
}

impl Compile {
    fn read(keys: &mut Reader<'_>) -> Self {
        Self {
            program: None,
            max_size: keys.get("plugins.max-size"),
            time: keys.get("plugins.compile-time"),
            memory: keys.get("plugins.compile-memory"),
        }
    }

    /// The same in a process of its own, for programs that have the command `compile` of `tidegate`.
    ///
    /// # Errors
    /// If this program's file cannot be found.
    pub fn by_this_program(self) -> std::io::Result<Self> {
        // On Linux the program that runs, even if its file was replaced meanwhile: what one compiles the other must
        // load.
        let program =
            if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe()? };
        Ok(Self { program: Some(program), ..self })
    }
}
