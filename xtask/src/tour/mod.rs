//! The tours of the documentation, run as a newcomer would: block after block, in one shell per host.
//!
//! What must be there before (the program, nats-server, sqlite3) is on the PATH. A tour on this machine runs in a fresh copy
//! of the sources, and the ports that it names are replaced by free ones, so that the check runs beside anything. One that
//! names hosts has networks of its own.

mod expected;
mod hosts;
mod session;
mod steps;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harmonylite_testkit::{NatsServer, Port};

use self::session::Session;
use self::steps::Step;
use crate::product;

/// A step takes some seconds at most; loops that wait for something end here if it never comes.
const DEADLINE: Duration = Duration::from_secs(90);

/// The ports that the tour may name.
const PORTS: std::ops::RangeInclusive<u16> = 4221..=4229;

/// What stands in for the sqlite3 shell where it is not installed.
const STAND_IN: &str = include_str!("sqlite3.py");

/// A section that is run: document and heading.
const HERE: [(&str, &str); 1] = [("README.md", "## Tour")];
const ON_HOSTS: [(&str, &str); 3] = [
    ("docs/deployment.md", "## Two machines, nothing else"),
    ("docs/deployment.md", "## Two machines with TLS"),
    ("docs/deployment.md", "## Two machines and a NATS server"),
];

/// Runs all tours.
///
/// # Errors
/// When a command fails or prints something else than the document says. The folder is kept then.
pub(crate) fn run(root: &Path) -> Result<()> {
    let binary = product::build(root)?;
    for section in HERE {
        run_section(root, &binary, section)?;
    }
    // Each with hosts of its own.
    for (document, heading) in ON_HOSTS {
        let ended = hosts::run_inside(&[binary.as_os_str(), document.as_ref(), heading.as_ref()])?;
        ensure!(ended.success(), "{document}, section {heading}: the tour on several hosts failed");
    }
    Ok(())
}

/// Runs one tour on hosts. Only where this process has a network, processes and mounts of its own.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_on_hosts(root: &Path, binary: &Path, section: (&str, &str)) -> Result<()> {
    run_section(root, binary, section)
}

fn run_section(root: &Path, binary: &Path, (document, heading): (&str, &str)) -> Result<()> {
    let text = fs::read_to_string(root.join(document)).with_context(|| format!("reading {document}"))?;
    let steps = steps::read(&text, heading).context(document.to_owned())?;
    let folder = tempfile::tempdir().context("making a folder for the tour")?;
    let mut session = prepare(binary, folder.path())?;
    let hosts = hosts::named(&steps);
    let (_ports, steps) = if hosts.is_empty() {
        copy_sources(root, &session.start)?;
        with_free_ports(steps)?
    } else {
        session.environment = hosts::make(&hosts, &session.start, &folder.path().join("programs"))?;
        (Vec::new(), steps)
    };
    if let Err(error) = session.run(&steps) {
        let kept = folder.keep();
        let place = format!("{document}, section {heading} (everything is in {})", kept.display());
        return Err(error.context(place));
    }
    tell(document, heading, &steps);
    Ok(())
}

#[allow(clippy::print_stdout)]
fn tell(document: &str, heading: &str, steps: &[Step]) {
    let compared = steps.iter().filter(|step| step.expected.is_some()).count();
    let blocks = steps.len();
    println!("tour: {document}, {heading}: {blocks} blocks were run, {compared} outputs are as it says");
}

fn prepare(binary: &Path, folder: &Path) -> Result<Session> {
    let [start, records, programs] = ["harmonylite", "records", "programs"].map(|name| folder.join(name));
    for folder in [&start, &records, &programs] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    std::os::unix::fs::symlink(binary, programs.join("harmonylite"))?;
    std::os::unix::fs::symlink(fs::canonicalize(NatsServer::binary()?)?, programs.join("nats-server"))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("sqlite3").is_file()) {
        write_program(&programs.join("sqlite3"), STAND_IN)?;
    }
    let path = first_in(&programs, &path)?;
    Ok(Session { start, records, path, environment: BTreeMap::new(), deadline: DEADLINE })
}

