//! Counts what a component declares, before anything is compiled. Pure.
//!
//! Declarations cost memory that no limit of a guest covers: in the host that reads them, in the compiler, and in each
//! instance. A few bytes can declare much, and nested components multiply it.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Encoding, Instance, Payload,
};

use crate::plugin::limits::component::{
    CODE_BYTES, DEPTH, FUNCTION_BYTES, FUNCTIONS, INSTANCES, INSTANTIATED, ITEM_BYTES, ITEMS, OUTER_BYTES, OUTER_ITEMS,
    PARTS,
};
use crate::plugin::run::declared::Declared;

/// Counts declarations section by section, and refuses a section that declares too much before it is read.
#[derive(Default)]
pub(super) struct DeclarationCounter {
    functions: u32,
    code: usize,
    items: u32,
    item_bytes: usize,
    outer_items: u32,
    outer_bytes: usize,
    parts: u32,
    /// The module or component that is being read, and those around it.
    frames: Vec<OpenPart>,
    whole: Declared,
    is_async: bool,
}

/// A module or component whose end was not read yet.
enum OpenPart {
    Module(Declared),
    Component(Scope),
}

/// What a component can instantiate, by index. `None` where that is known only when the component itself is
/// instantiated.
#[derive(Default)]
struct Scope {
    modules: Vec<Option<Declared>>,
    components: Vec<Option<Declared>>,
    begins_with: Declared,
}

/// Why counting ended.
pub(super) enum Stop {
    /// The component declares too much of something: what, and the limit.
    TooMuch(String),
    /// The bytes cannot be read as a component.
    Unreadable(wasmparser::BinaryReaderError),
}

impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Unreadable(error)
    }
}

fn too_much(what: impl Into<String>) -> Stop {
    Stop::TooMuch(what.into())
}

/// Adds `more` to `sum`, and refuses a sum of more than `most`.
fn count(sum: &mut u32, more: u32, most: u32, what: &str) -> Result<(), Stop> {
    *sum = sum.saturating_add(more);
    if *sum > most { Err(too_much(format!("more than {most} {what}"))) } else { Ok(()) }
}

fn measure(sum: &mut usize, more: usize, most: usize, what: &str) -> Result<(), Stop> {
    *sum = sum.saturating_add(more);
    if *sum > most { Err(too_much(format!("more than {} MiB of {what}", most >> 20))) } else { Ok(()) }
}

impl DeclarationCounter {
    /// Whether nothing was read yet.
    pub(super) fn is_at_start(&self) -> bool {
        self.parts == 0
    }

    /// How deep the part that is being read is nested; 0 is the component itself.
    pub(super) fn depth(&self) -> usize {
        self.frames.len().saturating_sub(1)
    }

    /// What an instance of the component begins with.
    pub(super) fn declared(&self) -> Declared {
        self.whole
    }

    /// Whether a function has the asynchronous form, which came with WASI 0.3.
    pub(super) fn is_async(&self) -> bool {
        self.is_async
    }

