//! Logs on standard error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::IsTerminal as _;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::escaped_fields::EscapedFields;
use tidegate_lab::terminal::Terminal;

/// The flag that says what is logged.
const LOG_FLAG: &str = "--log";

/// The variable that says it where the flag does not.
const LOG_VARIABLE: &str = "TIDEGATE_LOG";

/// What is logged, and how it looks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// What is logged: off, error, warn, info, debug or trace, and more or less of parts, as in
    /// `info,tidegate_runtime::delivery::worker=debug` [default: info; for the demo its own story, for simulate
    /// warnings]
    #[arg(long, global = true, value_name = "FILTER", env = LOG_VARIABLE, hide_env_values = true)]
    pub log: Option<String>,
    /// Where that is from, for who is told that it is wrong
    #[arg(skip = LOG_FLAG)]
    pub log_from: &'static str,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl LogArgs {
    /// The same, where the program was called so.
    #[must_use]
    pub fn of(self, matches: &ArgMatches) -> Self {
        let is_variable = matches.value_source("log") == Some(ValueSource::EnvVariable);
        Self { log_from: if is_variable { LOG_VARIABLE } else { LOG_FLAG }, ..self }
    }

    /// What is to be logged, if anybody says so. A variable with nothing in it counts as none.
    fn text(&self) -> Option<&str> {
        self.log.as_deref().filter(|text| self.log_from != LOG_VARIABLE || directives(text).next().is_some())
    }
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
    let text = args.text().unwrap_or(default);
    let filter = filter(text).map_err(|problem| {
        let (from, text) = (args.log_from, if text.trim().is_empty() { "\"\"" } else { text });
        anyhow::anyhow!("{from} {text}: {problem}; write `debug` or `info,tidegate_runtime::delivery::worker=debug`")
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal.clone());
    match args.log_format {
        LogFormat::Text => logs
            .with_timer(SystemTime)
            .with_target(false)
            .fmt_fields(EscapedFields)
            .with_ansi(is_coloured(std::io::stderr().is_terminal(), |name| std::env::var_os(name)))
            .init(),
        LogFormat::Json => logs.fmt_fields(JsonFields::new()).event_format(JsonLines).init(),
    }
    // The usual way writes to standard error itself, and waits for whoever reads it.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or("without a word");
        tracing::error!(place, "panicked, which is a fault of tidegate's own: {words}");
    }));
    Ok(())
}

/// Whether lines have colours: on a terminal that knows them, for a person who wants them.
fn is_coloured(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let wants_none = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let knows_none = variable("TERM").is_some_and(|value| value == "dumb");
    is_terminal && !wants_none && !knows_none
}

/// The parts of a filter.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|directive| !directive.is_empty())
}

/// A level alone is meant for this program and its guests; what it is built of logs warnings, and more where asked for
/// by name. So does this program where no level stands alone. The NATS client's own lines say again what is told of the
/// connection here.
fn filter(text: &str) -> Result<EnvFilter, String> {
    if self::directives(text).next().is_none() {
        return Err("it says nothing, and to log nothing is `off`".to_owned());
    }
    let mut directives = vec!["async_nats=off".to_owned()];
    let is_of_a_part = |directive: &str| directive.contains(['=', '[', ':']);
    if self::directives(text).all(is_of_a_part) {
        directives.push(LevelFilter::WARN.to_string());
    }
    for directive in self::directives(text) {
        if is_of_a_part(directive) {
            directives.push(directive.to_owned());
        } else {
            // A word could be a target, too, whose lines are then all that is logged; a misspelt level is more likely.
            let level: LevelFilter = directive
                .parse()
                .map_err(|_| format!("`{directive}` is none of off, error, warn, info, debug, trace"))?;
            directives.extend([level.min(LevelFilter::WARN).to_string(), format!("tidegate={level}")]);
        }
    }
    EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
}

