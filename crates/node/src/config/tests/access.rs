//! What is said about credentials, seeds and certificates.

use std::os::unix::fs::PermissionsExt;

use super::{assert_said, said, settings};

/// A file with that text, which only its owner may read.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_seed_is_read_from_its_file_and_wins_over_a_password() {
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let good = file(&format!("-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"));
    let key = format!("nats.seed_file = '{}'\n", good.path().display());
    assert_eq!(settings(&key).nats.seed.unwrap().reveal(), SEED);
    assert_eq!(said(&key), "");
    assert_said(
        &format!("{key}nats.user_name = 'u'\nnats.user_password = 'p'"),
        &["warning", "seed_file wins"],
    );
    assert!(settings(&format!("{key}cluster.listen = '10.0.0.1:4221'")).nats.seed.is_some());
    std::fs::set_permissions(good.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_said(&key, &["node.toml:3: warning: `nats.seed_file`: others", "chmod 600"]);
    let bad = file(&SEED.replace("SUAC", "SUAD"));
    let said = said(&format!("nats.seed_file = '{}'", bad.path().display()));
    assert!(said.contains("there is no NKey seed") && !said.contains("SUAD"), "{said}");
    assert_said("nats.seed_file = '/nowhere'", &["no such file"]);
}
