//! The sequence map: a file that shows operators and tools how far each source is consumed, and by which they can have one
//! read again.
//!
//! A CBOR map of source to the last sequence that is applied. The positions that count are in the database, committed with
//! the rows; the file is written after commits, a second late at most. At start the lower of both holds, and without a
//! file every source is read from its beginning: what was applied already is dropped by its position.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use harmonylite_core::input::StoreState;
use harmonylite_core::model::{Checkpoint, FrameMark, NodeId, SourceId, StreamSequence};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::driver::Call;

/// Between two looks at what was applied.
const INTERVAL: Duration = Duration::from_secs(1);
/// Far more than the sources of a cluster need.
const SIZE_MAX: u64 = 1 << 20;

/// The last sequence that is applied, by source.
pub(crate) type Sequences = BTreeMap<String, u64>;

/// Takes the positions of `state` back to those of the file at `path`, and gives them. Our own streams are not consumed:
/// they stay.
pub(crate) fn take_back(state: &mut StoreState, path: &Path, own: NodeId) -> Sequences {
    let shown = read(path);
    if let Err(error) = &shown {
        let file = path.display();
        tracing::warn!(%file, %error, "no sequence map, the positions of the database hold");
    }
    let own = format!("{own}/");
    let others = state.checkpoints.iter_mut().filter(|(source, _)| !source.0.starts_with(&own));
    others
        .map(|(source, checkpoint)| {
            if let Ok(shown) = &shown {
                lower(source, checkpoint, shown);
            }
            (source.0.clone(), checkpoint.sequence.0)
        })
        .collect()
}

fn lower(source: &SourceId, checkpoint: &mut Checkpoint, shown: &Sequences) {
    let wanted = StreamSequence(shown.get(&source.0).copied().unwrap_or_default());
    if wanted < checkpoint.sequence {
        tracing::info!(%source, from = %wanted, instead_of = %checkpoint.sequence, "the sequence map takes a source back");
        checkpoint.sequence = wanted;
        checkpoint.mark = FrameMark::UNKNOWN;
    }
}

/// Without a file nothing is consumed.
fn read(path: &Path) -> io::Result<Sequences> {
    let size = match std::fs::metadata(path) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sequences::new()),
        Err(error) => return Err(error),
    };
    if size > SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large to be one"));
    }
    let bytes = std::fs::read(path)?;
    minicbor::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Keeps the file at `path`, until the node ends. `known` is where it begins: a source that is not reached yet stays in it.
pub(crate) async fn keep(path: PathBuf, own: NodeId, known: Sequences, calls: mpsc::Sender<Call>) {
    let own = format!("{own}/");
    let mut now = known;
    let (mut written, mut failed) = (None, false);
    loop {
        sleep(INTERVAL).await;
        let (reply, status) = oneshot::channel();
        if calls.send(Call::Status(reply)).await.is_err() {
            return;
        }
        let Ok(status) = status.await else { return };
        let sources = status.sources.iter().filter(|(source, _)| !source.0.starts_with(&own));
        now.extend(sources.map(|(source, state)| (source.0.clone(), state.checkpoint.0)));
        if written.as_ref() == Some(&now) {
            continue;
        }
        match write(&path, &now) {
            Ok(()) => (written, failed) = (Some(now.clone()), false),
            Err(error) if !failed => {
                tracing::warn!(file = %path.display(), %error, "the sequence map is not written, trying again");
                failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Whole or not at all: another file, renamed into its place.
fn write(path: &Path, sequences: &Sequences) -> io::Result<()> {
    let bytes = minicbor::to_vec(sequences).map_err(io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    std::fs::File::create(&new)?.write_all(&bytes)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "2/harmonylite-changes-1";

    fn checkpoint(sequence: u64) -> Checkpoint {
        let (stream_id, mark) = ("a".to_owned(), FrameMark(7));
        Checkpoint { stream_id, sequence: StreamSequence(sequence), mark, rows_applied: 5 }
    }

    fn lowered(shown: Option<u64>, sequence: u64) -> Checkpoint {
        let mut found = checkpoint(sequence);
        let shown = shown.map(|shown| (PEER.to_owned(), shown)).into_iter().collect();
        lower(&SourceId(PEER.into()), &mut found, &shown);
        found
    }

    #[test]
    fn the_lower_position_holds_and_a_source_that_is_not_shown_begins_anew() {
        assert_eq!(lowered(Some(9), 5), checkpoint(5));
        assert_eq!(lowered(Some(5), 5), checkpoint(5));
        assert_eq!(lowered(Some(3), 5), Checkpoint { mark: FrameMark::UNKNOWN, ..checkpoint(3) });
        assert_eq!(lowered(None, 5), Checkpoint { mark: FrameMark::UNKNOWN, ..checkpoint(0) });
    }

    #[test]
    fn what_is_written_is_read_and_what_is_no_map_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seq-map.cbor");
        assert_eq!(read(&path).unwrap(), Sequences::new());
        let sequences = Sequences::from([(PEER.to_owned(), 1 << 40), ("3/b-1".to_owned(), 0)]);
        write(&path, &sequences).unwrap();
        write(&path, &sequences).unwrap();
        assert_eq!(read(&path).unwrap(), sequences);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "no map").unwrap();
        assert!(read(&path).is_err() && read(folder.path()).is_err());
    }
}
