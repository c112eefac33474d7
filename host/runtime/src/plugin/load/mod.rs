//! From a file in the plugin directory to a generation that workloads use, and to the next one when the file changes.
//!
//! What belongs here: finding and reading files, inspecting, compiling, linking and trying them, and when to do it
//! again. What does not: anything that an instance needs once it runs; that is in [`run`](super::run), which knows
//! nothing of files.

mod bucket_place;
mod cache;
mod compiled_note;
mod compiler;
mod declaration_count;
mod directory;
mod directory_events;
mod file_progress;
mod found;
mod host;
mod inspect;
mod kind_error;
mod late;
mod place;
mod plugin_file;
mod refusal;
mod registry_access;
mod registry_cache;
mod registry_place;
mod registry_places;
mod slot;
mod source;
mod temporary;

pub use cache::CacheError;
pub use compiler::{CompileError, CompileFor, compile_into};
pub use directory::Directory;
pub(crate) use directory_events::DirectoryEvents;
pub(crate) use file_progress::Stamp;
pub use found::{FoundPlugin, ListError, digest_of_file, found_in, signature_of};
pub use host::{HostError, PluginHost};
pub use inspect::{Inspection, inspect};
pub use kind_error::KindError;
pub use refusal::{LoadError, PluginRefusal};
pub use slot::PluginState;
pub(crate) use slot::{HandlerWatch, PolicyWatch};
#[cfg(test)]
pub(super) use source::FileContent;
pub use source::{others, signature_file};
