//! A policy for tests, steered by its settings.
//!
//! The README beside this crate lists the modes.

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    #[cfg(not(feature = "wit-0-1-2"))]
    wit_bindgen::generate!({ world: "policy", path: "../wit-0.1.0", generate_all });
    #[cfg(feature = "wit-0-1-2")]
    wit_bindgen::generate!({ world: "policy", path: "../wit-0.1.2", generate_all });
    export!(Policy with_types_in self);
    use super::Policy;
}

use bindings::exports::tidegate::plugin::scaling::{Decision, Guest, Observation};
use bindings::wasi::logging::logging::{Level, log};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::SystemTime;
use tidegate_guest::{
    Settings,
    state::{decode, encode},
};

/// Tells two builds of this source apart.
const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION_MAJOR"));
const FORM: &str = "probe/1";
/// More than a state may have.
const TOO_MUCH: usize = 64 * 1024 + 1;
/// As much as a state may have, nearly.
const MUCH: usize = 60 * 1024;

const MODES: &[(&str, Mode)] = &[
    ("fixed", Mode::Fixed),
    ("trap-in-init", Mode::TrapInInit),
    ("refuse", Mode::Refuse),
    ("trap", Mode::Trap),
    ("spin", Mode::Spin),
    ("grow", Mode::Grow),
    ("huge-state", Mode::HugeState),
    ("large-state", Mode::LargeState),
    ("spin-in-init", Mode::SpinInInit),
    ("third", Mode::Third),
    ("wrong-state", Mode::WrongState),
    ("huge-reason", Mode::HugeReason),
    ("count", Mode::Count),
    ("clock", Mode::Clock),
    ("random", Mode::Random),
    ("flap", Mode::Flap),
    ("max", Mode::Max),
    ("reach", Mode::Reach),
    ("log", Mode::Log),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Fixed,
    TrapInInit,
    Refuse,
    Trap,
    Spin,
    Grow,
    HugeState,
    LargeState,
    SpinInInit,
    Third,
    WrongState,
    HugeReason,
    Count,
    Clock,
    Random,
    Flap,
    Max,
    Reach,
    Log,
}

/// The settings, and how often `decide` was called.
#[derive(Debug, PartialEq)]
struct Probe {
    mode: Mode,
    desired: u32,
    after: u64,
    calls: u64,
}

impl Probe {
    fn read(mut settings: Settings) -> Result<Self, String> {
        let probe = Self {
            mode: settings.take_choice("mode", Mode::Fixed, MODES)?,
            desired: settings.take_u32("desired", 1, 0..=u32::MAX)?,
            after: settings.take_u64("after", 0, 0..=u64::MAX)?,
            calls: settings.take_u64("calls", 0, 0..=u64::MAX)?,
        };
        settings.finish()?;
        Ok(probe)
    }

    fn state(&self) -> Vec<u8> {
        let mode = MODES.iter().find(|(_, mode)| *mode == self.mode).map_or("fixed", |(word, _)| word);
        encode(
            FORM,
            &[
                ("mode", mode.to_owned()),
                ("desired", self.desired.to_string()),
                ("after", self.after.to_string()),
                ("calls", self.calls.to_string()),
            ],
        )
    }

    fn decide(&self, now_ms: u64) -> (u32, String) {
        let mode = if self.calls > self.after { self.mode } else { Mode::Fixed };
        match mode {
            Mode::Fixed
            | Mode::TrapInInit
            | Mode::SpinInInit
            | Mode::Refuse
            | Mode::HugeState
            | Mode::LargeState
            | Mode::WrongState => (self.desired, "fixed".to_owned()),
            Mode::Trap => std::process::abort(),
            Mode::Third if (now_ms / 100).is_multiple_of(3) => std::process::abort(),
            Mode::Third => (self.desired, "third".to_owned()),
            Mode::HugeReason => (self.desired, "x".repeat(1 << 20)),
            Mode::Spin => spin(),
            Mode::Grow => grow(),
            Mode::Count => (u32::try_from(self.calls).unwrap_or(u32::MAX), format!("call {}", self.calls)),
            Mode::Clock => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                ((since.as_millis() % 100) as u32, format!("clock {}", since.as_millis()))
            }
            Mode::Random => {
                // One of the world's random numbers that may be insecure, and one that must not be.
                let (number, secure) = (RandomState::new().hash_one(0), getrandom::u64().unwrap_or(0));
                ((number % 100) as u32, format!("random {number} {secure}"))
            }
            Mode::Flap if self.calls % 2 == 1 => (self.desired, "up".to_owned()),
            Mode::Flap => (0, "down".to_owned()),
            Mode::Max => (u32::MAX, "max".to_owned()),
            Mode::Reach => (self.desired, reach()),
            Mode::Log => {
                log(Level::Info, "probe", &format!("call {}", self.calls));
                (self.desired, "logged".to_owned())
            }
        }
    }
}

