//! From what the user wrote to what the program uses. No IO: the same text, flags and variables give the same answer.

mod nats;
mod userinfo;
mod workload;
mod workloads;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::JournalFile;
use super::error::{At, ConfigError};
use super::file::{DeadLettersTable, File, JournalTable, NatsTable, PluginsTable};
use super::value::{Size, Strings};
use super::{Compile, Config, DeadLetters, Journal, JournalStream, Plugins, names, units};

pub(super) use nats::Layers;

/// All there is to decide from.
pub(super) struct Inputs<'a> {
    /// The file with the flags laid over it, except for `[nats]`.
    pub(super) file: File,
    /// Where the connection's settings come from.
    pub(super) nats: Layers,
    /// The environment.
    pub(super) environment: &'a BTreeMap<String, String>,
    /// What is wrong if there is no workload.
    pub(super) no_workload: ConfigError,
}

/// Decides every value. Notes everything that is wrong; the answer is of use only if nothing is.
pub(super) fn resolve(inputs: Inputs<'_>, problems: &mut Vec<ConfigError>) -> Config {
    let Inputs { file, nats, environment, no_workload } = inputs;
    let nats = nats.resolve(environment, problems);
    let dead_letters = dead_letters(file.dead_letters, problems);
    let journal = journal(file.journal, environment, problems);
    let grace = duration(file.grace, Duration::from_secs(30), Duration::ZERO..=HOUR, problems);
    let plugins = plugins(file.plugins, environment, problems);
    let workloads = workloads::resolve(file.workloads, no_workload, problems);
    let http = file.http.and_then(|at| address(&at, problems));
    let http_names = file.http_names.map(|at| host_names(at, problems)).unwrap_or_default();
    Config { nats, plugins, dead_letters, journal, grace, http, http_names, workloads }
}

/// Names of hosts, without ports.
fn host_names(at: At<Strings>, problems: &mut Vec<ConfigError>) -> Vec<String> {
    let is_name = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        !name.is_empty() && name.chars().all(is_part)
    };
    for name in at.value.0.iter().filter(|name| !is_name(name)) {
        let problem = format!("{} is not the name of a host", units::quoted(name));
        problems.push(at.error(problem, "write a name without a port, such as \"tidegate.internal\""));
    }
    at.value.0
}

/// `PORT`, `:PORT`, `localhost:PORT` or an IP address with a port. Without an address it is the loopback one, for what is
/// told there is for whoever looks after this host.
fn address(at: &At<String>, problems: &mut Vec<ConfigError>) -> Option<SocketAddr> {
    let port = at.value.strip_prefix("localhost").unwrap_or(&at.value);
    let port = port.strip_prefix(':').or((port == at.value).then_some(port)).and_then(|port| port.parse::<u16>().ok());
    let address = port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).or_else(|| at.value.parse().ok());
    if address.is_none() {
        let problem = format!("{} is not an address to listen on", units::quoted(&at.value));
        problems.push(
            at.error(problem, "write a port, such as \"8222\", or an IP address and a port, such as \"0.0.0.0:8222\""),
        );
    }
    address
}

const HOUR: Duration = Duration::from_secs(3600);

/// Ten years of 365.25 days.
const LONGEST: Duration = Duration::from_secs(3600 * 87_660);

fn age(at: Option<At<Duration>>, problems: &mut Vec<ConfigError>) -> Option<Duration> {
    at.map(|at| duration(Some(at), HOUR, Duration::from_secs(1)..=LONGEST, problems))
}

fn stream_name(at: At<String>, problems: &mut Vec<ConfigError>) -> String {
    problems.extend(names::jetstream(&at.value).err().map(|wrong| wrong.at(&at.place)));
    at.value
}

fn journal(table: JournalTable, environment: &BTreeMap<String, String>, problems: &mut Vec<ConfigError>) -> Journal {
    let max_size = size(table.max_size, 64 << 20, 1 << 10..=1 << 40, problems);
    let keep = integer(table.keep, 4, 0..=10_000, problems);
    let replicas = integer(table.replicas, 1, 1..=5, problems);
    let max_age = age(table.max_age, problems);
    let max_bytes: u64 = size(table.max_bytes, 1 << 30, 1 << 20..=1 << 50, problems);
    let max_bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
    Journal {
        file: table.path.map(|at| JournalFile { path: path(&at, environment, problems), max_size, keep }),
        stream: table.stream.map(|at| JournalStream { name: stream_name(at, problems), replicas, max_age, max_bytes }),
    }
}

