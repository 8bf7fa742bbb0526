//! A server whose disk does not take its streams any more.
//!
//! It says so once, in its log. From then on it stores nothing, also when there is room again, until it is started anew:
//! so we listen for that line, wait for room, and start it again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Room for half a block of a stream and what belongs to it: with less it would stand still again at once.
const ROOM: usize = 4 << 20;
/// Between two looks for room.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The file that is written to see whether there is room.
const PROBE: &str = "room.probe";

/// What the server's log says of such an end, in lower case (nats-server 2.12 to 2.15, and the C library).
const SIGNS: [&str; 5] = [
    "critical write error",
    "no space left on device",
    "disk quota exceeded",
    "jetstream out of space",
    "jetstream out of resources",
];

/// Why the running server stores nothing, when it does not.
#[derive(Clone, Debug, Default)]
pub struct StoreTrouble {
    reason: Arc<Mutex<Option<String>>>,
    noticed: Arc<Notify>,
}

impl StoreTrouble {
    /// The reason, as the server gave it.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        self.lock().clone()
    }

    /// A line of the server's log.
    pub(super) fn hear(&self, line: &str) {
        let lower = line.to_lowercase();
        if SIGNS.iter().any(|sign| lower.contains(sign)) {
            self.lock().get_or_insert_with(|| line.to_owned());
            self.noticed.notify_one();
        }
    }

    /// A new server has no trouble yet.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Returns when the server has stopped to store, and `store` takes files again.
    pub(super) async fn is_over(&self, store: &Path) {
        while self.get().is_none() {
            self.noticed.notified().await;
        }
        tracing::error!(
            folder = %store.display(),
            "the disk of the streams is full or broken: nothing is published until it takes files again"
        );
        while !has_room(store.join(PROBE)).await {
            sleep(LOOK_EVERY).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only writing tells: a quota, or a disk that has become read-only, is in no count of free blocks.
async fn has_room(probe: PathBuf) -> bool {
    let written = tokio::task::spawn_blocking(move || {
        let written = write_probe(&probe);
        let removed = std::fs::remove_file(&probe);
        written.and(removed)
    });
    written.await.is_ok_and(|written| written.is_ok())
}

fn write_probe(probe: &Path) -> io::Result<()> {
    let mut file = std::fs::File::create(probe)?;
    file.write_all(&vec![0; ROOM])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sign_is_the_reason_and_other_lines_are_none() {
        let trouble = StoreTrouble::default();
        trouble.hear("Filestore [x] slow");
        assert_eq!(trouble.get(), None);
        let first = "Filestore [x] Critical write error: write x/2.blk: no space left on device";
        trouble.hear(first);
        trouble.hear("JetStream failed to store a msg: no space left on device");
        assert_eq!(trouble.get().as_deref(), Some(first));
        trouble.clear();
        assert_eq!(trouble.get(), None);
    }

    #[tokio::test]
    async fn a_folder_that_takes_a_file_has_room_and_one_that_is_not_there_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(has_room(folder.path().join(PROBE)).await);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the probe is gone");
        assert!(!has_room(folder.path().join("nowhere").join(PROBE)).await);
    }
}
