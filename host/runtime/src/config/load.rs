//! From files, flags and variables to a [`Config`]: the only IO is reading the file and a context.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::connection::{ConnectionFlags, environment};
use super::error::{ConfigError, ConfigErrors, Place};
use super::file::{File, NatsTable};
use super::flags::{Flags, WorkloadFlags};
use super::resolve::{Inputs, Layers, resolve, wanted_context};
use super::{Config, Nats, context};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "tidegate.toml";

/// Variables by name, as in [`process_environment`].
pub type Environment = BTreeMap<String, String>;

/// The variables of this process that are text.
pub fn process_environment() -> Environment {
    let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

impl Config {
    /// Reads the file that `flags` name (or `tidegate.toml` in the current directory, if it is there and no stream is
    /// given), and lays environment and flags over it.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Self, ConfigErrors> {
        let path = file_of(flags);
        if path.is_none() && flags.workload == WorkloadFlags::default() {
            return Err(nothing_to_run().into());
        }
        match path {
            Some(path) => Self::of_text(&read(&path)?, Some(&path), flags, environment),
            None => Self::of_text("", None, flags, environment),
        }
    }

    /// Reads the file at `path`, with the variables of this process and without flags.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let flags = Flags { config: Some(path.as_ref().to_owned()), ..Flags::default() };
        Self::load(&flags, &process_environment())
    }

    /// Reads the text of a configuration file. Neither flags nor environment count, so compiled plugins are not kept
    /// unless `plugins.cache` says where.
    ///
    /// ```
    /// let config = tidegate_runtime::Config::from_toml(
    ///     r#"
    ///     [workload.orders]
    ///     stream = "ORDERS"
    ///     handler = "receipts"
    ///     policy = "backlog"
    ///     "#,
    /// )?;
    /// assert_eq!(config.workloads[0].queue.consumer, "orders-workers");
    /// # Ok::<(), tidegate_runtime::config::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        Self::of_text(text, None, &Flags::default(), &Environment::new())
    }

    fn of_text(text: &str, path: Option<&Path>, flags: &Flags, variables: &Environment) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let file = File::parse(text, path, &mut problems);
        let names: Vec<_> = file.workloads.0.iter().map(|(name, _)| name.clone()).collect();
        // Without a whole file, flags that change one of its workloads would be blamed for what they cannot find.
        if problems.is_empty() || !names.is_empty() {
            let mut over = flags.file(&names, &mut problems);
            let nats = layers(std::mem::take(&mut over.nats), &file.nats, variables, &mut problems);
            let file = super::document::Field::over(over, file);
            let no_workload = no_workload(text, path);
            let config = resolve(Inputs { file, nats, environment: variables, no_workload }, &mut problems);
            if problems.is_empty() {
                return Ok(config);
            }
        }
        problems.sort_by_key(|problem| problem.line);
        Err(ConfigErrors(problems))
    }
}

impl Nats {
    /// How commands that need only a connection connect: by flags, environment, and the `[nats]` of a file, if one is
    /// named.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn load(
        flags: &ConnectionFlags,
        config: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let file = match config {
            Some(path) => File::parse(&read(path)?, Some(path), &mut problems),
            None => File::default(),
        };
        let nats = layers(flags.table(), &file.nats, environment, &mut problems).resolve(environment, &mut problems);
        if problems.is_empty() { Ok(nats) } else { Err(ConfigErrors(problems)) }
    }
}

/// The file that is read.
pub(super) fn file_of(flags: &Flags) -> Option<PathBuf> {
    match &flags.config {
        Some(path) => Some(path.clone()),
        None if flags.workload.stream.is_some() => None,
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    }
}

fn read(path: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(path).map_err(|error| {
        let place = Place { file: Some(path.to_owned()), ..Place::default() };
        let error = match error.kind() {
            std::io::ErrorKind::NotFound => place.error(
                "there is no such file",
                "give the right path to --config, write one with `tidegate new config`, or leave the file out and give \
                 --stream, --handler and --policy",
            ),
            std::io::ErrorKind::InvalidData => place.error("this is not text", "a configuration file is TOML in UTF-8"),
            _ => place.error(format!("it cannot be read: {error}"), "check the path and its permissions"),
        };
        ConfigErrors::from(error)
    })
}

fn layers(flags: NatsTable, file: &NatsTable, variables: &Environment, problems: &mut Vec<ConfigError>) -> Layers {
    let environment = environment(variables);
    let context = wanted_context([&flags, &environment, file]).and_then(|name| match context::read(name, variables) {
        Ok(table) => Some(table),
        Err(errors) => {
            problems.extend(errors.0);
            None
        }
    });
    Layers { flags, environment, file: file.clone(), context }
}

fn no_workload(text: &str, path: Option<&Path>) -> ConfigError {
    let place = Place { file: path.map(Path::to_owned), ..Place::default() };
    let problem = if text.trim().is_empty() { "the file is empty" } else { "there is no workload" };
    place.error(problem, "add [workload.NAME] with stream, handler and policy")
}

fn nothing_to_run() -> ConfigError {
    Place::default().error(
        format!("there is nothing to run: no --config, no {DEFAULT_FILE} in this directory, and no --stream"),
        "give --config FILE, write one with `tidegate new config`, or give --stream, --handler and --policy",
    )
}
