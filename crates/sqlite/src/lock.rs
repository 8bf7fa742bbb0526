//! One sidecar per database: an exclusive lock on `<database>.harmonylite.lock`, never on the database file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{FULL_HINT, StoreError, StoreErrorKind};

/// Held for as long as it lives; the operating system lets go of it even when the process is killed.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Locks the database at `database` against other sidecars.
    ///
    /// Errors: [`StoreErrorKind::Locked`] with the holder's process id, or [`StoreErrorKind::ReadOnly`] or
    /// [`StoreErrorKind::Full`] when the file cannot be made beside the database.
    pub fn acquire(database: &Path) -> Result<Self, StoreError> {
        let path = lock_path(database)?;
        loop {
            let file = open(&path)?;
            lock(&file, &path)?;
            if is_at(&file, &path) {
                let mut lock = Self { path, file };
                lock.write("")?;
                return Ok(lock);
            }
            // Its last holder removed it between our open and our lock: that lock keeps nobody out.
        }
    }

    /// Adds `note` (one line, for people) to what the file says of its holder.
    pub fn set_note(&mut self, note: &str) -> Result<(), StoreError> {
        self.write(note)
    }

    /// Removes the file and lets go.
    pub(crate) fn remove(self) -> Result<(), StoreError> {
        std::fs::remove_file(&self.path).map_err(|error| cannot("remove", &self.path, &error))
    }

    fn write(&mut self, note: &str) -> Result<(), StoreError> {
        let text = format!("{}\n{note}\n", std::process::id());
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(text.as_bytes()));
        written.map_err(|error| cannot("write", &self.path, &error))
    }
}

/// Beside the database itself, where links lead to: two names of one file are one database.
fn lock_path(database: &Path) -> Result<PathBuf, StoreError> {
    let database = std::fs::canonicalize(database).map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::NotFound => StoreErrorKind::Missing,
            _ => StoreErrorKind::Unreadable,
        };
        StoreError::new(kind, format!("{}: {error}", database.display())).hint("check db_path")
    })?;
    let mut name = OsString::from(database);
    name.push(".harmonylite.lock");
    Ok(PathBuf::from(name))
}

fn open(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(|error| cannot("open", path, &error))
}

fn lock(mut file: &File, path: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(cannot("lock", path, &error)),
        Err(TryLockError::WouldBlock) => {
            let mut content = String::new();
            // What cannot be read is only missing from the message.
            let _ = file.read_to_string(&mut content);
            let holder = content.lines().next().filter(|pid| !pid.is_empty()).unwrap_or("unknown");
            Err(StoreError::new(
                StoreErrorKind::Locked,
                format!("{}: another harmonylite (process {holder}) works on this database", path.display()),
            )
            .hint("stop it first: only one sidecar may run on a database"))
        }
    }
}

/// Not left to the closing of the file: a child that another thread is just about to start has a copy of it until it runs its
/// own program, and the next holder would be turned away meanwhile.
impl Drop for LockFile {
    fn drop(&mut self) {
        // The closing does it then, a moment later.
        let _ = self.file.unlock();
    }
}

/// Is the file that we locked still the one that others would open?
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => identity(ours) == identity(theirs),
        _ => false,
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    let message = format!("cannot {what} {}: {error}", path.display());
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return StoreError::new(StoreErrorKind::Full, message).hint(FULL_HINT);
    }
    StoreError::new(StoreErrorKind::ReadOnly, message)
        .hint("the user that runs harmonylite must be able to write in the database's directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_can_be_had_although_a_child_still_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("app.db");
        File::create(&database).unwrap();
        let first = LockFile::acquire(&database).unwrap();
        let _copy = first.file.try_clone().unwrap();
        assert_eq!(LockFile::acquire(&database).unwrap_err().kind, StoreErrorKind::Locked);
        drop(first);
        LockFile::acquire(&database).unwrap();
    }
}