/// What a clone would have, and what is not committed yet.
fn copy_sources(root: &Path, target: &Path) -> Result<()> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listed = command.output().context("running git")?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    // One that is deleted and not committed is still listed.
    for name in names.split_terminator('\0').filter(|name| root.join(name).is_file()) {
        let path = target.join(name);
        fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        fs::copy(root.join(name), path).with_context(|| format!("copying {name}"))?;
    }
    Ok(())
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("making it executable")
}

fn first_in(folder: &Path, path: &OsString) -> Result<OsString> {
    let all = std::iter::once(folder.to_owned()).chain(std::env::split_paths(path));
    std::env::join_paths(all).context("a folder of PATH has a colon in its name")
}

/// The steps with a free port for each that they name, and the reservations.
fn with_free_ports(mut steps: Vec<Step>) -> Result<(Vec<Port>, Vec<Step>)> {
    let mut ports = BTreeMap::new();
    for number in PORTS {
        ports.insert(number, Port::reserve()?);
    }
    for step in &mut steps {
        for text in [Some(&mut step.commands), step.expected.as_mut()].into_iter().flatten() {
            *text = replace_ports(text, &|number| Some(ports.get(&number)?.number()));
        }
    }
    Ok((ports.into_values().collect(), steps))
}

/// Replaces numbers that stand for themselves, not as a part of a longer one.
fn replace_ports(text: &str, port: &dyn Fn(u16) -> Option<u16>) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|character: char| character.is_ascii_digit()) {
        let length =
            rest[start..].find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len() - start);
        let (before, digits, after) = (&rest[..start], &rest[start..start + length], &rest[start + length..]);
        let other = digits.parse().ok().and_then(port).map(|number| number.to_string());
        replaced.push_str(before);
        replaced.push_str(other.as_deref().unwrap_or(digits));
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_ports() {
        let port = |number: u16| (number == 4221).then_some(12_345);
        let replace = |text: &str| replace_ports(text, &port);
        assert_eq!(
            replace("127.0.0.1:4221, 14221 42210 4222 4221"),
            "127.0.0.1:12345, 14221 42210 4222 12345"
        );
        assert_eq!(replace("4221x, no99999999"), "12345x, no99999999");
        assert_eq!(replace("nothing"), "nothing");
    }

    #[test]
    fn the_copy_has_the_sources_and_not_what_is_built() -> Result<()> {
        let folder = tempfile::tempdir()?;
        copy_sources(&crate::workspace(), folder.path())?;
        assert!(folder.path().join("xtask/src/tour/mod.rs").is_file());
        assert!(folder.path().join("Makefile").is_file());
        assert!(!folder.path().join("target").exists());
        Ok(())
    }

    /// What the stand-in prints on `database`.
    fn stand_in(folder: &Path, arguments: &[&str]) -> Result<std::process::Output> {
        let program = folder.join("sqlite3");
        write_program(&program, STAND_IN)?;
        Command::new(program).arg(folder.join("app.db")).args(arguments).output().context("running it")
    }

    #[test]
    fn the_stand_in_prints_as_the_shell_does() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let sql = "CREATE TABLE t(a, b); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; \
                   INSERT INTO t VALUES(1, 'x;y'), (2.0, NULL), (0.1, x'6162');";
        let output = stand_in(folder.path(), &[".timeout 5000", sql, "SELECT *, 7 FROM t", "SELECT 'end'"])?;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout)?, "1|x;y|7\n2.0||7\n0.1|ab|7\nend\n");
        let output = stand_in(folder.path(), &["SELECT * FROM nowhere"])?;
        assert!(!output.status.success());
        assert!(String::from_utf8(output.stderr)?.contains("no such table: nowhere"));
        Ok(())
    }
}
