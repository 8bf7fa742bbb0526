//! Files of certificates and secrets: private ones are for their owner only, whatever the umask says.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::TlsError;

/// Chains and keys have a few KiB; whatever is longer is another file.
const FILE_SIZE_MAX: u64 = 1 << 20;
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Makes a folder, and those above it that are missing, for us only. One that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_folder(path: &Path) -> Result<(), TlsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|reason| TlsError::File { action: "make", path: path.to_owned(), reason })
}

/// Writes a file that only its owner may read: a key. With `replace` one that is there is replaced in one step, a
/// reader sees the old one or the new one.
///
/// # Errors
/// When it is there and not to be replaced, or cannot be written.
pub fn write_private(path: &Path, text: &str, replace: bool) -> Result<(), TlsError> {
    write(path, text, PRIVATE, replace)
}

/// The same for what everybody may read: a certificate.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, text: &str, replace: bool) -> Result<(), TlsError> {
    write(path, text, PUBLIC, replace)
}

fn write(path: &Path, text: &str, mode: u32, replace: bool) -> Result<(), TlsError> {
    let outcome = if replace { write_replacing(path, text, mode) } else { write_new(path, text, mode) };
    outcome.map_err(|reason| match reason.kind() {
        io::ErrorKind::AlreadyExists => TlsError::Exists { path: path.to_owned() },
        _ => TlsError::File { action: "write", path: path.to_owned(), reason },
    })
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn write_replacing(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_added_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => write_new(&temporary, text, mode)?,
    }
    fs::rename(&temporary, path)
}

/// Reads a file of certificates, a key, or a secret.
///
/// # Errors
/// When it cannot be read, is no ordinary file, is too long, or is not text. Never shows what is in it.
pub fn read_text(path: &Path) -> Result<String, TlsError> {
    let read = || -> io::Result<String> {
        let file = fs::File::open(path)?;
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if facts.len() > FILE_SIZE_MAX {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        let mut text = String::new();
        file.take(FILE_SIZE_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|reason| TlsError::File { action: "read", path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_for_its_owner_only_and_is_not_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        write_private(&path, "one", false).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(write_private(&path, "two", false), Err(TlsError::Exists { .. })));
        assert_eq!(read_text(&path).unwrap(), "one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, "two", true).unwrap();
        assert_eq!((mode(&path), read_text(&path).unwrap().as_str()), (0o600, "two"));
    }

    #[test]
    fn what_is_not_a_short_text_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| read_text(path).unwrap_err().to_string();
        assert!(said(folder.path()).contains("not a file"));
        assert!(said(Path::new("/dev/zero")).contains("not a file"));
        let long = folder.path().join("long");
        fs::File::create(&long).unwrap().set_len(FILE_SIZE_MAX + 1).unwrap();
        assert!(said(&long).contains("1 MiB"));
    }

    #[test]
    fn a_folder_is_made_for_us_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_private_folder(&path).unwrap();
        make_private_folder(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    }
}
