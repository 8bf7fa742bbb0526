//! Files of certificates and keys: read and written, and what is wrong with them said.

use std::io;
use std::path::Path;

use super::TlsError;
use crate::private_files::{self, Readers};

/// Makes a folder, and those above it that are missing, for us only. One that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_folder(path: &Path) -> Result<(), TlsError> {
    private_files::make_folder(path).map_err(|reason| failed("make", path, reason))
}

/// Writes a file that only its owner may read: a key. With `replace` one that is there is replaced in one step, a
/// reader sees the old one or the new one.
///
/// # Errors
/// When it is there and not to be replaced, or cannot be written.
pub fn write_private(path: &Path, text: &str, replace: bool) -> Result<(), TlsError> {
    write(path, text, Readers::Owner, replace)
}

/// The same for what everybody may read: a certificate.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, text: &str, replace: bool) -> Result<(), TlsError> {
    write(path, text, Readers::All, replace)
}

fn write(path: &Path, text: &str, readers: Readers, replace: bool) -> Result<(), TlsError> {
    let write = if replace { private_files::replace } else { private_files::write_new };
    write(path, text, readers).map_err(|reason| match reason.kind() {
        io::ErrorKind::AlreadyExists => TlsError::Exists { path: path.to_owned() },
        _ => failed("write", path, reason),
    })
}

/// Reads a file of certificates, a key, or a secret.
///
/// # Errors
/// When it cannot be read, is no ordinary file, is too long, or is not text. Never shows what is in it.
pub fn read_text(path: &Path) -> Result<String, TlsError> {
    private_files::read_text(path).map_err(|reason| failed("read", path, reason))
}

fn failed(action: &'static str, path: &Path, reason: io::Error) -> TlsError {
    TlsError::File { action, path: path.to_owned(), reason }
}
