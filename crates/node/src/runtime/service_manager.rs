//! What a service manager (systemd) is told: that the node operates, how it is, that it lives, that it ends.
//!
//! Datagrams to the socket that the manager names: sd_notify(3). Without a manager nothing is sent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::Environment;

/// A manager that does not read must not hold the node up: it is told less then.
const SEND_WITHIN: Duration = Duration::from_secs(1);

/// The service manager, when there is one.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    connection: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment names it. One that cannot be reached is no reason not to replicate.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let at = |name: &OsString| Self::at(name, environment.watchdog);
        environment.notify_socket.as_ref().map(at).unwrap_or_default()
    }

    fn at(name: &OsStr, watchdog: Option<Duration>) -> Self {
        match connect(name) {
            Ok(connection) => Self { connection: Some(Arc::new(connection)), watchdog },
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told how the node is");
                Self::default()
            }
        }
    }

    /// Is there one?
    pub(crate) fn is_there(&self) -> bool {
        self.connection.is_some()
    }

    /// Within which time it wants to hear that we live, when it wants to.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The node operates.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// The node lives, and comes forward.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The configuration is being read again; [`ServiceManager::ready`] ends it.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The node begins to end.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=saving what is under way");
    }

    /// How the node is, in one line.
    pub(crate) fn status(&self, line: &str) {
        self.send(&format!("STATUS={line}"));
    }

    fn send(&self, state: &str) {
        let Some(connection) = &self.connection else { return };
        let (socket, address) = connection.as_ref();
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A name that begins with `@` is no file: an abstract address of Linux.
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_WITHIN))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: impl AsRef<OsStr>) -> ServiceManager {
        ServiceManager::at(name.as_ref(), None)
    }

    fn received(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let size = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }

    #[test]
    fn what_is_told_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = manager(&path);
        manager.status("reading");
        manager.ready();
        manager.alive();
        assert_eq!([(); 3].map(|()| received(&listener)), ["STATUS=reading", "READY=1", "WATCHDOG=1"]);
    }

    #[test]
    fn an_abstract_address_is_reached() {
        let name = format!("harmonylite-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(format!("@{name}")).reloading();
        let told = received(&listener);
        let usec = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn nobody_there_is_nobody_told() {
        let nobody = ServiceManager::of(&Environment::default());
        nobody.status("fine");
        nobody.ready();
        assert!(!nobody.is_there());
        manager("/nowhere/notify").ready();
    }
}
