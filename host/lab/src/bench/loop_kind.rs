//! The loops whose throughput is compared.

/// Which loop works a stream off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    /// Tidegate's, with a native no-op as its handler.
    Native,
    /// Tidegate's, with a component.
    Wasm,
    /// Tidegate's, with a component that handles batches of at most so many.
    Batches(usize),
    /// Tidegate's, with a component, on the stream with many subjects, of which this token is the key of an order.
    Ordered(Option<usize>),
    /// The Auto-Scaler's.
    Example,
}
