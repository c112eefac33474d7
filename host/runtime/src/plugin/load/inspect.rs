//! Finds out what a file is, from its bytes, before anything is compiled. Pure.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentImport, ComponentOuterAliasKind, ComponentType, ComponentTypeRef,
    Encoding, InstanceTypeDeclaration, Parser, Payload, TypeBounds,
};

use super::declaration_count::{DeclarationCounter, Stop};
use super::kind_error::{KindError, MESSAGING, MESSAGING_VERSION, PACKAGE, STREAMED_VERSION, VERSION};
use crate::plugin::limits::component::{NAME_BYTES, NAMES};
use crate::plugin::run::declared::Declared;
use crate::plugin::run::kind::Kind;
use crate::plugin::run::told_text::brief;

const MAGIC: &[u8] = b"\0asm";

/// A component of this contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What the component can be used as.
    pub kind: Kind,
    /// Whether it is used as a handler of batches: it exports `batch-handler`, and maybe `handler` too.
    pub batches: bool,
    /// Whether it is a handler of the asynchronous form: it exports `async-handler`, or `wasmcloud:messaging/handler`
    /// in that form, which is used then.
    pub asynchronous: bool,
    /// Whether it is a handler by `wasmcloud:messaging/handler` alone.
    pub messages: bool,
    /// The names of its exports, as in `tidegate:plugin/handler@0.1.0`.
    pub exports: Vec<String>,
    /// The names of its imports, as in `wasi:cli/stdout@0.2.3`.
    pub imports: Vec<String>,
    /// The imports that a host must have. The others only name types.
    pub needs: Vec<String>,
    /// What an instance of the component begins with.
    pub declared: Declared,
}

/// Reads what a file is. Reading ends where a file declares too much.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, KindError> {
    preamble(bytes)?;
    let mut counter = DeclarationCounter::default();
    let mut found = ComponentNames::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| unparsable(&error, bytes.len()))?;
        if matches!(payload, Payload::Version { encoding: Encoding::Module, .. }) && counter.is_at_start() {
            return Err(KindError::CoreModule);
        }
        let stopped = |stop| match stop {
            Stop::TooMuch(what) => KindError::TooMuch(what),
            Stop::Unreadable(error) => unparsable(&error, bytes.len()),
        };
        counter.take(&payload).map_err(stopped)?;
        if counter.depth() == 0 {
            found.take(&payload).map_err(stopped)?;
        }
    }
    found.judge(&counter)
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
    // The parser misses something at the very end, so the file is cut off there.
    if error.offset() >= length || error.message().contains("unexpected end") {
        KindError::Incomplete(length)
    } else {
        KindError::Malformed(brief(&error.to_string(), 300))
    }
}

#[derive(Default)]
struct ComponentNames {
    imports: Vec<String>,
    needs: Vec<String>,
    exports: Vec<String>,
    /// For each type of the component, whether an import of that type needs something of the host.
    types: Vec<bool>,
}

fn checked(name: &str) -> Result<String, Stop> {
    match name.len() {
        bytes if bytes > NAME_BYTES => Err(Stop::TooMuch(format!("a name of {bytes} bytes"))),
        _ => Ok(name.to_owned()),
    }
}

fn few(names: &[String], more: u32, what: &str) -> Result<(), Stop> {
    match names.len().saturating_add(usize::try_from(more).unwrap_or(usize::MAX)) {
        0..=NAMES => Ok(()),
        _ => Err(Stop::TooMuch(format!("more than {NAMES} {what} of its own"))),
    }
}