struct Policy;

impl Guest for Policy {
    fn init(settings: Vec<(String, String)>, previous: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        let mut probe = Probe::read(Settings::new(settings)?)?;
        match probe.mode {
            Mode::TrapInInit => std::process::abort(),
            Mode::SpinInInit => spin(),
            Mode::Refuse => return Err(format!("mode = \"refuse\": {VERSION} refuses to start")),
            _ => {}
        }
        let before = previous.and_then(|state| Probe::read(decode(FORM, &state)?).ok());
        if let Some(before) = before {
            probe.calls = before.calls;
        }
        Ok(probe.state())
    }

    fn decide(observation: Observation, state: Vec<u8>) -> Decision {
        let Some(Ok(mut probe)) = decode(FORM, &state).map(Probe::read) else {
            return Decision { desired: observation.running, reason: format!("{VERSION} not my state"), state };
        };
        probe.calls += 1;
        let (desired, reason) = probe.decide(observation.now_ms);
        let mut state = probe.state();
        if probe.mode == Mode::HugeState && probe.calls > probe.after {
            state.resize(TOO_MUCH, b' ');
        }
        if probe.mode == Mode::LargeState && probe.calls > probe.after {
            state.resize(MUCH, b' ');
        }
        if probe.mode == Mode::WrongState && probe.calls > probe.after {
            state.fill(0xff);
        }
        Decision { desired, reason: format!("{VERSION} {reason}"), state }
    }
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn grow() -> ! {
    loop {
        std::mem::forget(black_box(vec![1_u8; 1 << 20]));
    }
}

/// What is there of a file, the environment and the network.
fn reach() -> String {
    let file = std::fs::read_to_string("/etc/passwd").is_ok();
    let network = std::net::TcpStream::connect("127.0.0.1:4222").is_ok();
    let (arguments, variables) = (std::env::args().count(), std::env::vars().count());
    format!("file {file} network {network} arguments {arguments} variables {variables}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn init(settings: &[(&str, &str)], previous: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        Policy::init(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), previous)
    }

    fn decide(state: Vec<u8>) -> Decision {
        let observation = Observation {
            now_ms: 0,
            running: 5,
            min: 0,
            max: 64,
            idle_ms: None,
            arrival_rate: 0.0,
            mean_arrival_rate: 0.0,
            completion_rate: 0.0,
            pending: 0,
            ack_pending: 0,
            redelivered: 0,
            oldest_pending_ms: None,
            failure_ratio: 0.0,
            busy_ratio: 0.0,
            service_time_ms: 0.0,
        };
        Policy::decide(observation, state)
    }

    #[test]
    fn every_mode_comes_back_from_the_state() {
        for (_, mode) in MODES {
            let probe = Probe { mode: *mode, desired: 3, after: 2, calls: 1 };
            assert_eq!(Probe::read(decode(FORM, &probe.state()).unwrap()), Ok(probe));
        }
    }

    #[test]
    fn calls_are_counted_over_a_new_version() {
        let first = decide(init(&[("mode", "count")], None).unwrap());
        assert_eq!((first.desired, first.reason.as_str()), (1, "v1 call 1"));
        let next = decide(init(&[("mode", "count")], Some(first.state)).unwrap());
        assert_eq!(next.desired, 2);
    }

    #[test]
    fn a_fault_may_begin_after_some_calls() {
        let good = decide(init(&[("mode", "huge-state"), ("after", "1"), ("desired", "4")], None).unwrap());
        assert_eq!((good.desired, good.state.len() < 100), (4, true));
        assert_eq!(decide(good.state).state.len(), TOO_MUCH);
    }

    #[test]
    fn a_refusal_and_a_wrong_mode_are_errors() {
        assert_eq!(init(&[("mode", "refuse")], None).unwrap_err(), "mode = \"refuse\": v1 refuses to start");
        assert!(init(&[("mode", "dance")], None).unwrap_err().contains("must be one of fixed, trap-in-init"));
    }
}
