//! The process's surroundings, read once at start: variables, the machine's id, where our program is.
//!
//! The only file of the product that reads `std::env`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use harmonylite_core::model::NodeId;
use sha2::{Digest, Sha256};

use super::keys::VARIABLE_PREFIX;

/// Variables of ours that are not keys of the configuration.
pub const CONFIG_VARIABLE: &str = "HARMONYLITE_CONFIG";
/// A `tracing` filter such as `harmonylite=debug` that replaces `logging.verbose`.
pub const LOG_VARIABLE: &str = "HARMONYLITE_LOG";

/// Where the service manager listens (sd_notify(3)).
const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";
/// Within which time, in microseconds, it wants to hear that we live (sd_watchdog_enabled(3)).
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// Of which process; of the one that it started when it is not set.
const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";

/// Where Linux keeps the machine's id.
const MACHINE_ID_FILE: &str = "/etc/machine-id";

/// What the process was started with.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// When it was read, in seconds since the Unix epoch; `None`: the age of certificates is not judged.
    pub now_s: Option<u64>,
    /// The id of this machine, as written; `None` when it has none.
    pub machine_id: Option<String>,
    /// The folder of our own executable.
    pub executable_folder: Option<PathBuf>,
    /// The folders of `PATH`, in order.
    pub search_path: Vec<PathBuf>,
    /// The socket of the service manager that started us; `None` when none did, or it does not want to be told.
    pub notify_socket: Option<OsString>,
    /// The time after which the service manager takes our silence for a hang.
    pub watchdog: Option<Duration>,
}

impl Environment {
    /// Reads it. Variables that are not UTF-8 are not ours.
    #[must_use]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        let search_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect());
        let executable = std::env::current_exe().ok();
        Self {
            variables: variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect(),
            now_s: Some(crate::runtime::wall_ms() / 1000),
            machine_id: std::fs::read_to_string(MACHINE_ID_FILE).ok(),
            executable_folder: executable.and_then(|file| file.parent().map(PathBuf::from)),
            search_path: search_path.unwrap_or_default(),
            notify_socket: std::env::var_os(NOTIFY_VARIABLE).filter(|name| !name.is_empty()),
            watchdog: watchdog(
                std::env::var(WATCHDOG_VARIABLE).ok().as_deref(),
                std::env::var(WATCHDOG_PID_VARIABLE).ok().as_deref(),
                std::process::id(),
            ),
        }
    }

    /// One with these variables and this machine id, for whoever tests or embeds.
    #[must_use]
    pub fn new(variables: &[(&str, &str)], machine_id: Option<&str>) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { variables: variables.collect(), machine_id: machine_id.map(str::to_owned), ..Self::default() }
    }

    /// A variable of ours; an empty one counts as not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names of all variables of ours, known or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// The variables that name keys of the configuration, or try to.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let ours = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        ours.filter(|(name, _)| {
            name.starts_with(VARIABLE_PREFIX) && *name != CONFIG_VARIABLE && *name != LOG_VARIABLE
        })
    }
}

/// The time of the watchdog, when it is meant for the process `own_pid`.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    ours.then(|| Duration::from_micros(usec))
}

/// The node id of a machine; `None` when its id says nothing (empty, or not yet chosen).
///
/// The machine id itself must not be shown to others (machine-id(5)), hence the hash. Folded to 53 bits, so that
/// every JSON reader shows it exactly.
#[must_use]
pub fn derive_node_id(machine_id: &str) -> Option<NodeId> {
    let machine_id = machine_id.trim();
    if machine_id.is_empty() || machine_id == "uninitialized" {
        return None;
    }
    let bits = first_bits(&format!("harmonylite node id\n{machine_id}"));
    NodeId::new(1 + bits % ((1 << 53) - 1))
}

/// A fingerprint of a machine, as part of what tells a restarted node from a second one; 0 when its id says nothing.
/// Not the one that a node id is derived from, and as little to be turned back.
#[must_use]
pub fn fingerprint_machine(machine_id: Option<&str>) -> u64 {
    let machine_id = machine_id.map(str::trim).filter(|id| !id.is_empty() && *id != "uninitialized");
    machine_id.map_or(0, |id| first_bits(&format!("harmonylite machine\n{id}")))
}

fn first_bits(text: &str) -> u64 {
    Sha256::digest(text).iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_always_gets_the_same_node_id_and_another_another() {
        let id = derive_node_id("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(Some(id), derive_node_id("0123456789abcdef0123456789abcdef"));
        assert_ne!(Some(id), derive_node_id("1123456789abcdef0123456789abcdef"));
        assert!(id.get() < 1 << 53);
    }

    #[test]
    fn a_machine_without_an_id_gives_no_node_id() {
        assert_eq!((derive_node_id("\n"), derive_node_id("uninitialized\n")), (None, None));
    }

    #[test]
    fn the_fingerprint_of_a_machine_is_its_own_and_nothing_without_an_id() {
        let fingerprint = fingerprint_machine(Some("0123456789abcdef0123456789abcdef\n"));
        assert_eq!(fingerprint, fingerprint_machine(Some("0123456789abcdef0123456789abcdef")));
        assert_ne!(fingerprint, fingerprint_machine(Some("1123456789abcdef0123456789abcdef")));
        assert_eq!((fingerprint_machine(None), fingerprint_machine(Some("uninitialized"))), (0, 0));
    }

    #[test]
    fn our_own_two_variables_are_not_keys() {
        let environment = Environment::new(
            &[
                ("HARMONYLITE_CONFIG", "a"),
                ("HARMONYLITE_LOG", "b"),
                ("HARMONYLITE_DB_PATH", "c"),
                ("HOME", "d"),
            ],
            None,
        );
        assert_eq!(environment.keys().collect::<Vec<_>>(), [("HARMONYLITE_DB_PATH", "c")]);
    }

    #[test]
    fn a_watchdog_is_ours_when_it_names_us_or_nobody() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(watchdog(Some("60000000"), None, 7), minute);
        assert_eq!(watchdog(Some("60000000"), Some("7"), 7), minute);
        for (usec, pid) in
            [(Some("60000000"), Some("8")), (Some("0"), None), (Some("soon"), None), (None, Some("7"))]
        {
            assert_eq!(watchdog(usec, pid, 7), None);
        }
    }
}