impl ComponentNames {
    /// Reads a section of the component itself.
    fn take(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::ComponentTypeSection(section) => {
                for ty in section.clone() {
                    self.types.push(is_needy(&ty?));
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if let ComponentAlias::InstanceExport { kind: ComponentExternalKind::Type, .. }
                    | ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } = alias?
                    {
                        self.types.push(true);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                few(&self.imports, section.count(), "imports")?;
                for import in section.clone() {
                    self.import(&import?)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                few(&self.exports, section.count(), "exports")?;
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Type {
                        self.types.push(self.type_is_needy(export.index));
                    }
                    self.exports.push(checked(export.name.name)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &ComponentImport<'_>) -> Result<(), Stop> {
        let name = checked(import.name.name)?;
        let needy = match import.ty {
            ComponentTypeRef::Instance(index) => self.type_is_needy(index),
            ComponentTypeRef::Type(TypeBounds::Eq(_)) => false,
            _ => true,
        };
        if let ComponentTypeRef::Type(_) = import.ty {
            self.types.push(true);
        }
        if needy {
            self.needs.push(name.clone());
        }
        self.imports.push(name);
        Ok(())
    }

    fn type_is_needy(&self, index: u32) -> bool {
        usize::try_from(index).ok().and_then(|index| self.types.get(index)).is_none_or(|needy| *needy)
    }

    fn judge(self, counter: &DeclarationCounter) -> Result<Inspection, KindError> {
        let (mut handler, mut batches, mut asynchronous) = (false, false, false);
        let (mut messages, mut streamed, mut policy, mut other) = (false, false, false, None);
        for name in &self.exports {
            let is_of = |package, versions: &str| {
                let (interface, version) = of_package(package, name)?;
                Some((interface, version.starts_with(versions), of(package, version)))
            };
            match (is_of(PACKAGE, VERSION.0), is_of(MESSAGING, MESSAGING_VERSION.0)) {
                (Some((_, false, found)), _) => other = Some(KindError::OtherVersion { found }),
                (Some((interface, true, _)), _) => {
                    handler |= interface == "handler";
                    batches |= interface == "batch-handler";
                    asynchronous |= interface == "async-handler";
                    policy |= interface == "scaling";
                }
                (None, Some(("handler", is_first, found))) => match released(STREAMED_VERSION.0, name) {
                    true => streamed = true,
                    false if is_first => messages = true,
                    false => other = other.or(Some(KindError::OtherMessaging { found })),
                },
                (None, _) => {}
            }
        }
        let ours = handler || batches || asynchronous;
        let kind = match (ours || messages || streamed, policy, other) {
            (true, true, _) => Kind::Both,
            (true, false, _) => Kind::Handler,
            (false, true, _) => Kind::Policy,
            (false, false, Some(other)) => return Err(other),
            (false, false, None) => {
                return Err(KindError::OtherWorld { exports: self.exports });
            }
        };
        let messages = !ours && (messages || streamed);
        let asynchronous = asynchronous || !ours && streamed;
        if counter.is_async() && !asynchronous {
            return Err(KindError::Async);
        }
        let (batches, declared) = (batches && !asynchronous, counter.declared());
        let (exports, imports, needs) = (self.exports, self.imports, self.needs);
        Ok(Inspection { kind, batches, asynchronous, messages, exports, imports, needs, declared })
    }
}

/// Whether an import of this type needs something of the host. An instance that has only types needs nothing.
fn is_needy(ty: &ComponentType<'_>) -> bool {
    let ComponentType::Instance(declarations) = ty else { return true };
    declarations.iter().any(|declaration| match declaration {
        InstanceTypeDeclaration::Export { ty, .. } => !matches!(ty, ComponentTypeRef::Type(TypeBounds::Eq(_))),
        _ => false,
    })
}

/// Whether the version in `<package>/<interface>@<version>` begins so, and is no draft.
fn released(versions: &str, name: &str) -> bool {
    name.split_once('@').is_some_and(|(_, version)| version.starts_with(versions) && !version.contains('-'))
}

/// The interface and version in `<package>/<interface>@<version>`.
fn of_package<'n>(package: &str, name: &'n str) -> Option<(&'n str, &'n str)> {
    let rest = name.strip_prefix(package)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

/// A package and a version of it.
fn of(package: &str, version: &str) -> String {
    if version.is_empty() { package.to_owned() } else { brief(&format!("{package}@{version}"), 100) }
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
            "(component (import \"wasi:cli/stdout@0.2.3\" (instance)) (component (export \"inner\" (component 0)) \
             (component)) (core module (func (export \"f\"))) {exports})"
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
    fn a_handler_of_batches_is_told_from_one_of_single_deliveries() {
        let batches = |exports: &[&str]| inspect(&exporting(exports)).map(|found| (found.kind, found.batches)).unwrap();
        let (single, batch) = ("tidegate:plugin/handler@0.1.0", "tidegate:plugin/batch-handler@0.1.1");
        assert_eq!(batches(&[single]), (Kind::Handler, false));
        assert_eq!(batches(&[batch]), (Kind::Handler, true));
        assert_eq!(batches(&[single, batch]), (Kind::Handler, true));
    }

    #[test]
    fn a_handler_of_messages_is_one_unless_it_is_one_of_the_contract_too() {
        let messages = |exports: &[&str]| inspect(&exporting(exports)).map(|found| (found.kind, found.messages));
        let (own, theirs) = ("tidegate:plugin/handler@0.1.0", "wasmcloud:messaging/handler@0.2.0");
        assert_eq!(messages(&[theirs]), Ok((Kind::Handler, true)));
        assert_eq!(messages(&["wasmcloud:messaging/handler@0.2.1"]), Ok((Kind::Handler, true)));
        assert_eq!(messages(&[own, theirs]), Ok((Kind::Handler, false)));
        assert_eq!(messages(&["tidegate:plugin/scaling@0.1.0", theirs]), Ok((Kind::Both, true)));
        for (export, found) in [
            ("wasmcloud:messaging/handler@0.4.0", "wasmcloud:messaging@0.4.0"),
            ("wasmcloud:messaging/handler@0.3.0-draft", "wasmcloud:messaging@0.3.0-draft"),
            ("wasmcloud:messaging/handler", "wasmcloud:messaging"),
        ] {
            let error = messages(&[export]).unwrap_err();
            assert_eq!(error, KindError::OtherMessaging { found: found.into() });
            assert!(error.to_string().contains("runs handlers of wasmcloud:messaging@0.2.0 and @0.3.0"), "{error}");
        }
        assert!(matches!(messages(&["wasmcloud:messaging/types@0.2.0"]), Err(KindError::OtherWorld { .. })));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let error = inspect(&exporting(&["tidegate:plugin/handler@0.2.0"])).unwrap_err();
        assert_eq!(error, KindError::OtherVersion { found: "tidegate:plugin@0.2.0".into() });
        assert!(error.to_string().contains("this host speaks tidegate:plugin@0.1.3"), "{error}");
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
            assert!(matches!(error, KindError::TooMuch(_)), "{error}");
        };
        refused(&"(func)".repeat(100_001));
        refused(&format!("(func {})", "nop ".repeat(1 << 20)));
    }

    #[test]
    fn an_import_that_only_names_types_needs_nothing() {
        let text = r#"(component
            (import "a:b/functions" (instance (export "f" (func))))
            (import "a:b/resources" (instance (export "r" (type (sub resource)))))
            (type (instance (type u8) (export "t" (type (eq 0)))))
            (import "a:b/types" (instance (type 2)))
            (instance $i) (export "tidegate:plugin/handler@0.1.0" (instance $i)))"#;
        let found = inspect(&component(text)).unwrap();
        assert_eq!(found.imports, ["a:b/functions", "a:b/resources", "a:b/types"]);
        assert_eq!(found.needs, ["a:b/functions", "a:b/resources"]);
    }

    #[test]
    fn many_and_long_names_are_refused_in_few_words() {
        let import = |n: usize| format!("(import \"a{n}\" (instance))");
        let many: String = (0..2_000).map(import).collect();
        let error = inspect(&component(&format!("(component {many})"))).unwrap_err().to_string();
        assert!(error.contains("more than 1000 imports"), "{error}");
        let long = format!("(component (instance $i) (export \"{}\" (instance $i)))", "a".repeat(90_000));
        let error = inspect(&component(&long)).unwrap_err().to_string();
        assert!(error.contains("a name of 90000 bytes") && error.len() < 200, "{error}");
        let others: Vec<String> = (0..500).map(|n| format!("a:b/c{n}{}", "d".repeat(500))).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let error = inspect(&exporting(&others)).unwrap_err().to_string();
        assert!(error.contains("and 490 more") && error.len() < 2_000, "{error}");
    }

    #[test]
    fn a_handler_of_the_asynchronous_form_is_used_as_one() {
        let of = |exports: &[&str]| {
            inspect(&exporting(exports)).map(|found| (found.kind, found.asynchronous, found.batches, found.messages))
        };
        let form = "tidegate:plugin/async-handler@0.1.3";
        assert_eq!(of(&[form]), Ok((Kind::Handler, true, false, false)));
        let all = [form, "tidegate:plugin/batch-handler@0.1.3", "wasmcloud:messaging/handler@0.2.0"];
        assert_eq!(of(&all), Ok((Kind::Handler, true, false, false)));
        assert_eq!(of(&["tidegate:plugin/handler@0.1.3"]), Ok((Kind::Handler, false, false, false)));
        let (theirs, older) = ("wasmcloud:messaging/handler@0.3.0", "wasmcloud:messaging/handler@0.2.0");
        assert_eq!(of(&[theirs]), Ok((Kind::Handler, true, false, true)));
        assert_eq!(of(&[older, theirs]), Ok((Kind::Handler, true, false, true)));
        assert_eq!(of(&["tidegate:plugin/handler@0.1.3", theirs]), Ok((Kind::Handler, false, false, false)));
        assert_eq!(of(&[form, theirs]), Ok((Kind::Handler, true, false, false)));
    }

    #[test]
    fn asynchronous_functions_are_refused_by_what_they_are() {
        let text = r#"(component
            (core module $m (func (export "f")) (func (export "cb") (param i32 i32 i32) (result i32) unreachable))
            (core instance $i (instantiate $m))
            (func $f async (canon lift (core func $i "f") async))
            (instance $h (export "handle" (func $f)))
            (export "tidegate:plugin/handler@0.1.0" (instance $h)))"#;
        let error = inspect(&component(text)).unwrap_err();
        assert_eq!(error, KindError::Async);
        assert!(error.to_string().contains("WASI 0.2"), "{error}");
    }

    #[test]
    fn no_prefix_without_the_exports_passes() {
        let whole = exporting(&["tidegate:plugin/handler@0.1.0"]);
        for length in 0..whole.len() {
            match inspect(whole.get(..length).unwrap()) {
                // Only the section of debug names may be cut off.
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
