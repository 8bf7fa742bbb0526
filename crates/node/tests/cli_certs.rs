//! `harmonylite certs` as its user sees it: files, permissions, what is printed and what is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use harmonylite::exit::ExitCode;
use harmonylite::tls::{Authority, Validity};
use serde_json::Value;
use tempfile::TempDir;

/// Runs `harmonylite certs` in `folder`, with a umask that keeps nothing private by itself.
fn certs(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    let script = "umask 0; exec \"$0\" certs \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_harmonylite")]).args(arguments);
    command.env_clear().current_dir(folder.path()).output().unwrap()
}

#[track_caller]
fn made(folder: &TempDir, arguments: &[&str]) -> String {
    let output = certs(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(folder: &TempDir, arguments: &[&str], reason: &str) {
    let output = certs(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(i32::from(ExitCode::Usage.number())), "{arguments:?}: {said}");
    assert!(said.contains(reason), "{reason:?} is not in {said}");
}

fn shown(folder: &TempDir, path: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(&made(folder, &["show", path, "--json"])).unwrap();
    report["certificates"].as_array().unwrap().clone()
}

fn with_authority() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    made(&folder, &["init", "--cluster", "shop"]);
    folder
}

#[test]
fn an_authority_and_a_node_are_made_and_shown() {
    let folder = with_authority();
    let said = made(&folder, &["node", "--name", "db1", "--host", "db1.example.net", "--host", "10.0.0.1"]);
    // The lines for the configuration, ready to be copied.
    let at = folder.path().canonicalize().unwrap().join("certs/db1");
    let lines = said.split_once("[nats]").unwrap().1.parse::<toml::Table>().unwrap();
    for (key, file) in [("ca_file", "ca.pem"), ("cert_file", "node.pem"), ("key_file", "node.key")] {
        let path = Path::new(lines[key].as_str().unwrap()).canonicalize().unwrap();
        assert_eq!(path, at.join(file));
    }
    let all = shown(&folder, "certs");
    assert_eq!(all.len(), 2, "the authority once, the node once: {all:?}");
    // A second may have begun since they were made.
    let days = |at: usize| all[at]["days_left"].as_i64().unwrap();
    assert_eq!(all[0]["authority"], true);
    assert!((3649..=3650).contains(&days(0)) && (729..=730).contains(&days(1)), "{all:?}");
    assert_eq!(all[1]["subject"], "O=shop, CN=db1");
    assert_eq!(all[1]["hosts"][0], "db1.example.net");
    assert_eq!(all[1]["state"], "valid");
    assert!(made(&folder, &["show"]).contains("10.0.0.1"));
}

#[test]
fn keys_are_for_their_owner_only_whatever_the_umask() {
    let folder = with_authority();
    made(&folder, &["node", "--node-id", "2", "--host", "10.0.0.2"]);
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("certs"), mode("certs/node-2")), (0o700, 0o700));
    assert_eq!((mode("certs/ca.key"), mode("certs/node-2/node.key")), (0o600, 0o600));
    assert_eq!((mode("certs/ca.pem"), mode("certs/node-2/node.pem")), (0o644, 0o644));
    assert!(!folder.path().join("certs/node-2/ca.key").exists(), "no node gets the authority's key");
}

#[test]
fn nothing_is_overwritten_without_force_and_a_renewal_keeps_the_hosts() {
    let folder = with_authority();
    let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
    made(&folder, &["node", "--name", "db1", "--host", "db1.example.net"]);
    let before = (read("certs/ca.key"), read("certs/db1/node.key"), read("certs/db1/node.pem"));
    refused(&folder, &["init", "--cluster", "shop"], "certs/ca.pem is there already");
    refused(&folder, &["node", "--name", "db1", "--host", "other"], "node.pem is there already");
    assert_eq!(before, (read("certs/ca.key"), read("certs/db1/node.key"), read("certs/db1/node.pem")));
    made(&folder, &["node", "--name", "db1", "--force", "--days", "20"]);
    assert_ne!(before.1, read("certs/db1/node.key"));
    let renewed = shown(&folder, "certs/db1/node.pem");
    assert_eq!(renewed[0]["hosts"][0], "db1.example.net");
    assert_eq!(renewed[0]["state"], "expires soon");
}

#[test]
fn a_node_certificate_never_outlives_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    made(&folder, &["init", "--cluster", "shop", "--days", "100", "--dir", "ca"]);
    made(&folder, &["node", "--name", "a", "--host", "a", "--dir", "ca"]);
    let both = shown(&folder, "ca");
    assert_eq!(both[0]["not_after"], both[1]["not_after"]);
}

#[test]
fn an_authority_that_ended_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Validity { now_s: 1_000_000_000, end_s: 1_000_086_400 };
    let authority = Authority::new("shop", ended).unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    std::fs::write(folder.path().join("certs/ca.pem"), &authority.certificate).unwrap();
    std::fs::write(folder.path().join("certs/ca.key"), &authority.key).unwrap();
    refused(&folder, &["node", "--name", "a", "--host", "a"], "ended on 2001-09-10");
    assert_eq!(shown(&folder, "certs")[0]["state"], "expired");
    assert!(!folder.path().join("certs/a").exists());
}

#[test]
fn what_is_missing_or_makes_no_sense_is_said() {
    let folder = tempfile::tempdir().unwrap();
    refused(&folder, &["node", "--name", "a", "--host", "a"], "certs init");
    made(&folder, &["init", "--cluster", "shop"]);
    refused(&folder, &["node", "--name", "a"], "--host");
    refused(&folder, &["node", "--name", "a", "--host", "a:4221"], "without scheme and port");
    refused(&folder, &["node", "--name", "../a", "--host", "a"], "--name");
    refused(&folder, &["node", "--name", "a", "--host", "a", "--days", "0"], "--days");
    refused(&folder, &["show", "nowhere"], "nowhere");
    std::fs::write(folder.path().join("x.pem"), "x").unwrap();
    refused(&folder, &["show", "x.pem"], "holds no certificate");
    let outside = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(outside, 2, "certs and x.pem");
}