/// One object a line, in which the fields of the spans around an event stand beside its own.
struct JsonLines;

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'static str,
    target: &'a str,
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = BTreeMap::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            // Written by `JsonFields`; a span without fields has none to read.
            fields.extend(serde_json::from_str::<BTreeMap<String, Value>>(formatted).unwrap_or_default());
        }
        event.record(&mut Fields(&mut fields));
        let metadata = event.metadata();
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let line = JsonLine { timestamp, level: word(*metadata.level()), target: metadata.target(), fields };
        writeln!(out, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// Collects the fields of an event, its message among them.
struct Fields<'a>(&'a mut BTreeMap<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().trim_start_matches("r#").to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use parking_lot::Mutex;
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> Value {
        let written = Written::default();
        let writer = written.clone();
        let logs = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let logs = logs.fmt_fields(JsonFields::new()).event_format(JsonLines).finish();
        tracing::subscriber::with_default(logs, work);
        serde_json::from_slice(&written.0.lock()).unwrap()
    }

    #[test]
    fn fields_of_spans_stand_beside_those_of_the_event_and_give_way_to_them() {
        let line = logged(|| {
            let _outer = tracing::info_span!("outer", workload = "orders", worker = 1u64).entered();
            let _inner = tracing::info_span!("inner", worker = 2u64, stream_sequence = 7u64).entered();
            tracing::warn!(stream_sequence = 8u64, plugin = %"receipts", "told \"so\"\n{}", 1);
        });
        assert_eq!(line["workload"], "orders");
        assert_eq!(line["worker"], 2);
        assert_eq!(line["stream_sequence"], 8);
        assert_eq!(line["plugin"], "receipts");
        assert_eq!(line["message"], "told \"so\"\n1");
        assert_eq!(line["level"], "WARN");
    }

    fn told(work: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let logs = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let logs = logs.fmt_fields(EscapedFields).without_time().with_target(false).finish();
        tracing::subscriber::with_default(logs, work);
        String::from_utf8(written.0.lock().clone()).unwrap()
    }

    #[test]
    fn text_of_more_than_a_word_stands_in_quotes_however_it_was_recorded() {
        let lines = told(|| {
            let _span = tracing::info_span!("run", workload = "orders", worker = 1u64).entered();
            tracing::info!(name = "orders-p0", shown = %"orders-p0", empty = "", odd = "a=b", "said \"so\"");
            let (all, took) = (["a", "b"], std::time::Duration::from_secs(1));
            tracing::info!(reason = "two words", error = %"no worker=2", ?all, ?took, "told");
        });
        let first = "said \"so\" name=orders-p0 shown=orders-p0 empty=\"\" odd=\"a=b\"";
        let second = "told reason=\"two words\" error=\"no worker=2\" all=[\"a\", \"b\"] took=1s";
        let of = |fields: &str| format!(" INFO run{{workload=orders worker=1}}: {fields}\n");
        assert_eq!(lines, of(first) + &of(second));
    }

    #[test]
    fn no_text_forges_a_line() {
        let text = told(|| {
            let _span = tracing::info_span!("call", plugin = "p\nINFO forged").entered();
            tracing::warn!(context = "a\u{1b}[31m", reason = %"b\r\nERROR forged", "said\nINFO {}", "forged");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("said\\nINFO forged") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_level_alone_is_for_this_program_and_only_warnings_come_from_elsewhere() {
        let shown = |text| {
            let filter = filter(text).unwrap().to_string();
            let mut directives: Vec<String> = filter.split(',').map(str::to_owned).collect();
            directives.sort();
            directives.join(",")
        };
        assert_eq!(shown("debug"), "async_nats=off,tidegate=debug,warn");
        assert_eq!(shown("off"), "async_nats=off,off,tidegate=off");
        // What no level stands alone for is told of warnings too.
        assert_eq!(shown("nope_target=debug"), "async_nats=off,nope_target=debug,warn");
        assert_eq!(shown("info,async_nats=debug,wasmtime=info"), "async_nats=debug,tidegate=info,warn,wasmtime=info");
    }

    #[test]
    fn a_misspelt_level_is_not_taken_as_a_target() {
        for good in [
            "info",
            "INFO,tidegate_runtime::delivery::worker=debug",
            "warn, tidegate=trace",
            "tidegate::guest",
            "info,async_nats=debug",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for nothing in ["", " ", ",", " , "] {
            assert!(filter(nothing).unwrap_err().contains("`off`"), "{nothing:?}");
        }
        assert!(filter("inof").unwrap_err().contains("`inof`"));
        assert!(filter("info,tidegate=loud").is_err());
    }

    #[test]
    fn a_variable_with_nothing_in_it_counts_as_none_and_a_flag_does_not() {
        let of = |log: &str, log_from| LogArgs { log: Some(log.to_owned()), log_from, log_format: LogFormat::Text };
        for nothing in ["", " ", ","] {
            assert_eq!(of(nothing, LOG_VARIABLE).text(), None);
            assert_eq!(of(nothing, LOG_FLAG).text(), Some(nothing));
        }
        assert_eq!(of("debug", LOG_VARIABLE).text(), Some("debug"));
    }

    #[test]
    fn lines_have_colours_on_a_terminal_that_knows_them_for_a_person_who_wants_them() {
        let of = |is_terminal, set: &[(&str, &str)]| {
            let found = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
            is_coloured(is_terminal, found)
        };
        assert!(of(true, &[("TERM", "xterm"), ("NO_COLOR", "")]) && of(true, &[]));
        assert!(!of(false, &[]) && !of(true, &[("NO_COLOR", "1")]) && !of(true, &[("TERM", "dumb")]));
    }
}
