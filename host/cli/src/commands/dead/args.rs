//! What the commands about dead letters have in common: which letters, where they are, and how many that are.

use std::path::PathBuf;

use super::filter::FilterArgs;
use crate::commands::connect::{connect, given};
use crate::commands::error_output;
use crate::commands::flags::ConnectionFlags;
use crate::commands::output::Output;
use crate::commands::whole_number;
use tidegate_runtime::config::{Config, DeadLetters, Flags, Nats, Reading, process_environment};
use tidegate_runtime::dead_letter::filter::Filter;
use tidegate_runtime::jetstream::Letters;

/// The arguments fit together in no way, as clap has it for its own.
pub(super) const USAGE: u8 = 2;

/// Which letters, where they are, and how the answer is printed.
#[derive(Debug, Clone, clap::Args)]
pub struct AskArgs {
    /// How the answer is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub filter: FilterArgs,
    #[allow(missing_docs)]
    #[command(flatten, next_help_heading = "Connection")]
    pub place: PlaceArgs,
}

/// Which letters to change: nothing is changed unless something says which.
#[derive(Debug, Clone, clap::Args)]
pub struct SelectionArgs {
    /// The letters, by their sequence in the stream of dead letters
    #[arg(value_name = "SEQUENCE", value_parser = whole_number::<u64>(1..))]
    pub sequences: Vec<u64>,
    /// All letters; needed where nothing else says which
    #[arg(long)]
    pub all: bool,
}

impl SelectionArgs {
    /// What is wrong with the arguments: they say nothing about which letters, or contradict each other.
    pub(super) fn problem(&self, verb: &str, filter: &Filter) -> Option<String> {
        let some = !self.sequences.is_empty() || *filter != Filter::default();
        match (some, self.all) {
            (false, false) => {
                Some(format!("nothing says which dead letters to {verb}; give a filter or sequences, or --all"))
            }
            (true, true) => {
                Some("--all means all dead letters; leave out the filter and the sequences, or --all".to_owned())
            }
            _ => None,
        }
    }
}

/// Where the dead letters are.
#[derive(Debug, Clone, clap::Args)]
pub struct PlaceArgs {
    /// The stream that keeps dead letters [default: as in the configuration file, or TIDEGATE_DEAD]
    #[arg(long, value_name = "STREAM")]
    pub dead_letters: Option<String>,
    /// A configuration file that says how to connect: for letters of a workload in an account of its own with the
    /// connection of this workload, otherwise with the host's
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[allow(missing_docs)]
    #[command(flatten)]
    pub connection: ConnectionFlags,
}

impl PlaceArgs {
    /// Opens the stream where the letters of `workload` are; without one, where those of the host's account are.
    pub(super) async fn open(&self, workload: Option<&str>) -> anyhow::Result<Letters> {
        let (nats, stream) = self.configured(workload)?;
        let stream = self.dead_letters.as_ref().unwrap_or(&stream);
        Ok(connect(&nats, given(self.config.as_deref())).await?.letters(stream).await?)
    }

    /// How to connect, and the stream that the configuration names.
    fn configured(&self, workload: Option<&str>) -> anyhow::Result<(Nats, String)> {
        let environment = process_environment();
        if self.config.is_none() {
            let nats = Nats::load(&self.connection.0, None, &environment)?;
            return Ok((nats, DeadLetters::STREAM.to_owned()));
        }
        let flags = Flags { file: self.config.clone(), host: self.connection.0.clone(), ..Flags::default() };
        let reading = Reading::load(&flags, &environment)?;
        let elsewhere = elsewhere(&reading.config);
        if let (None, false) = (workload, elsewhere.is_empty()) {
            error_output::write(&format!(
                "the dead letters of {} are in accounts of their own; --workload says of which",
                elsewhere.join(", ")
            ));
        }
        let nats = match workload {
            Some(workload) => reading.nats_of(workload, &flags.host, &environment)?,
            None => reading.config.nats,
        };
        Ok((nats, reading.config.dead_letters.stream))
    }
}

/// The workloads that have an account of their own.
fn elsewhere(config: &Config) -> Vec<&str> {
    config.workloads.iter().filter(|workload| workload.nats.is_some()).map(|workload| workload.name.as_str()).collect()
}

/// `1 dead letter`, `2 dead letters`.
pub(super) fn count(letters: usize) -> String {
    format!("{letters} dead letter{}", if letters == 1 { "" } else { "s" })
}
