//! A plugin's file: its path, its bytes and their digest.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::Sha256;

use super::refusal::PluginRefusal;
use crate::config::units::show_size;
use crate::digest::{Digest, sha256};
use crate::plugin::run::generation::Generation;
use crate::signature::{self, Signature, SignatureError};

/// How many plugins an error lists where one is missing.
const NAMED: usize = 20;

/// The bytes of a plugin's file and their digest.
#[derive(Clone)]
pub(in crate::plugin) struct FileContent {
    pub(in crate::plugin) generation: Generation,
    pub(super) bytes: Arc<[u8]>,
    pub(super) signature: WrittenSignature,
}

/// What stands where the signature of a plugin is: nothing, bytes, or what is not read.
pub(super) type WrittenSignature = Option<Result<Vec<u8>, &'static str>>;

impl FileContent {
    pub(in crate::plugin) fn new(plugin: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        Self { generation: Generation { plugin: plugin.into(), digest: digest.into() }, bytes, signature: None }
    }

    pub(super) fn signed(self, signature: WrittenSignature) -> Self {
        Self { signature, ..self }
    }

    /// What tells this content, with this signature, from any other. It begins with the digest of the content.
    pub(super) fn identity(&self) -> String {
        let digest = self.generation.digest.whole();
        match &self.signature {
            None => digest.to_owned(),
            Some(Ok(signature)) => format!("{digest}+{}", sha256(signature)),
            Some(Err(why)) => format!("{digest}+{why}"),
        }
    }

    /// Whether one of those who are trusted has signed this. Where nobody is named it need not be signed.
    pub(super) fn check_signature(&self, trusted: &[String]) -> Result<(), SignatureError> {
        if trusted.is_empty() {
            return Ok(());
        }
        parsed(&self.signature)?.check(&self.generation.digest, trusted)
    }

    /// Whether this is what the configuration pins the plugin to, if it does.
    pub(super) fn check_pin(&self, pin: Option<&Digest>) -> Result<(), PluginRefusal> {
        let Generation { plugin, digest } = &self.generation;
        match pin {
            Some(pin) if pin != digest => {
                Err(PluginRefusal::NotPinned { plugin: plugin.to_string(), pin: pin.clone(), found: digest.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The digest of what is read to its end.
pub(super) fn hash(mut content: impl io::Read) -> io::Result<Digest> {
    let mut hasher = Sha256::default();
    io::copy(&mut content, &mut hasher)?;
    Ok(HEXLOWER.encode(&<Sha256 as sha2::Digest>::finalize(hasher)).into())
}

/// The signature that is written there.
pub(super) fn parsed(written: &WrittenSignature) -> Result<Signature, SignatureError> {
    match written {
        None => Err(SignatureError::Unsigned),
        Some(Err(why)) => Err(SignatureError::Malformed((*why).to_owned())),
        Some(Ok(bytes)) => Signature::parse(bytes),
    }
}

/// Where the signature of a plugin's file is: `receipts.wasm.sig` for `receipts.wasm`.
pub fn signature_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Reads what stands where the signature of a file is.
pub(super) fn read_signature(file: &Path) -> WrittenSignature {
    const UNREADABLE: &str = "cannot be read";
    let path = signature_file(file);
    // It is looked at before it is opened: opening a pipe would wait for its writer.
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => return Some(Err("is not a file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => return Some(Err(UNREADABLE)),
    }
    let mut bytes = Vec::new();
    // One byte more than any has: then it is too large, however large it is.
    let most = u64::try_from(signature::MOST).unwrap_or(u64::MAX).saturating_add(1);
    let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    Some(read.map(|_| bytes).map_err(|_| UNREADABLE))
}

/// Where the file of a plugin is.
pub(super) fn file(dir: &Path, plugin: &str) -> PathBuf {
    dir.join(format!("{plugin}.wasm"))
}

/// Reads a file of at most `most` bytes whole. The bytes that were read are hashed and compiled, whatever happens to
/// the file meanwhile.
pub(super) fn read(file: &Path, most: u64) -> Result<FileContent, PluginRefusal> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if file.is_symlink() => PluginRefusal::DanglingLink,
        io::ErrorKind::NotFound => PluginRefusal::Missing,
        _ => PluginRefusal::Unreadable(error),
    };
    // The file is looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(file).map_err(refused)?;
    if !metadata.is_file() {
        return Err(PluginRefusal::NotAFile);
    }
    let allowed = |size: u64| {
        if size > most { Err(PluginRefusal::TooLarge { size, most: show_size(&most) }) } else { Ok(()) }
    };
    allowed(metadata.len())?;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(refused)?;
    opened.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(refused)?;
    // The file may have grown meanwhile.
    allowed(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(FileContent::new(&name, bytes))
}

/// A text that lists the plugins beside a missing `file`: its name may be misspelt.
pub fn others(file: &Path) -> String {
    let entries = file.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten();
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| PathBuf::from(entry.file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "wasm"))
        .filter_map(|name| Some(name.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.truncate(NAMED);
    if names.is_empty() {
        "the directory has no plugins".into()
    } else {
        format!("the directory has {}", names.join(", "))
    }
}
