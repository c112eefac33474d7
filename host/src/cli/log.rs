//! Logs on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::terminal::Terminal;

/// What is logged, and how it looks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// What is logged: off, error, warn, info, debug or trace, for all or for some, as in `info,tidegate::worker=debug`
    /// [default: info; for the demo its own story]
    #[arg(long, global = true, value_name = "FILTER", env = "TIDEGATE_LOG")]
    pub log: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// A line for a person
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Sends logs to standard error, without tearing a progress bar there. `default` is the filter where none is given.
///
/// # Errors
/// If the filter cannot be read.
pub fn init(args: &LogArgs, default: &str, terminal: &Terminal) -> anyhow::Result<()> {
    let filter = args.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("--log {filter}: {error}; write it as `info` or `warn,tidegate=debug`"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal.clone()).with_timer(SystemTime);
    match args.log_format {
        LogFormat::Text => {
            logs.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => logs.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}
