//! From files, flags and variables to a [`Config`]: the only IO is reading the files and a context.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::connection::{ConnectionLayers, context_of};
use super::dead_letters::DeadLetters;
use super::document::Document;
use super::environment::{self, Environment, process_environment};
use super::error::{At, ConfigError, ConfigErrors, SourcePosition};
use super::files::{ConfigFiles, ConfigText, DEFAULT_FILE, read};
use super::flags::Flags;
use super::fleet::FleetConfig;
use super::http_admin::HttpAdmin;
use super::journal::JournalConfig;
use super::keys::HOST;
use super::layer::Layer;
use super::loops::rings;
use super::names::listen_address;
use super::nats::Nats;
use super::plugins::Plugins;
use super::reader::{Reader, place};
use super::service::ServiceConfig;
use super::telemetry::TelemetryConfig;
use super::workload::Workload;
use super::workloads::{self, OfHost};
use super::written::Written;

/// Everything [`crate::run()`] needs to know: every value decided, every default in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How to reach the servers.
    pub nats: Nats,
    /// Where the plugins are.
    pub plugins: Plugins,
    /// Where dead letters are kept.
    pub dead_letters: DeadLetters,
    /// Where decisions are kept; nowhere by default.
    pub journal: JournalConfig,
    /// How long workers may take to finish what they have when the host stops.
    pub grace: Duration,
    /// Whether the configuration is read again when its files change.
    pub reload_watch: bool,
    /// Where health, metrics and status can be read over HTTP; nowhere by default.
    pub http: Option<SocketAddr>,
    /// Names under which that may be asked for, beside addresses and `localhost`.
    pub http_names: Vec<String>,
    /// Who may change things over HTTP; nobody by default.
    pub http_admin: Option<HttpAdmin>,
    /// The fleet that the host is one of; none by default.
    pub fleet: Option<FleetConfig>,
    /// How it answers as a NATS service; not at all by default.
    pub service: Option<ServiceConfig>,
    /// The collector that spans are sent to; none by default.
    pub telemetry: Option<TelemetryConfig>,
    /// At least one, unless it was read [for plugins](Config::for_plugins); with distinct names and distinct consumers.
    pub workloads: Vec<Workload>,
}

/// A configuration as it was read, and what was written of each of its keys.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Every value decided.
    pub config: Config,
    pub(super) written: Written,
}

impl From<Config> for Reading {
    /// A configuration that was not read from anywhere.
    fn from(config: Config) -> Self {
        Self { config, written: Written::default() }
    }
}

impl Config {
    /// The same on a server of one's own: all workloads are on it, by the host's connection.
    #[must_use]
    pub fn moved_to(mut self, url: &str) -> Self {
        self.nats = self.nats.moved_to(url);
        self.workloads.iter_mut().for_each(|workload| workload.nats = None);
        self
    }

    /// The connections that workloads have for themselves, each once, in the order of the workloads.
    pub fn accounts(&self) -> Vec<&Nats> {
        let mut all = Vec::new();
        for own in self.workloads.iter().filter_map(|workload| workload.nats.as_ref()) {
            if !all.contains(&own) {
                all.push(own);
            }
        }
        all
    }

    /// The workloads of a connection; with `None` of the host's.
    pub fn workloads_at(&self, nats: Option<&Nats>) -> Vec<&Workload> {
        self.workloads.iter().filter(|workload| workload.nats.as_ref() == nats).collect()
    }

    /// The connection of a workload: its own, or the host's.
    pub fn nats_of<'a>(&'a self, workload: &'a Workload) -> &'a Nats {
        workload.nats.as_ref().unwrap_or(&self.nats)
    }

    /// The journal's stream, if there is one in the account of a workload.
    pub fn journal_stream_of(&self, workload: &Workload) -> Option<&str> {
        self.journal.stream.as_ref().filter(|_| workload.nats.is_none()).map(|stream| stream.name.as_str())
    }

