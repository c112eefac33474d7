//! What a file is, read from its bytes before anything is compiled. Pure.

use wasmparser::{Encoding, Parser, Payload};

/// The contract's package and the version of it that this host speaks.
const PACKAGE: &str = "tidegate:plugin";
const VERSION: (&str, &str) = ("0.1.", "0.1.0");
const MAGIC: &[u8] = b"\0asm";
/// What is compiled at most: a compiler takes some 7 KiB of memory a function, and more than linear time for a long
/// one. A Python interpreter has a tenth of this.
const FUNCTIONS: u32 = 100_000;
const CODE_BYTES: u32 = 64 << 20;
const FUNCTION_BYTES: usize = 1 << 20;

/// What a workload can use a plugin as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It exports `handler`.
    Handler,
    /// It exports `scaling`.
    Policy,
    /// It exports both and serves as either.
    Both,
}

impl Kind {
    /// Whether a plugin of this kind can be used as `wanted`.
    pub fn serves(self, wanted: Kind) -> bool {
        self == Kind::Both || self == wanted
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handler => "a handler",
            Self::Policy => "a policy",
            Self::Both => "a handler and a policy",
        })
    }
}

/// A component of this contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What it can be used as.
    pub kind: Kind,
    /// The names of its imports, as in `wasi:cli/stdout@0.2.3`.
    pub imports: Vec<String>,
}

/// Why bytes are no plugin of this contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// There is nothing.
    #[error("it is empty; write a component to it")]
    Empty,
    /// Characters and not code.
    #[error("it is text, not a component; build it for wasm32-wasip2 and copy the .wasm file")]
    Text,
    /// Some other file.
    #[error("it is not WebAssembly; build it for wasm32-wasip2 and copy the .wasm file")]
    NotWasm,
    /// A module of the core language.
    #[error("it is a core module, not a component; build it for wasm32-wasip2")]
    CoreModule,
    /// It ends in the middle.
    #[error("it ends in the middle, at byte {0}; it was not copied whole, so copy it again")]
    Incomplete(usize),
    /// It begins as a component and goes on as something else.
    #[error("it is damaged: {0}; build it again")]
    Malformed(String),
    /// Compiling it would take more than a host should spend on it.
    #[error("it has {0}; build it optimized for size, with less in it")]
    TooMuchCode(String),
    /// It speaks another version of the contract.
    #[error("it was built for {found}, and this host speaks {PACKAGE}@{}; build it again with this host's wit/", VERSION.1)]
    OtherVersion {
        /// The package and version it was built for.
        found: String,
    },
    /// It is a component of some other world.
    #[error(
        "it exports neither {PACKAGE}/handler nor {PACKAGE}/scaling{}; build it for the world `worker` or `policy` \
         of this host's wit/", exports_text(.exports)
    )]
    OtherWorld {
        /// What it exports instead.
        exports: Vec<String>,
    },
}

fn exports_text(exports: &[String]) -> String {
    if exports.is_empty() { " (it exports nothing)".into() } else { format!(" but {}", exports.join(", ")) }
}

impl KindError {
    /// Whether the file may only be half written. Some prefixes of a component are components that lack exports.
    pub fn may_be_half_written(&self) -> bool {
        match self {
            Self::Empty | Self::Incomplete(_) => true,
            Self::OtherWorld { exports } => exports.is_empty(),
            _ => false,
        }
    }
}

/// Reads what a file is.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, KindError> {
    preamble(bytes)?;
    let mut found = Found::default();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| unparsable(&error, bytes.len()))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(KindError::CoreModule),
            // Each nested module or component ends with a payload of its own.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, size, .. } => found.code.add(count, size)?,
            Payload::CodeSectionEntry(body) => check_function(body.as_bytes().len())?,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| unparsable(&error, bytes.len()))?;
                    found.imports.push(import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| unparsable(&error, bytes.len()))?;
                    found.exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    found.judge()
}

fn preamble(bytes: &[u8]) -> Result<(), KindError> {
    if bytes.is_empty() {
        Err(KindError::Empty)
    } else if bytes.starts_with(MAGIC) {
        Ok(())
    } else if MAGIC.starts_with(bytes) {
        Err(KindError::Incomplete(bytes.len()))
    } else if bytes.iter().take(512).all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace()) {
        Err(KindError::Text)
    } else {
        Err(KindError::NotWasm)
    }
}

fn unparsable(error: &wasmparser::BinaryReaderError, length: usize) -> KindError {
    // What the parser misses at the very end would have come after it.
    if error.offset() >= length || error.message().contains("unexpected end") {
        KindError::Incomplete(length)
    } else {
        KindError::Malformed(error.to_string())
    }
}

/// The code of all core modules together.
#[derive(Default)]
struct Code {
    functions: u32,
    bytes: u32,
}

impl Code {
    fn add(&mut self, functions: u32, bytes: u32) -> Result<(), KindError> {
        self.functions = self.functions.saturating_add(functions);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.functions > FUNCTIONS {
            return Err(KindError::TooMuchCode(format!("more than {FUNCTIONS} functions")));
        }
        if self.bytes > CODE_BYTES {
            return Err(KindError::TooMuchCode(format!("more than {} MiB of code", CODE_BYTES >> 20)));
        }
        Ok(())
    }
}