fn dead_letters(table: DeadLettersTable, problems: &mut Vec<ConfigError>) -> DeadLetters {
    let most_bytes = Size(1 << 50);
    let max_age = age(table.max_age, problems);
    let some_bytes =
        |at| within(Some(at), Size(0), Size(1 << 20)..=most_bytes, |size| units::show_size(&size.0), problems);
    let max_bytes = table.max_bytes.map(some_bytes);
    let stream = table.stream.map_or_else(|| DeadLetters::STREAM.to_owned(), |at| stream_name(at, problems));
    DeadLetters {
        stream,
        replicas: integer(table.replicas, 1, 1..=5, problems),
        max_age,
        max_bytes: max_bytes.map(|size| i64::try_from(size.0).unwrap_or(i64::MAX)),
    }
}

fn plugins(table: PluginsTable, environment: &BTreeMap<String, String>, problems: &mut Vec<ConfigError>) -> Plugins {
    let second = Duration::from_secs(1);
    Plugins {
        dir: match table.dir {
            Some(dir) => path(&dir, environment, problems),
            None => PathBuf::from("plugins"),
        },
        rescan: duration(table.rescan, second * 5, second / 10..=HOUR, problems),
        cache: match table.cache {
            Some(cache) if cache.value == "off" => None,
            Some(cache) => Some(path(&cache, environment, problems)),
            None => default_cache(environment),
        },
        compile: compile(table.max_size, table.compile_time, table.compile_memory, problems),
    }
}

fn compile(
    max_size: Option<At<Size>>,
    time: Option<At<Duration>>,
    memory: Option<At<Size>>,
    problems: &mut Vec<ConfigError>,
) -> Compile {
    let default = Compile::default();
    Compile {
        max_size: size(max_size, default.max_size, 1 << 10..=1 << 30, problems),
        time: duration(time, default.time, Duration::from_secs(1)..=HOUR, problems),
        memory: size(memory, default.memory, 128 << 20..=64 << 30, problems),
        ..default
    }
}

/// The place that the XDG base directory specification gives to caches; none if there is no home either.
fn default_cache(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let absolute = |key: &str| environment.get(key).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("tidegate").join("compiled"))
}

/// A path as written. One in the configuration file is relative to that file's directory; `~/` is the home directory.
fn path(at: &At<String>, environment: &BTreeMap<String, String>, problems: &mut Vec<ConfigError>) -> PathBuf {
    if at.value.is_empty() {
        problems.push(at.error("the path is empty", "write a path, or leave the key out"));
    }
    if let (Some(rest), Some(home)) = (at.value.strip_prefix("~/"), environment.get("HOME")) {
        return Path::new(home).join(rest);
    }
    match at.place.file.as_deref().and_then(Path::parent) {
        Some(directory) => directory.join(&at.value),
        None => PathBuf::from(&at.value),
    }
}

/// A value in its range, or its default.
fn within<T: PartialOrd>(
    at: Option<At<T>>,
    default: T,
    range: RangeInclusive<T>,
    show: impl Fn(&T) -> String,
    problems: &mut Vec<ConfigError>,
) -> T {
    let Some(at) = at else { return default };
    if range.contains(&at.value) {
        return at.value;
    }
    let side = if at.value < *range.start() { "small" } else { "large" };
    let (least, most) = (show(range.start()), show(range.end()));
    problems.push(at.error(format!("{} is too {side}", show(&at.value)), format!("it can be {least} to {most}")));
    default
}

fn duration(
    at: Option<At<Duration>>,
    default: Duration,
    range: RangeInclusive<Duration>,
    problems: &mut Vec<ConfigError>,
) -> Duration {
    within(at, default, range, units::show_duration, problems)
}

/// Bytes in their range, or their default.
fn size<T: TryFrom<u64> + Copy>(
    at: Option<At<Size>>,
    default: T,
    range: RangeInclusive<u64>,
    problems: &mut Vec<ConfigError>,
) -> T {
    let Some(at) = at else { return default };
    let (least, range) = (Size(*range.start()), Size(*range.start())..=Size(*range.end()));
    let Size(bytes) = within(Some(at), least, range, |size| units::show_size(&size.0), problems);
    T::try_from(bytes).unwrap_or(default)
}

/// An integer in its range, or its default, as the type the program uses. The range must lie within that type.
fn integer<T: TryFrom<i64> + Default>(
    at: Option<At<i64>>,
    default: i64,
    range: RangeInclusive<i64>,
    problems: &mut Vec<ConfigError>,
) -> T {
    T::try_from(within(at, default, range, i64::to_string, problems)).unwrap_or_default()
}

/// The context that counts: the one that the highest layer names.
pub(super) fn wanted_context(layers: [&NatsTable; 3]) -> Option<&At<String>> {
    layers.into_iter().find_map(|layer| layer.context.as_ref())
}