    /// Counts the next section. A section of the component itself may be read after this has returned `Ok`.
    pub(super) fn take(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(*encoding),
            Payload::End(_) => self.end(),
            Payload::CodeSectionStart { count: functions, size, .. } => {
                count(&mut self.functions, *functions, FUNCTIONS, "functions")?;
                measure(&mut self.code, usize::try_from(*size).unwrap_or(usize::MAX), CODE_BYTES, "code")
            }
            Payload::CodeSectionEntry(body) => match body.as_bytes().len() {
                bytes if bytes > FUNCTION_BYTES => Err(too_much(format!("a function of {bytes} bytes"))),
                _ => Ok(()),
            },
            // Not read by anybody, or limited by the size of the file.
            Payload::CustomSection(_) | Payload::UnknownSection { .. } | Payload::DataCountSection { .. } => Ok(()),
            _ => {
                self.module_section(payload)?;
                self.component_section(payload)
            }
        }
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), Stop> {
        count(&mut self.parts, 1, PARTS, "modules and components")?;
        if self.frames.len() > DEPTH {
            return Err(too_much(format!("components more than {DEPTH} deep within one another")));
        }
        self.frames.push(match encoding {
            Encoding::Module => OpenPart::Module(Declared { instances: 1, ..Declared::default() }),
            Encoding::Component => OpenPart::Component(Scope::default()),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let ended = self.frames.pop();
        let within = self.frames.last_mut();
        match (ended, within) {
            (Some(OpenPart::Module(module)), Some(OpenPart::Component(scope))) => scope.modules.push(Some(module)),
            (Some(OpenPart::Component(Scope { begins_with, .. })), within) => {
                if begins_with.instances > INSTANCES {
                    return Err(too_much(format!("more than {INSTANCES} instances in one another")));
                }
                if begins_with.items > INSTANTIATED {
                    return Err(too_much(format!(
                        "more than {INSTANTIATED} globals, functions and the like an instance"
                    )));
                }
                match within {
                    Some(OpenPart::Component(scope)) => scope.components.push(Some(begins_with)),
                    _ => self.whole = begins_with,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts a section of a module.
    fn module_section(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        let (items, bytes, memories) = match payload {
            Payload::TypeSection(section) => (section.count(), section.range(), 0),
            Payload::ImportSection(section) => (section.count(), section.range(), 0),
            Payload::FunctionSection(section) => (section.count(), section.range(), 0),
            Payload::TableSection(section) => (section.count(), section.range(), 0),
            Payload::MemorySection(section) => (section.count(), section.range(), section.count()),
            Payload::TagSection(section) => (section.count(), section.range(), 0),
            Payload::GlobalSection(section) => (section.count(), section.range(), 0),
            Payload::ExportSection(section) => (section.count(), section.range(), 0),
            Payload::ElementSection(section) => (section.count(), section.range(), 0),
            // Their contents are limited by the size of the file.
            Payload::DataSection(section) => (section.count(), 0..0, 0),
            _ => return Ok(()),
        };
        count(&mut self.items, items, ITEMS, "globals, functions, exports and the like")?;
        measure(&mut self.item_bytes, bytes.len(), ITEM_BYTES, "declarations")?;
        if let Some(OpenPart::Module(module)) = self.frames.last_mut() {
            module.items = module.items.saturating_add(items.into());
            module.memories = module.memories.saturating_add(memories.into());
        }
        Ok(())
    }

    /// Counts a section of a component, with what it instantiates.
    fn component_section(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        let (items, bytes) = match payload {
            Payload::InstanceSection(section) => (section.count(), section.range()),
            Payload::CoreTypeSection(section) => (section.count(), section.range()),
            Payload::ComponentInstanceSection(section) => (section.count(), section.range()),
            Payload::ComponentAliasSection(section) => (section.count(), section.range()),
            Payload::ComponentTypeSection(section) => (section.count(), section.range()),
            Payload::ComponentCanonicalSection(section) => (section.count(), section.range()),
            Payload::ComponentImportSection(section) => (section.count(), section.range()),
            Payload::ComponentExportSection(section) => (section.count(), section.range()),
            _ => return Ok(()),
        };
        count(&mut self.outer_items, items, OUTER_ITEMS, "imports, exports, types and the like around its modules")?;
        measure(&mut self.outer_bytes, bytes.len(), OUTER_BYTES, "declarations around its modules")?;
        let Some((OpenPart::Component(scope), outer)) = self.frames.split_last_mut() else { return Ok(()) };
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    scope.instantiate_module(&instance?)?;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    scope.instantiate_component(&instance?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    scope.alias(outer, &alias?);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    scope.import(import?.ty);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    scope.export(export.kind, export.index);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.is_async |= is_async(&function?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_async(function: &CanonicalFunction) -> bool {
    let (CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) = function else {
        return false;
    };
    options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
}

/// The declarations of what has this index. `None` if they are known only later, or the index is invalid.
fn at(known: &[Option<Declared>], index: u32) -> Option<Declared> {
    usize::try_from(index).ok().and_then(|index| known.get(index).copied().flatten())
}

impl Scope {
    fn instantiate_module(&mut self, instance: &Instance<'_>) -> Result<(), Stop> {
        if let Instance::Instantiate { module_index, .. } = instance {
            self.begin_with(at(&self.modules, *module_index))?;
        }
        Ok(())
    }

    fn instantiate_component(&mut self, instance: &ComponentInstance<'_>) -> Result<(), Stop> {
        if let ComponentInstance::Instantiate { component_index, .. } = instance {
            self.begin_with(at(&self.components, *component_index))?;
            self.begins_with.instances = self.begins_with.instances.saturating_add(1);
        }
        Ok(())
    }

    fn begin_with(&mut self, part: Option<Declared>) -> Result<(), Stop> {
        let part = part.ok_or_else(|| too_much("an instance of a module or component that is handed to it"))?;
        self.begins_with.add(part);
        Ok(())
    }

    fn alias(&mut self, outer: &[OpenPart], alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => self.modules.push(None),
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => self.components.push(None),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                let found = self.outward(outer, *count).and_then(|scope| at(&scope.modules, *index));
                self.modules.push(found);
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let found = self.outward(outer, *count).and_then(|scope| at(&scope.components, *index));
                self.components.push(found);
            }
            _ => {}
        }
    }

    /// The component `count` levels outward; 0 is this one.
    fn outward<'a>(&'a self, outer: &'a [OpenPart], count: u32) -> Option<&'a Self> {
        let Some(steps) = usize::try_from(count).ok()?.checked_sub(1) else { return Some(self) };
        match outer.iter().rev().nth(steps)? {
            OpenPart::Component(scope) => Some(scope),
            OpenPart::Module(_) => None,
        }
    }

    fn import(&mut self, ty: ComponentTypeRef) {
        match ty {
            ComponentTypeRef::Module(_) => self.modules.push(None),
            ComponentTypeRef::Component(_) => self.components.push(None),
            _ => {}
        }
    }

    /// Gives an exported item an index of its own.
    fn export(&mut self, kind: ComponentExternalKind, index: u32) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(at(&self.modules, index)),
            ComponentExternalKind::Component => self.components.push(at(&self.components, index)),
            _ => {}
        }
    }
}

/// Counts a whole component, and reads nothing else of it.
pub(super) fn counted(bytes: &[u8]) -> Result<Declared, String> {
    let mut counter = DeclarationCounter::default();
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        match counter.take(&payload.map_err(|error| error.to_string())?) {
            Ok(()) => {}
            Err(Stop::TooMuch(what)) => return Err(what),
            Err(Stop::Unreadable(error)) => return Err(error.to_string()),
        }
    }
    Ok(counter.declared())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn count(text: &str) -> Result<Declared, String> {
        counted(&wat::parse_str(format!("(component {text})")).unwrap())
    }

    #[test]
    fn each_instance_of_a_module_counts() {
        let module = "(core module $m (memory 1) (memory 1) (global i32 (i32.const 0)))";
        let twice = "(core instance (instantiate $m)) (core instance (instantiate $m))";
        assert_eq!(count(module), Ok(Declared::default()));
        assert_eq!(count(&format!("{module} {twice}")), Ok(Declared { items: 6, instances: 2, memories: 4 }));
    }

    #[test]
    fn components_within_components_multiply() {
        let inner = |name: &str, of: &str| {
            format!("(component ${name} {})", format!("(instance (instantiate ${of}))").repeat(10))
        };
        let leaf = "(component $a (core module $m (memory 1)) (core instance (instantiate $m)))";
        let text = format!("{leaf} {} {} (instance (instantiate $c))", inner("b", "a"), inner("c", "b"));
        assert_eq!(count(&text).unwrap().memories, 100);
    }

    #[test]
    fn a_few_bytes_that_multiply_without_end_are_refused() {
        let leaf = "(component $c0 (core module $m (global i32 (i32.const 0))) (core instance (instantiate $m)))";
        let level =
            |n: usize| format!("(component $c{n} {})", format!("(instance (instantiate $c{}))", n - 1).repeat(100));
        let levels: String = (1..12).map(level).collect();
        let error = count(&format!("{leaf} {levels}")).unwrap_err();
        assert!(error.contains("instances in one another"), "{error}");
        let error = count(&format!("(component $c0) {levels}")).unwrap_err();
        assert!(error.contains("instances in one another"), "{error}");
    }

    #[test]
    fn a_module_is_known_by_its_alias_and_by_its_export() {
        let text = r#"(core module $m (memory 1))
            (component $inner (alias outer 1 $m (core module $n)) (export $e "n" (core module $n))
              (core instance (instantiate $n)) (core instance (instantiate $e)))
            (instance (instantiate $inner))"#;
        assert_eq!(count(text).unwrap().memories, 2);
    }

    #[test]
    fn what_is_handed_over_cannot_be_counted() {
        let text = r#"(component (import "m" (core module $m)) (core instance (instantiate $m)))"#;
        assert!(count(text).unwrap_err().contains("handed to it"));
    }

    #[test]
    fn too_many_globals_are_refused() {
        let module = |globals: usize| format!("(core module {})", "(global i32 (i32.const 0))".repeat(globals));
        assert!(count(&module(1000)).is_ok());
        assert!(count(&module(300_000)).unwrap_err().contains("more than 262144 globals"));
        let instances = "(core instance (instantiate 0))".repeat(98);
        assert!(count(&format!("{} {instances}", module(20_000))).unwrap_err().contains("an instance"));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth: usize| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
        assert!(count(&nested(16)).is_ok());
        assert!(count(&nested(17)).unwrap_err().contains("16 deep"));
    }

    #[test]
    fn an_import_section_that_is_too_long_is_not_read() {
        let import = |n: usize| format!("(import \"a{n}\" (func))");
        let text: String = (0..70_000).map(import).collect();
        assert!(count(&text).unwrap_err().contains("more than 65536 imports"));
    }
}
