//! Files and folders that hold secrets, or say how to reach them: for their owner only, whatever the umask says.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// A secret and what goes with it have a few KiB; whatever is longer is another file.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readers {
    /// Its owner.
    Owner,
    /// Everybody.
    All,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::All => 0o644,
        }
    }
}

/// Makes a folder, and those above it that are missing, for us only. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that is not there yet.
pub(crate) fn write_new(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(readers.mode()).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Writes a file in place of one that may be there, in one step: a reader sees the old one or the new one.
pub(crate) fn replace(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let temporary = path.with_added_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => write_new(&temporary, text, readers)?,
    }
    fs::rename(&temporary, path)
}

/// Reads a short text. An error never shows what is in it.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
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
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_for_its_owner_only_and_is_not_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        write_new(&path, "one", Readers::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        let again = write_new(&path, "two", Readers::Owner).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_text(&path).unwrap(), "one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, "two", Readers::Owner).unwrap();
        assert_eq!((mode(&path), read_text(&path).unwrap().as_str()), (0o600, "two"));
    }

    #[test]
    fn what_is_not_a_short_text_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| read_text(path).unwrap_err().to_string();
        assert!(said(folder.path()).contains("not a file"));
        assert!(said(Path::new("/dev/zero")).contains("not a file"));
        let long = folder.path().join("long");
        File::create(&long).unwrap().set_len(FILE_SIZE_MAX + 1).unwrap();
        assert!(said(&long).contains("1 MiB"));
    }

    #[test]
    fn a_folder_is_made_for_us_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    }
}
