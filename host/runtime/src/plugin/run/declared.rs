//! What an instance of a component begins with, beside the memory that its limits cover.

/// What an instance of a component begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Declared {
    /// Imports, functions, tables, memories, globals and segments of all its modules.
    pub items: u64,
    /// Instances of modules and of components.
    pub instances: u64,
    /// Memories.
    pub memories: u64,
}

/// The most bytes that an instance takes for one of its items: a reference to a function.
const OF_AN_ITEM: u64 = 32;

impl Declared {
    /// The same, with the number of memories that the compiler found if that is larger.
    pub(crate) fn at_least(self, memories: Option<u32>) -> Self {
        Self { memories: self.memories.max(memories.unwrap_or(0).into()), ..self }
    }

    /// Bytes that an instance takes beside its memories and tables.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.items.saturating_mul(OF_AN_ITEM)).unwrap_or(usize::MAX)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.items = self.items.saturating_add(other.items);
        self.instances = self.instances.saturating_add(other.instances);
        self.memories = self.memories.saturating_add(other.memories);
    }
}
