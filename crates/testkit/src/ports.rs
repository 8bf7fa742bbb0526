//! Free ports on loopback that stay ours: no two tests get the same one, in whatever process they run.
//!
//! "Bind to port 0 and remember" is a race: between the look and the use, another test, or the local end of any
//! connection, can take the port. So ports come from below the kernel's ephemeral range (which starts at 32768), and
//! each is held by a lock on a file that every process of this user agrees on. The kernel drops the lock with the
//! process, so nothing is left to clean up after a kill.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::rng::Rng;

const LOWEST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port on loopback, reserved until it is dropped. The one who reserved it may listen there, again and again.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port on which nobody listens.
    ///
    /// # Errors
    /// When the folder of locks cannot be made, or no port is free.
    pub fn reserve() -> Result<Port> {
        let folder = lock_folder();
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let start = Rng::new(nanoseconds()).below(u64::from(COUNT)) as u16;
        let numbers = (0..COUNT).map(|step| LOWEST + (start + step) % COUNT);
        for number in numbers {
            if let Some(port) = Port::try_reserve(&folder, number) {
                return Ok(port);
            }
        }
        bail!("no free port from {LOWEST} on")
    }

    fn try_reserve(folder: &Path, number: u16) -> Option<Port> {
        let file = folder.join(number.to_string());
        let lock = OpenOptions::new().create(true).append(true).open(file).ok()?;
        lock.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Port { number, _lock: lock })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<number>`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// One folder per user: another user's lock files could not be opened.
fn lock_folder() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("harmonylite-testkit-ports-{user}"))
}

fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reserved_ports_differ_and_can_be_listened_on() -> Result<()> {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve()).collect::<Result<_>>()?;
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        for port in &ports {
            TcpListener::bind(port.address())?;
        }
        Ok(())
    }

    #[test]
    fn a_port_that_is_held_or_in_use_is_not_given() -> Result<()> {
        let held = Port::reserve()?;
        assert!(Port::try_reserve(&lock_folder(), held.number()).is_none());
        let number = held.number();
        let listener = TcpListener::bind(held.address())?;
        drop(held);
        assert!(Port::try_reserve(&lock_folder(), number).is_none());
        drop(listener);
        Ok(())
    }
}
