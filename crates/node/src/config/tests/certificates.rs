//! What is said about certificates: incomplete, unreadable, too old, not of the authority, for other hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::{Environment, Invalid, judge};
use crate::tls::{Authority, Validity};

const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 24 * 3600;

/// A node's three files, and what a configuration with them is told.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// Valid for so many days, for that host.
    fn new(days: u64, host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let validity = Validity { now_s: NOW_S, end_s: NOW_S + days * DAY_S };
        let authority =
            Authority::new("shop", Validity { end_s: NOW_S + 4_000 * DAY_S, ..validity }).unwrap();
        let node = authority.issue("a", "shop", &[host.to_owned()], validity).unwrap();
        let files = Self { folder };
        for (name, text) in
            [("ca.pem", authority.certificate), ("node.pem", node.certificate), ("node.key", node.key)]
        {
            fs::write(files.path(name), text).unwrap();
            fs::set_permissions(files.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn keys(&self, listed: &[&str]) -> String {
        let name = |key: &&str| match *key {
            "ca_file" => "ca.pem",
            "cert_file" => "node.pem",
            _ => "node.key",
        };
        let line = |key: &&str| format!("nats.{key} = '{}'\n", self.path(name(key)));
        listed.iter().map(line).collect()
    }

    fn all(&self) -> String {
        self.keys(&["ca_file", "cert_file", "key_file"])
    }

    /// What is said that many days after the files were made.
    fn said_after(&self, days: u64, more: &str) -> String {
        said(&format!("{}{more}", self.all()), days)
    }
}

fn said(text: &str, days: u64) -> String {
    let mut environment = Environment::new(&[], Some("0123456789abcdef"));
    environment.now_s = Some(NOW_S + days * DAY_S);
    let text = format!("db_path = '/data/app.db'\nnode_id = 1\n{text}");
    match judge(Some(("node.toml", &text)), &environment, &[]) {
        Ok(loaded) => Invalid { problems: loaded.warnings, db_path: None }.to_string(),
        Err(invalid) => invalid.to_string(),
    }
}

#[track_caller]
fn assert_holds(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

const BEYOND: &str = "cluster.listen = '10.0.0.1:4221'\n";

#[test]
fn certificates_are_credentials_for_a_listener_beyond_loopback() {
    let files = Files::new(400, "10.0.0.1");
    assert_eq!(files.said_after(0, BEYOND), "");
    assert_holds(&said(BEYOND, 0), &["needs credentials", "or TLS"]);
}

#[test]
fn a_node_with_a_server_of_its_own_needs_all_three_files() {
    let files = Files::new(400, "10.0.0.1");
    for (there, missing) in [("ca_file", "cert_file"), ("cert_file", "ca_file"), ("key_file", "ca_file")] {
        let said = said(&files.keys(&[there]), 0);
        assert_holds(&said, &[&format!("error: `nats.{there}`: `nats.{missing}` is missing"), "certs"]);
    }
}

#[test]
fn a_certificate_that_ended_is_refused_and_one_that_soon_will_is_warned_about() {
    let files = Files::new(100, "10.0.0.1");
    assert_eq!(files.said_after(70, ""), "");
    assert_holds(&files.said_after(71, ""), &["warning: `nats.cert_file`: the certificate ends in 29 days"]);
    let ended = files.said_after(110, "");
    assert_holds(
        &ended,
        &["error: `nats.cert_file`: the certificate ended 10 days ago", "certs node --name NAME --force"],
    );
    assert_eq!(ended.matches("error").count(), 1, "one reason is enough: {ended}");
    assert_holds(
        &files.said_after(5_000, ""),
        &["error: `nats.ca_file`: the certificate ended 1000 days ago", "certs init"],
    );
}

#[test]
fn a_clock_before_the_certificate_is_asked_about() {
    let mut environment = Environment::new(&[], Some("0123456789abcdef"));
    environment.now_s = Some(NOW_S - 2 * DAY_S);
    let files = Files::new(100, "a");
    let text = format!("db_path = 'x'\n{}", files.all());
    let said = judge(Some(("node.toml", &text)), &environment, &[]).unwrap_err().to_string();
    assert_holds(&said, &["does not hold yet", "clock"]);
}

#[test]
fn files_that_do_not_belong_together_are_refused_here_and_not_by_the_others() {
    let (files, foreign) = (Files::new(100, "a"), Files::new(100, "a"));
    fs::copy(foreign.path("ca.pem"), files.path("ca.pem")).unwrap();
    assert_holds(&files.said_after(0, ""), &["error: `nats.cert_file`", "none of them has signed it"]);
    let files = Files::new(100, "a");
    fs::copy(foreign.path("node.key"), files.path("node.key")).unwrap();
    assert_holds(&files.said_after(0, ""), &["error: `nats.key_file`", "do not belong together"]);
    fs::write(files.path("node.pem"), "nothing").unwrap();
    assert_holds(&files.said_after(0, ""), &["error: `nats.cert_file`", "node.pem holds no certificate"]);
    fs::remove_file(files.path("ca.pem")).unwrap();
    assert_holds(&files.said_after(0, ""), &["error: `nats.ca_file`: no such file"]);
}

#[test]
fn a_certificate_for_other_hosts_and_a_key_that_others_read_are_warned_about() {
    let files = Files::new(100, "db1.example.net");
    assert_holds(
        &files.said_after(0, BEYOND),
        &["warning: `nats.cert_file`: it is not for 10.0.0.1", "it is for db1.example.net, localhost"],
    );
    assert_eq!(files.said_after(0, &format!("{BEYOND}cluster.advertise = 'db1.example.net:4221'\n")), "");
    fs::set_permissions(files.path("node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_holds(&files.said_after(0, ""), &["warning: `nats.key_file`: others", "chmod 600"]);
}