fn check_function(bytes: usize) -> Result<(), KindError> {
    if bytes > FUNCTION_BYTES {
        return Err(KindError::TooMuchCode(format!("a function of {bytes} bytes")));
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    code: Code,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Found {
    fn judge(self) -> Result<Inspection, KindError> {
        let (mut handler, mut policy, mut other) = (false, false, None);
        for name in &self.exports {
            let Some((interface, version)) = of_contract(name) else {
                continue;
            };
            if !version.starts_with(VERSION.0) {
                other = Some(if version.is_empty() { PACKAGE.to_owned() } else { format!("{PACKAGE}@{version}") });
                continue;
            }
            handler |= interface == "handler";
            policy |= interface == "scaling";
        }
        let kind = match (handler, policy, other) {
            (true, true, _) => Kind::Both,
            (true, false, _) => Kind::Handler,
            (false, true, _) => Kind::Policy,
            (false, false, Some(found)) => return Err(KindError::OtherVersion { found }),
            (false, false, None) => {
                return Err(KindError::OtherWorld { exports: self.exports });
            }
        };
        Ok(Inspection { kind, imports: self.imports })
    }
}

/// The interface and version in `tidegate:plugin/<interface>@<version>`.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    fn exporting(names: &[&str]) -> Vec<u8> {
        let exports: String = names.iter().map(|name| format!("(export \"{name}\" (instance 0))")).collect();
        component(&format!(
            "(component (import \"wasi:cli/stdout@0.2.3\" (instance)) (component (export \"inner\" (component 0)) (component)) \
             (core module (func (export \"f\"))) {exports})"
        ))
    }

    #[test]
    fn the_kind_is_read_from_the_exports() {
        let handler = inspect(&exporting(&["tidegate:plugin/handler@0.1.0"])).unwrap();
        assert_eq!(handler.kind, Kind::Handler);
        assert_eq!(handler.imports, ["wasi:cli/stdout@0.2.3"]);
        assert_eq!(inspect(&exporting(&["tidegate:plugin/scaling@0.1.0"])).unwrap().kind, Kind::Policy);
        let both = exporting(&["tidegate:plugin/scaling@0.1.0", "tidegate:plugin/handler@0.1.3"]);
        assert_eq!(inspect(&both).unwrap().kind, Kind::Both);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let error = inspect(&exporting(&["tidegate:plugin/handler@0.2.0"])).unwrap_err();
        assert_eq!(error, KindError::OtherVersion { found: "tidegate:plugin@0.2.0".into() });
        assert!(error.to_string().contains("this host speaks tidegate:plugin@0.1.0"), "{error}");
    }

    #[test]
    fn another_world_is_refused_with_what_it_exports() {
        let error = inspect(&exporting(&["wasi:cli/run@0.2.0"])).unwrap_err();
        assert!(error.to_string().contains("but wasi:cli/run@0.2.0"), "{error}");
        assert!(!error.may_be_half_written());
    }

    #[test]
    fn what_is_no_component_is_named() {
        assert_eq!(inspect(b""), Err(KindError::Empty));
        assert_eq!(inspect(b"<html>not found</html>"), Err(KindError::Text));
        assert_eq!(inspect("(component) ; ünïcode".as_bytes()), Err(KindError::Text));
        assert_eq!(inspect(b"\x7fELF\x02\x01\x01\0"), Err(KindError::NotWasm));
        assert_eq!(inspect(b"\0as"), Err(KindError::Incomplete(3)));
        assert_eq!(inspect(&component("(module)")), Err(KindError::CoreModule));
        assert_eq!(inspect(&component("(component)")), Err(KindError::OtherWorld { exports: vec![] }));
    }

    #[test]
    fn a_compile_bomb_is_refused_before_it_is_compiled() {
        let refused = |functions: &str| {
            let error = inspect(&component(&format!("(component (core module {functions}))"))).unwrap_err();
            assert!(matches!(error, KindError::TooMuchCode(_)), "{error}");
        };
        refused(&"(func)".repeat(100_001));
        refused(&format!("(func {})", "nop ".repeat(1 << 20)));
    }

    #[test]
    fn no_prefix_without_the_exports_passes() {
        let whole = exporting(&["tidegate:plugin/handler@0.1.0"]);
        for length in 0..whole.len() {
            match inspect(whole.get(..length).unwrap()) {
                // Only the section with names may be cut off.
                Ok(found) => assert_eq!(found.kind, Kind::Handler),
                Err(error) => assert!(error.may_be_half_written(), "{length}: {error}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_mutation_panics(at in 0usize..400, byte: u8, cut in 0usize..400) {
            let mut bytes = exporting(&["tidegate:plugin/handler@0.1.0"]);
            let length = bytes.len();
            if let Some(target) = bytes.get_mut(at % length) {
                *target = byte;
            }
            bytes.truncate(length - cut % length);
            let _ = inspect(&bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = inspect(&bytes);
            let _ = inspect(&[MAGIC, &[0x0d, 0, 1, 0], &bytes].concat());
        }
    }
}
