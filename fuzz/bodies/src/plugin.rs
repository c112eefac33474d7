use std::cell::RefCell;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use tidegate_artifacts::{policies, workers};
use tidegate_test_artifacts::probes;

use super::guests;
use super::lab::{FuzzLab, limits};
use tidegate_runtime::contract::Delivery;
use tidegate_runtime::plugin::{
    HandlerPlugin, Kind, PluginRefusal, PolicyContext, PolicyPlugin, WorkerContext, inspect,
};

/// What is changed.
const REAL: [&[u8]; 4] = [workers::ECHO, policies::STEP, probes::POLICY_V1, probes::OTHER_VERSION];

thread_local! {
    static LAB: RefCell<FuzzLab> = RefCell::new(FuzzLab::new());
}

/// Any bytes as a plugin's file: it is refused with a reason, or becomes a generation that spends no more than it may.
pub fn plugin(bytes: &[u8]) {
    // Bytes that do not suffice are as good as none.
    let Ok(file) = file(&mut Unstructured::new(bytes)) else { return };
    LAB.with_borrow(|lab| load(lab, &file));
}

/// The first byte says what the rest means.
fn file(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match u8::arbitrary(u)? {
        0 => rest(u),
        // As a seed can be read: `1` and the text of a core module.
        b'1' => {
            let text = String::from_utf8_lossy(&rest(u)?).into_owned();
            wat::parse_str(format!("(module {text})"))
                .map(|module| guests::around(&module))
                .map_err(|_| arbitrary::Error::IncorrectFormat)
        }
        2..=100 => changed(u),
        other => smith(other, u),
    }
}

fn rest(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    u.bytes(u.len()).map(<[u8]>::to_vec)
}

/// A component of this repository, with a few of its bytes changed, or cut off.
fn changed(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut file = u.choose(&REAL)?.to_vec();
    for _ in 0..u.int_in_range(0..=8)? {
        let at = u.int_in_range(0..=file.len() - 1)?;
        match u.int_in_range(0..=3)? {
            0 => file[at] = u8::arbitrary(u)?,
            1 => file[at] ^= 1 << u.int_in_range(0..=7)?,
            2 => drop(file.splice(at..at, Vec::<u8>::arbitrary(u)?)),
            _ => drop(file.drain(at..(at + u.int_in_range(0..=64)?).min(file.len()))),
        }
        if file.is_empty() {
            break;
        }
    }
    if u.ratio(1, 8)? {
        file.truncate(u.int_in_range(0..=file.len())?);
    }
    Ok(file)
}

/// What wasm-smith makes: any component, or a module in the shape of a handler, which is also run. Unit tests have no
/// wasm-smith, so what is found there becomes a seed as the bytes of its file.
#[cfg(feature = "smith")]
fn smith(which: u8, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut config = wasm_smith::Config::arbitrary(u)?;
    config.memory64_enabled = false;
    config.allow_start_export = true;
    if which < 150 {
        return Ok(wasm_smith::Component::new(config, u)?.to_bytes());
    }
    config.module_shape = Some(wat::parse_str(format!("(module {})", guests::EXPORTS)).unwrap());
    Ok(guests::around(&wasm_smith::Module::new(config, u)?.to_bytes()))
}

#[cfg(not(feature = "smith"))]
fn smith(_: u8, _: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Err(arbitrary::Error::IncorrectFormat)
}

fn load(lab: &FuzzLab, file: &[u8]) {
    let spent = Spent::begin();
    let found = inspect(file);
    let limits = limits(Duration::from_millis(200));
    lab.runtime.block_on(async {
        let handler: Result<HandlerPlugin, PluginRefusal> = lab.host.load_bytes(file, &limits).await;
        match handler {
            Ok(plugin) => {
                assert!(found.as_ref().unwrap().kind.serves(Kind::Handler));
                let context = WorkerContext::new("".into(), 1, [].into(), limits.clone());
                if let Ok(mut instance) = plugin.instantiate(&context).await {
                    let delivery = Delivery { subject: "a".into(), payload: "ok".into(), ..Delivery::default() };
                    let _ = instance.handle(&delivery).await;
                }
            }
            Err(refusal) => told(&refusal),
        }
        let policy: Result<PolicyPlugin, PluginRefusal> = lab.host.load_bytes(file, &limits).await;
        match policy {
            Ok(plugin) => {
                assert!(found.as_ref().unwrap().kind.serves(Kind::Policy));
                let _ = plugin.init(&PolicyContext::new("".into(), limits.clone()), &[], None).await;
            }
            Err(refusal) => told(&refusal),
        }
    });
    spent.check(file.len());
}

/// The CPU time of this process: on a busy machine, time passes without anything being done. Unit tests run beside
/// others, and do not measure.
struct Spent(#[cfg(feature = "smith")] i64);

#[cfg(feature = "smith")]
impl Spent {
    /// Seconds that loading a plugin may take: more than it does, and less than anybody would wait.
    const MOST: i64 = 10;

    fn begin() -> Self {
        Self(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec)
    }

    fn check(self, bytes: usize) {
        let spent = Self::begin().0 - self.0;
        assert!(spent <= Self::MOST, "{bytes} bytes took {spent} s");
    }
}

#[cfg(not(feature = "smith"))]
impl Spent {
    fn begin() -> Self {
        Self()
    }

    fn check(self, _: usize) {}
}

fn told(refusal: &PluginRefusal) {
    assert!(!refusal.to_string().is_empty());
    assert!(!matches!(refusal, PluginRefusal::Stopping), "{refusal}");
}
