//! Who this process is to other nodes.

use harmonylite_core::members::Identity;
use sha2::{Digest, Sha256};

use super::super::clock::wall_ms;
use super::super::driver::random_incarnation;
use crate::config::{Mode, Settings};

/// Of a node with these settings whose process starts now.
pub(crate) fn identity(settings: &Settings) -> Identity {
    let advertised = settings.cluster.advertise.as_ref().filter(|_| settings.nats.mode == Mode::Mesh);
    Identity {
        node: settings.node_id,
        process: random_incarnation().get(),
        home: home(settings),
        started_ms: wall_ms(),
        cluster: settings.cluster.name.clone(),
        shards: settings.replication_log.shards,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        // On shared servers nobody has to be reached.
        address: advertised.map(ToString::to_string),
    }
}

/// The machine and the database's own path: a restart has the same, a copy elsewhere another one. Neither can be read
/// from it.
fn home(settings: &Settings) -> u64 {
    let path = settings.db_path.canonicalize().unwrap_or_else(|_| settings.db_path.clone());
    let text = format!("harmonylite home\n{:016x}\n{}", settings.machine, path.display());
    Sha256::digest(text).iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use harmonylite_core::model::NodeId;

    use super::*;

    #[test]
    fn a_restart_has_the_same_home_and_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let link = folder.path().join("link.db");
        std::fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let of = |path: &std::path::Path, machine| {
            identity(&Settings { machine, ..Settings::new(path.to_owned(), NodeId::new(1).unwrap()) })
        };
        assert_eq!(of(&path, 7).home, of(&link, 7).home);
        assert_ne!(of(&path, 7).process, of(&path, 7).process);
        assert_ne!(of(&path, 7).home, of(&path, 8).home);
        assert_ne!(of(&path, 7).home, of(&folder.path().join("other.db"), 7).home);
    }
}
