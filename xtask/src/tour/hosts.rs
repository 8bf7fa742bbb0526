//! Hosts that a tour names: network namespaces on one bridge, in a sandbox of this process's own.
//!
//! Whoever may make a user namespace can run it, no privileges are needed. Nothing of it is seen from outside, and nothing
//! outlives it: it ends with the process that made it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

use super::steps::Step;

/// The subcommand that runs inside.
pub(super) const INSIDE: &str = "tour-inside";

/// Where `scp` finds the hosts' home folders, by name and by address.
const HOMES: &str = "TOUR_HOMES";

/// What stands in for scp: the hosts have a folder each, and no SSH server.
const SCP: &str = r#"#!/bin/sh
# Copies between the hosts' folders as scp would: scp FILE... HOST:[FOLDER]
set -e
for target; do :; done
files=
while [ $# -gt 1 ]; do files="$files $1"; shift; done
path=${target#*:}
exec cp -p $files "$TOUR_HOMES/${target%%:*}/${path:-.}"
"#;

/// Runs this program once more, with [`INSIDE`], where it has a network, processes and mounts of its own.
pub(super) fn run_inside(arguments: &[&OsStr]) -> Result<ExitStatus> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe()?).arg(INSIDE).args(arguments);
    command.status().context("running unshare (of util-linux)")
}

/// The hosts that the steps name, in their order.
pub(super) fn named(steps: &[Step]) -> Vec<&str> {
    let mut hosts: Vec<&str> = Vec::new();
    for host in steps.iter().filter_map(|step| step.host.as_deref()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Makes the hosts: 10.0.0.1, 10.0.0.2 and so on, each with a folder in `start`. Gives what their shells need to find.
///
/// # Errors
/// Outside a sandbox, or without `ip` of iproute2.
pub(super) fn make(
    hosts: &[&str],
    start: &Path,
    programs: &Path,
) -> Result<BTreeMap<&'static str, OsString>> {
    // `ip netns` keeps its names in /run.
    call("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    ip("link set lo up")?;
    ip("link add hosts type bridge")?;
    ip("link set hosts up")?;
    for (number, host) in (1..).zip(hosts) {
        let address = format!("10.0.0.{number}");
        ip(&format!("netns add {host}"))?;
        ip(&format!("link add port{number} type veth peer name eth0 netns {host}"))?;
        ip(&format!("link set port{number} master hosts up"))?;
        ip(&format!("-n {host} address add {address}/24 dev eth0"))?;
        ip(&format!("-n {host} link set eth0 up"))?;
        ip(&format!("-n {host} link set lo up"))?;
        fs::create_dir(start.join(host)).with_context(|| format!("making the folder of {host}"))?;
        symlink(host, start.join(address))?;
    }
    super::write_program(&programs.join("scp"), SCP)?;
    Ok(BTreeMap::from([(HOMES, start.as_os_str().to_owned())]))
}

fn ip(arguments: &str) -> Result<()> {
    call("ip", &arguments.split(' ').collect::<Vec<_>>())
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("running {program} (packages iproute2 and mount)"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {error}", arguments.join(" "));
    Ok(())
}