    /// The stream that is to keep dead letters and the journal of one account, if there is one.
    fn letters_and_journal(&self) -> Option<&str> {
        let letters = &self.dead_letters.stream;
        let mut journals = self.workloads.iter().filter_map(|workload| self.journal_stream_of(workload));
        journals.find(|journal| journal == letters)
    }

    /// What a person should know of all workloads together.
    pub fn warnings(&self) -> Vec<String> {
        let firsts = self.workloads.iter().filter(|of| of.is_first());
        rings(&firsts.map(|of| Workload { name: of.written_name().to_owned(), ..of.clone() }).collect::<Vec<_>>())
    }

    /// The names of the plugins that workloads name, each once.
    pub fn plugin_names(&self) -> BTreeSet<&str> {
        self.workloads.iter().flat_map(Workload::plugins).map(|(_, name, _)| name).collect()
    }

    /// Reads the file that `flags` name (or `tidegate.toml` in the current directory, if it is there and no stream is
    /// given) and the fragments beside it, and lays environment and flags over them.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Self, ConfigErrors> {
        Ok(Reading::load(flags, environment)?.config)
    }

    /// The same for what is about plugins: it needs no workload, and so no file either.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn for_plugins(flags: &Flags, environment: &Environment) -> Result<Self, ConfigErrors> {
        Ok(Reading::of(flags, environment, WorkloadNeed::None)?.config)
    }

    /// Where a host answers over HTTP that has this `--http` and this file (or `tidegate.toml` in the current
    /// directory, if it is there). With `given` no file is read, and of a file nothing but `http` has to be right.
    ///
    /// # Errors
    /// If nothing says where, or what says it cannot be read.
    pub fn http_of(given: Option<&str>, file: Option<&Path>) -> Result<Option<SocketAddr>, ConfigErrors> {
        if let Some(text) = given {
            let address = listen_address(text).map_err(|wrong| wrong.at(&SourcePosition::named("--http")))?;
            return Ok(Some(address));
        }
        let Some(files) = ConfigFiles::of(&Flags { file: file.map(Path::to_owned), ..Flags::default() }) else {
            return Err(nowhere_to_ask().into());
        };
        let mut problems = Vec::new();
        let main = read(files.file())?;
        let document = Document::parse(&main.text, Some(&main.path), &mut problems);
        let (top, variables) = (SourcePosition::default(), Environment::new());
        let mut keys = Reader::new(HOST, &document.host, &top, &variables, &mut problems);
        match keys.parsed("http", listen_address) {
            None if !problems.is_empty() => Err(ConfigErrors(problems)),
            address => Ok(address),
        }
    }

    /// Who may change things over HTTP, by this file (or `tidegate.toml` in the current directory, if it is there).
    /// Nothing else of it has to be right.
    ///
    /// # Errors
    /// If there is a file that cannot be read.
    pub fn http_admin_of(file: Option<&Path>) -> Result<Option<HttpAdmin>, ConfigErrors> {
        let Some(files) = ConfigFiles::of(&Flags { file: file.map(Path::to_owned), ..Flags::default() }) else {
            return Ok(None);
        };
        let mut problems = Vec::new();
        let main = read(files.file())?;
        let document = Document::parse(&main.text, Some(&main.path), &mut problems);
        let (top, variables) = (SourcePosition::default(), process_environment());
        let mut keys = Reader::new(HOST, &document.host, &top, &variables, &mut problems);
        match HttpAdmin::read(&mut keys) {
            None if !problems.is_empty() => Err(ConfigErrors(problems)),
            admin => Ok(admin),
        }
    }

    /// Reads the file at `path`, with the variables of this process and without flags.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let flags = Flags { file: Some(path.as_ref().to_owned()), ..Flags::default() };
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
        Ok(of_texts(Main { text, path: None }, &[], &Flags::default(), &Environment::new(), WorkloadNeed::One)?.config)
    }

    /// Decides every value. Notes everything that is wrong; the answer is of use only if nothing is.
    fn of_layers(
        document: Document,
        flags: &Flags,
        variables: &Environment,
        problems: &mut Vec<ConfigError>,
    ) -> (Self, Written) {
        let mut environment = environment::read(variables, problems);
        if flags.own_server {
            environment = environment.without_servers();
        }
        let connection = connection_layers(&flags.host, environment, &document.host, variables, problems);
        let host = flags.host.clone().over(&connection.environment).over(&document.host);
        let nats = connection.resolve(variables, problems);
        let top = SourcePosition::default();
        let host_layer = host;
        let mut keys = Reader::new(HOST, &host_layer, &top, variables, problems);
        let host = keys.maybe::<String>("host.id");
        let telemetry = TelemetryConfig::read(&mut keys);
        let service = ServiceConfig::read(&mut keys, host.clone());
        let asked = service.as_ref().map(|service| service.prefix.clone());
        let mut fleet = FleetConfig::read(&mut keys, host, service.is_some());
        let written = Written::of(&host_layer, &document.workloads);
        let (dead_letters, journal) = (DeadLetters::read(&mut keys), JournalConfig::read(&mut keys));
        let config = Self {
            service,
            grace: keys.get("grace"),
            reload_watch: keys.get("reload.watch"),
            plugins: Plugins::read(&mut keys),
            http: keys.parsed("http", listen_address),
            http_names: keys.get("http-names"),
            http_admin: HttpAdmin::read(&mut keys),
            workloads: workloads::read(
                document.workloads,
                OfHost {
                    nats: &nats,
                    dead_letters: &dead_letters,
                    journal: &journal,
                    fleet: fleet.as_mut(),
                    asked: asked.as_deref(),
                },
                variables,
                problems,
            ),
            dead_letters,
            journal,
            nats,
            telemetry,
            fleet,
        };
        if let Some(stream) = config.letters_and_journal() {
            let of = |key| place(HOST, &host_layer, &top, key);
            let (here, letters) = (of("journal.stream"), of("dead-letters.stream"));
            let problem = format!("{stream:?} is where this host keeps dead letters, by {}", letters.beside(&here));
            problems.push(here.error(problem, "each has subjects of its own; name another stream in one of them"));
        }
        (config, written)
    }
}

