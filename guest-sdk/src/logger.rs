//! The `log` crate's lines, for the host.

use log::{Log, Metadata, Record};

struct Logger;

/// Makes it the logger of this instance. It may be called again.
pub(crate) fn install() {
    // What is not wanted the host leaves out: it knows, and it can be told otherwise while it runs.
    if log::set_logger(&Logger).is_ok() && log::max_level() == log::LevelFilter::Off {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        crate::log(level(record.level()), record.target(), &record.args().to_string());
    }

    fn flush(&self) {}
}

fn level(level: log::Level) -> crate::Level {
    match level {
        log::Level::Error => crate::Level::Error,
        log::Level::Warn => crate::Level::Warn,
        log::Level::Info => crate::Level::Info,
        log::Level::Debug => crate::Level::Debug,
        log::Level::Trace => crate::Level::Trace,
    }
}
