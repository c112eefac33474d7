//! Makes a [`Fault`] of wasmtime's error.

use std::fmt::Write as _;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::guest::Guest;
use super::source_lines::SourceLines;
use super::told_text::{brief, cut, one_line};
use crate::config::Limits;
use crate::contract::Fault;

/// How many functions of the guest's stack a fault names.
const FRAMES: usize = 4;
/// Bytes of the guest's last output on standard error that a fault repeats.
const LAST_WORDS: usize = 512;
/// Bytes of any other text that a guest may choose.
const TEXT: usize = 1 << 10;
/// Bytes of a function's name.
const NAME: usize = 128;

/// The fault that an error of a guest's call means. `last_words` is what the guest wrote to standard error in this
/// call.
pub(crate) fn classify(error: &wasmtime::Error, guest: &Guest, limits: &Limits, last_words: &str) -> Fault {
    let Guest { quota, lines, .. } = guest;
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        return Fault::Fuel(limits.fuel);
    }
    if let Some(limit) = quota.refused_memory() {
        return Fault::Memory(u64::try_from(limit).unwrap_or(u64::MAX));
    }
    if handed_too_much(error) {
        return Fault::Response(u64::try_from(limits.response).unwrap_or(u64::MAX));
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    if trap.is_none() && backtrace.is_none() {
        // No guest code was on the stack: the host failed to read what the guest returned.
        return Fault::Answer(brief(&format!("{error:#}"), TEXT));
    }
    let mut text = reason(error, trap);
    if let Some(backtrace) = backtrace {
        frames(&mut text, backtrace, lines.as_deref());
    }
    let last_words = one_line(last_words);
    if !last_words.is_empty() {
        let _ = write!(text, "; it wrote: {}", cut(&last_words, LAST_WORDS));
    }
    match quota.refused_elements() {
        Some(limit) => Fault::Table { limit: u64::try_from(limit).unwrap_or(u64::MAX), trap: text },
        None => Fault::Trap(text),
    }
}

/// Whether the guest wanted to hand over more at once than the store allows. The type of wasmtime's error is private,
/// so its text is compared.
fn handed_too_much(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

/// What a component has too much of to be instantiated, in words. The type of wasmtime's error is private, so its text
/// is read.
fn too_many(error: &wasmtime::Error, limit: usize) -> Option<String> {
    let text = error.root_cause().to_string();
    let (what, _) = text.strip_prefix("resource limit exceeded: ")?.split_once(" count too high")?;
    let what = match what {
        "memory" => "memories",
        "table" => "tables",
        _ => "core instances",
    };
    Some(format!(
        "all its parts together, with the adapters between them, have more than the {limit} {what} that \
         limits.instances allows"
    ))
}

/// What the system refuses while an instance is made, by its words, and what mends it. It is no fault of the guest, and
/// may pass. Its memory is mapped from a file in memory, which is held to the limits of files too.
const OF_SYSTEM: [(&[&str], &str, &str); 3] = [
    (
        &["os error 12)", "annot allocate memory", "mmap failed"],
        "the system has no memory for it",
        "see `ulimit -v` (LimitAS of a unit) and vm.max_map_count",
    ),
    (
        &["os error 27)"],
        "the system lets no file be as large as its memory, which is mapped from one",
        "raise `ulimit -f` (LimitFSIZE of a unit)",
    ),
    (&["os error 23)", "os error 24)"], "the system opens no more files", "raise `ulimit -n` (LimitNOFILE of a unit)"),
];

/// The fault of what the system refuses, if it does. `text` is the host's and not the guest's.
fn of_system(text: &str) -> Option<Fault> {
    let is = |(words, ..): &&(&[&str], &str, &str)| words.iter().any(|words| text.contains(words));
    let (_, refused, remedy) = OF_SYSTEM.iter().find(is)?;
    Some(Fault::Room(format!("{refused}: {text}; {remedy}")))
}

/// The fault that an error means while an instance is made.
pub(crate) fn classify_start(error: &wasmtime::Error, guest: &Guest, limits: &Limits, last_words: &str) -> Fault {
    if let Some(why) = too_many(error, limits.instances) {
        return Fault::Start(why);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Room("all places of the pool are taken".into());
    }
    match classify(error, guest, limits, last_words) {
        Fault::Trap(text) => Fault::Start(format!("trapped: {text}")),
        Fault::Answer(text) => of_system(&text).unwrap_or(Fault::Start(text)),
        other => other,
    }
}

fn reason(error: &wasmtime::Error, trap: Option<&Trap>) -> String {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return format!("it called exit with status {}", exit.0);
    }
    match trap {
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        // The error of a host function. The context around it is the backtrace, which follows below.
        None => brief(&error.root_cause().to_string(), TEXT),
    }
}

fn frames(text: &mut String, backtrace: &WasmBacktrace, lines: Option<&SourceLines>) {
    let frames = backtrace.frames().iter().filter_map(|frame| Some((frame, readable(frame.func_name()?)?)));
    let mut told: Vec<String> = frames
        .map(|(frame, name)| {
            let start = || frame.module_offset()?.checked_sub(frame.func_offset()?);
            let line = lines.and_then(|lines| lines.at(start()?, frame.module_offset()?));
            brief(&name, NAME) + &line.map(|line| format!(" ({line})")).unwrap_or_default()
        })
        .collect();
    // A recursive function is named once.
    told.dedup();
    told.truncate(FRAMES);
    if !told.is_empty() {
        let _ = write!(text, " in {}", told.join(" < "));
    }
}

/// The name of a function as its author wrote it. `None` for machinery.
fn readable(symbol: &str) -> Option<String> {
    // The alternate form leaves out the symbol's hash.
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    (!is_machinery(&name)).then_some(name)
}

/// Whether a function is on every stack and says nothing: Rust's panic machinery, and generated bindings.
fn is_machinery(name: &str) -> bool {
    ["std::", "core::", "__rust", "tidegate:plugin/"].iter().any(|start| name.starts_with(start))
        || name.contains("::_export_")
        || name == "abort"
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn generated_functions_are_machinery_and_the_guests_own_are_not() {
        assert!(is_machinery("core::panicking::panic_fmt"));
        assert!(is_machinery("tidegate:plugin/handler@0.1.0#handle"));
        assert!(!is_machinery("receipts::price::of"));
    }

    #[test]
    fn what_the_system_refuses_is_no_room_and_is_told_with_what_mends_it() {
        let limits = [(Errno::FBIG, "-f"), (Errno::MFILE, "-n"), (Errno::NFILE, "-n"), (Errno::NOMEM, "-v")];
        for (errno, limit) in limits {
            let fault = of_system(&format!("no memory image: {}", std::io::Error::from(errno)));
            assert!(
                matches!(&fault, Some(Fault::Room(told)) if told.contains(&format!("`ulimit {limit}`"))),
                "{fault:?}"
            );
        }
        for why in ["it is odd (os error 9999)", "(os error -1)", "(os error 127)"] {
            assert_eq!(of_system(why), None);
        }
    }
}