impl Reading {
    /// The connection of the workload `name`, as a command has it that is about this workload alone: `flags` win over
    /// the workload's own table too.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn nats_of(&self, name: &str, flags: &Layer, variables: &Environment) -> Result<Nats, ConfigErrors> {
        let (mut problems, place) = (Vec::new(), SourcePosition::default());
        let of_name = self.config.workloads.iter().find(|workload| workload.name == name);
        let layer = self.written.workloads.get(of_name.map_or(name, Workload::written_name));
        let of = |layer| ConnectionLayers::of_workload(flags, (layer, &place), variables, &mut problems);
        let Some(layers) = layer.and_then(of) else { return Ok(self.config.nats.clone()) };
        let nats = layers.resolve(variables, &mut problems);
        if problems.is_empty() { Ok(nats) } else { Err(ConfigErrors(problems)) }
    }

    /// The same as [`Config::load`], with what was written.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Self, ConfigErrors> {
        Self::of(flags, environment, WorkloadNeed::One)
    }

    fn of(flags: &Flags, environment: &Environment, need: WorkloadNeed) -> Result<Self, ConfigErrors> {
        let files = ConfigFiles::of(flags);
        if need == WorkloadNeed::One && files.is_none() && !flags.has_workload() {
            return Err(no_configuration().into());
        }
        let Some(files) = files else {
            return of_texts(Main { text: "", path: None }, &[], flags, environment, need);
        };
        let (main, fragments) = files.read()?;
        of_texts(Main { text: &main.text, path: Some(&main.path) }, &fragments, flags, environment, need)
    }
}

