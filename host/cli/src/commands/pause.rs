//! `tidegate pause` and `tidegate resume`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::flags::ConnectionFlags;
use super::output::Output;
use super::positive;
use tidegate_runtime::clock::time_of_day;
use tidegate_runtime::config::{Config, DEFAULT_FILE, Flags, Nats, Reading, Workload, nearest, process_environment};
use tidegate_runtime::jetstream::{Client, Paused};

const PAUSE: &str = "\
Examples:
  tidegate pause orders                          until `tidegate resume orders`
  tidegate pause orders --for 30m
  tidegate pause orders --until 2030-01-31T12:00:00Z -c prod.toml";

const RESUME: &str = "\
Examples:
  tidegate resume orders
  tidegate resume orders -c prod.toml --output json";

/// Pauses a workload: its consumer delivers nothing any more, to no host, until the pause ends or is ended.
///
/// The server pauses the consumer (2.11 or newer), so hosts may come and go meanwhile. What was delivered is finished.
/// Exit code 0: paused. 1: it is not: the configuration is wrong or has no such workload, there is no such consumer, or
/// the server cannot or does not let this user. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = PAUSE)]
pub struct PauseArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub which: WhichArgs,
    /// For how long [default: until it is ended]
    #[arg(long = "for", value_name = "DURATION", value_parser = positive, conflicts_with = "until")]
    pub duration: Option<Duration>,
    /// Until when, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<SystemTime>,
}

/// Ends the pause of a workload.
///
/// Exit code 0: it is not paused any more, or was not. 1: it cannot be told, as for `pause`. 2: wrong usage.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = RESUME)]
pub struct ResumeArgs {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub which: WhichArgs,
}

/// Which workload.
#[derive(Debug, Clone, clap::Args)]
pub struct WhichArgs {
    /// The workload, by its name in the configuration
    #[arg(value_name = "WORKLOAD")]
    pub workload: String,
    /// The configuration file, which says what its stream and consumer are [default: tidegate.toml]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten, next_help_heading = "Connection")]
    pub connection: ConnectionFlags,
}

/// How it is now.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    workload: &'a str,
    stream: &'a str,
    consumer: &'a str,
    paused: bool,
    /// None: until it is ended.
    until: Option<String>,
}

fn moment(text: &str) -> Result<SystemTime, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from);
    match time {
        Some(time) if time > time_of_day() => Ok(time),
        Some(_) => Err("it is past".to_owned()),
        None => Err("write a time such as 2030-01-31T12:00:00Z".to_owned()),
    }
}

/// Pauses, and prints to `out` how it is then.
///
/// # Errors
/// If it is not paused, or the answer cannot be written.
pub async fn pause(args: &PauseArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (workload, client) = args.which.open().await?;
    let until = match (args.until, args.duration) {
        (Some(until), _) => Some(until),
        (None, Some(duration)) => Some(time_of_day().checked_add(duration).context("--for is too long")?),
        (None, None) => None,
    };
    let now = client.pause(&workload.queue.stream, &workload.queue.consumer, until).await?;
    args.which.tell(&workload, now, out)
}

/// Ends a pause, and prints to `out` how it is then.
///
/// # Errors
/// If that cannot be done, or the answer cannot be written.
pub async fn resume(args: &ResumeArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (workload, client) = args.which.open().await?;
    let now = client.resume(&workload.queue.stream, &workload.queue.consumer).await?;
    args.which.tell(&workload, now, out)
}

/// A workload as it is configured.
pub(super) struct Configured {
    pub(super) config: Config,
    pub(super) workload: Workload,
    /// Its connection, where flags win over what the configuration says.
    pub(super) nats: Nats,
}

impl WhichArgs {
    /// The workload as it is configured, and the server.
    async fn open(&self) -> anyhow::Result<(Workload, Client)> {
        let Configured { workload, nats, .. } = self.configured()?;
        Ok((workload, Client::connect(&nats).await?))
    }

    /// The configuration file, as it is typed.
    pub(super) fn file(&self) -> String {
        self.config.as_deref().map_or_else(|| DEFAULT_FILE.to_owned(), |file| file.display().to_string())
    }

    /// The configuration, and the workload in it.
    pub(super) fn configured(&self) -> anyhow::Result<Configured> {
        let flags = Flags { file: self.config.clone(), host: self.connection.0.clone(), ..Flags::default() };
        let environment = process_environment();
        let reading = Reading::load(&flags, &environment)?;
        let config = &reading.config;
        let names = || config.workloads.iter().map(|workload| workload.name.as_str());
        let Some(workload) = config.workloads.iter().find(|workload| workload.name == self.workload) else {
            let mut partitions = config.workloads.iter().filter(|of| of.written_name() == self.workload);
            if let Some(first) = partitions.next() {
                let (last, name) = (partitions.next_back().unwrap_or(first), &self.workload);
                bail!("each partition of {name} is a workload: name one, from {} to {}", first.name, last.name);
            }
            let meant = nearest(&self.workload, names()).map(|name| format!("; did you mean {name}?"));
            let there_are = || format!("; there is {}", names().collect::<Vec<_>>().join(", "));
            bail!("the configuration has no workload {:?}{}", self.workload, meant.unwrap_or_else(there_are));
        };
        let (workload, nats) = (workload.clone(), reading.nats_of(&workload.name, &flags.host, &environment)?);
        Ok(Configured { config: reading.config, workload, nats })
    }

    fn tell(&self, workload: &Workload, now: Paused, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let (name, queue) = (&workload.name, &workload.queue);
        let Paused { paused, until } = now;
        let answer = Answer { workload: name, stream: &queue.stream, consumer: &queue.consumer, paused, until };
        self.output.write(out, &answer, |out| match (answer.paused, &answer.until) {
            (false, _) => writeln!(out, "{name} is not paused"),
            (true, Some(until)) => writeln!(out, "{name} is paused until {until}"),
            (true, None) => writeln!(out, "{name} is paused; `tidegate resume {name}` ends that"),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
