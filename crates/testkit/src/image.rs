//! A committed image of a database, taken while others use it, to be put back later: what a power loss or a restored
//! backup leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;

/// The file and its write-ahead log as they were at one moment, byte by byte.
#[derive(Debug)]
pub struct Image {
    folder: TempDir,
}

impl Image {
    /// Copies the database at `db`. Writers wait meanwhile; a rollback journal must not be hot, which it is not while we
    /// hold the write lock.
    ///
    /// # Errors
    /// When the write lock is not to be had within ten seconds, or a file cannot be copied.
    pub fn take(db: &Path) -> Result<Image> {
        let folder = tempfile::tempdir().context("making a folder for an image")?;
        let mut connection = Connection::open(db).context("opening the database")?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for suffix in ["", "-wal"] {
            let from = with_suffix(db, suffix);
            if from.exists() {
                copy(&from, &folder.path().join(format!("image{suffix}")))?;
            }
        }
        transaction.rollback()?;
        Ok(Image { folder })
    }

    /// Puts the image where the database at `db` is. Nobody may have it open.
    ///
    /// # Errors
    /// When a file cannot be removed or copied.
    pub fn put_back(&self, db: &Path) -> Result<()> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let to = with_suffix(db, suffix);
            if to.exists() {
                fs::remove_file(&to).with_context(|| format!("removing {}", to.display()))?;
            }
            let from = self.folder.path().join(format!("image{suffix}"));
            if from.exists() {
                copy(&from, &to)?;
            }
        }
        Ok(())
    }
}

/// By another process: were this one to open and close the file, its own SQLite connections would lose their locks (POSIX
/// drops them with any descriptor of the file).
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status().context("running cp")?;
    ensure!(status.success(), "cp of {} ended with {status}", from.display());
    Ok(())
}

fn with_suffix(db: &Path, suffix: &str) -> PathBuf {
    let mut path = db.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(db: &Path) -> Result<Vec<i64>> {
        let connection = Connection::open(db)?;
        let mut statement = connection.prepare("SELECT v FROM t ORDER BY v")?;
        let values = statement.query_map([], |row| row.get(0))?;
        values.collect::<Result<_, _>>().context("reading")
    }

    fn image_of(journal_mode: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let db = folder.path().join("app.db");
        let connection = Connection::open(&db)?;
        connection.execute_batch(&format!("PRAGMA journal_mode = {journal_mode}; CREATE TABLE t(v)"))?;
        connection.execute_batch("INSERT INTO t VALUES(1)")?;
        let image = Image::take(&db)?;
        connection.execute_batch("INSERT INTO t VALUES(2)")?;
        assert_eq!(values(&db)?, [1, 2]);
        drop(connection);
        image.put_back(&db)?;
        assert_eq!(values(&db)?, [1]);
        Ok(())
    }

    #[test]
    fn what_was_written_after_the_image_is_gone_when_it_is_put_back() -> Result<()> {
        image_of("WAL")?;
        image_of("DELETE")
    }
}