/// Whether a configuration has to have a workload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WorkloadNeed {
    One,
    None,
}

/// The text of the configuration file.
#[derive(Clone, Copy)]
struct Main<'a> {
    text: &'a str,
    path: Option<&'a Path>,
}

fn of_texts(
    main: Main<'_>,
    fragments: &[ConfigText],
    flags: &Flags,
    variables: &Environment,
    need: WorkloadNeed,
) -> Result<Reading, ConfigErrors> {
    let mut problems = Vec::new();
    let mut document = Document::parse(main.text, main.path, &mut problems);
    for fragment in fragments {
        document.add(Document::fragment(&fragment.text, &fragment.path, &mut problems), &mut problems);
    }
    // Without a whole file, flags that change one of its workloads would be blamed for what they cannot find.
    if problems.is_empty() || !document.workloads.is_empty() {
        if let Err(errors) = flags.lay_over(&mut document.workloads) {
            problems.extend(errors.0);
        }
        if need == WorkloadNeed::One && document.workloads.is_empty() && problems.is_empty() {
            problems.push(no_workload(main.text, main.path));
        }
        if flags.own_server {
            document.host = document.host.without_servers();
            document.workloads = without_connections(document.workloads);
        }
        let (config, written) = Config::of_layers(document, flags, variables, &mut problems);
        if problems.is_empty() {
            return Ok(Reading { config, written });
        }
    }
    problems.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    Err(ConfigErrors(problems))
}

impl Nats {
    /// How commands that need only a connection connect: by flags, environment, and the `[nats]` of a file, if one is
    /// named.
    ///
    /// # Errors
    /// Everything that is wrong, in the order it was found.
    pub fn load(flags: &Layer, config: Option<&Path>, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let document = match config {
            Some(path) => Document::parse(&read(path)?.text, Some(path), &mut problems),
            None => Document::default(),
        };
        let by_variables = environment::read(environment, &mut problems);
        let layers = connection_layers(flags, by_variables, &document.host, environment, &mut problems);
        let nats = layers.resolve(environment, &mut problems);
        if problems.is_empty() { Ok(nats) } else { Err(ConfigErrors(problems)) }
    }
}

/// The same workloads, all on the host's connection.
fn without_connections(workloads: Vec<(At<String>, Layer)>) -> Vec<(At<String>, Layer)> {
    workloads.into_iter().map(|(name, layer)| (name, layer.without_connection())).collect()
}

/// All that says how to connect, with the context that the highest layer names.
fn connection_layers(
    flags: &Layer,
    environment: Layer,
    file: &Layer,
    variables: &Environment,
    problems: &mut Vec<ConfigError>,
) -> ConnectionLayers {
    let named = [flags, &environment, file].into_iter().find_map(|layer| layer.text("nats.context"));
    let context = named.and_then(|name| context_of(&name, variables, problems));
    ConnectionLayers { flags: flags.clone(), environment, file: file.clone(), context }
}

fn no_workload(text: &str, path: Option<&Path>) -> ConfigError {
    let place = SourcePosition { file: path.map(Path::to_owned), ..SourcePosition::default() };
    let problem = if text.trim().is_empty() { "the file is empty" } else { "there is no workload" };
    place.error(problem, "add [workload.NAME] with stream, handler and policy")
}

fn nowhere_to_ask() -> ConfigError {
    SourcePosition::default().error(
        format!("nothing says where the host answers: no --http, no --config, and no {DEFAULT_FILE} in this directory"),
        "give --http the address that the host has, or --config its file",
    )
}

fn no_configuration() -> ConfigError {
    SourcePosition::default().error(
        format!("there is no configuration: no --config, no {DEFAULT_FILE} in this directory, and no --stream"),
        "give --config FILE, write one with `tidegate new config`, or give --stream, --handler and --policy",
    )
}
