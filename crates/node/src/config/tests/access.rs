//! What is said about servers, credentials, seeds and certificates.

use std::os::unix::fs::PermissionsExt;

use super::{Environment, Mode, assert_said, load, said, settings};

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

#[test]
fn servers_of_an_existing_cluster_make_it_shared_mode() {
    let shared = settings("[nats]\nurls = ['nats://n1:1', 'tls://n2', 'dns://n1:1']\n").nats;
    let urls: Vec<String> = shared.urls.iter().map(ToString::to_string).collect();
    assert_eq!(
        (shared.mode, urls),
        (Mode::Shared, vec!["nats://n1:1".to_owned(), "tls://n2:4222".to_owned()])
    );
    assert_said("[nats]\nurls = ['a']\nmode = 'mesh'", &["node.toml:4: error: `nats.urls`", "in mesh mode"]);
    assert_eq!(settings("[nats]\nurls = []\nmode = 'auto'").nats.mode, Mode::Mesh);
    assert_said("[nats]\nmode = 'star'", &["must be one of auto, mesh, shared"]);
    let own_server = "[cluster]\nlisten = '127.0.0.1:1'\npeers = ['a:1']\n[nats]\nurls = ['a']\n";
    assert_eq!(said(own_server).matches(": warning: ").count(), 2, "{}", said(own_server));
}

#[test]
fn credentials_are_taken_out_of_the_addresses() {
    let me = settings("nats.urls = ['nats://me:s3cret@n1', 'n2']").nats;
    assert_eq!(me.credentials.as_ref().map(|me| me.user_password.reveal()), Some("s3cret"));
    assert!(!format!("{me:?}").contains("s3cret"));
    assert_said("nats.urls = ['a:b@n1', 'c:d@n2']", &["error: `nats.urls`: entry 2", "different users"]);
    let both = "nats.urls = ['a:b@n1']\nnats.user_name = 'u'\nnats.user_password = 'p'";
    assert_said(both, &["warning: `nats.urls`", "nats.user_name wins"]);
    assert_eq!(settings(both).nats.credentials.map(|c| c.user_name).as_deref(), Some("u"));
}

#[test]
fn a_hub_listens_where_others_can_name_it() {
    let hub = settings("[cluster]\nlisten = '127.0.0.1:4221'\n[nats]\nmode = 'shared'");
    assert_eq!((hub.nats.mode, hub.nats.urls.len()), (Mode::Shared, 0));
    assert_said("nats.mode = 'shared'", &["error: `nats.mode`", "its port is not fixed", "cluster.listen"]);
    assert_said("nats.mode = 'shared'\ncluster.listen = '10.0.0.1:4221'", &["needs credentials"]);
}

#[test]
fn what_would_make_it_less_safe_is_refused_and_not_ignored() {
    assert_said("cluster.peers = ['tls://db2:1']", &["error", "whether nodes speak TLS"]);
}

#[test]
fn a_password_is_read_from_its_file() {
    let good = file("p\u{e4}ss word\r\n");
    let key = format!("nats.user_name = 'u'\nnats.user_password_file = '{}'\n", good.path().display());
    let credentials = settings(&key).nats.credentials.unwrap();
    assert_eq!(credentials.user_password.reveal(), "p\u{e4}ss word");
    assert_eq!(said(&key), "");
    assert!(settings(&format!("{key}cluster.listen = '10.0.0.1:4221'")).nats.credentials.is_some());
    assert_said(&format!("{key}nats.user_password = 'other'"), &["warning", "the file is not read"]);
    let alone = format!("nats.user_password_file = '{}'", good.path().display());
    assert_said(&alone, &["error: `nats.user_password_file`: `nats.user_name` is missing"]);
    let empty = file("\n");
    let named = |path: &str| format!("nats.user_name = 'u'\nnats.user_password_file = '{path}'");
    assert_said(&named(&empty.path().display().to_string()), &["the file is empty"]);
    assert_said(&named("/nowhere"), &["no such file"]);
    let bad = file("two\nlines");
    let said_of_bad = said(&named(&bad.path().display().to_string()));
    assert!(said_of_bad.contains("control character") && !said_of_bad.contains("lines"), "{said_of_bad}");
    std::fs::set_permissions(good.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_said(&key, &["warning: `nats.user_password_file`: others", "chmod 600"]);
}

#[test]
fn a_leaf_node_needs_the_domain_of_the_streams() {
    let leaf = "cluster.leaf_servers = ['nats-leaf://me:s3cret@n1']\n";
    let domain = "nats.jetstream_domain = 'hub'\n";
    let good = settings(&format!("{leaf}{domain}"));
    assert_eq!(
        (good.nats.mode, good.cluster.leaf_servers[0].as_leaf()),
        (Mode::Shared, "nats-leaf://n1:7422".into())
    );
    assert!(
        good.nats.credentials.is_some() && !good.keeps_streams() && !format!("{good:?}").contains("s3cret")
    );
    assert_said(leaf, &["node.toml:3: error: `cluster.leaf_servers`", "`nats.jetstream_domain` is missing"]);
    assert_said(
        &format!("{leaf}{domain}nats.mode = 'mesh'"),
        &["error: `cluster.leaf_servers`: in mesh mode"],
    );
    assert_said(
        &format!("{leaf}{domain}nats.urls = ['n2']"),
        &["error: `cluster.leaf_servers`: with nats.urls"],
    );
    assert_said("nats.jetstream_domain = 'a.b'", &["error: `nats.jetstream_domain`"]);
}

#[test]
fn a_configuration_with_a_password_that_everybody_may_read_is_warned_about() {
    let password = "db_path = 'x'\nnode_id = 1\nnats.user_name = 'u'\nnats.user_password = 'p'";
    let configuration = file(password);
    let warned = || {
        let loaded = load(Some(configuration.path()), &Environment::default(), &[]).unwrap();
        loaded.warnings.iter().any(|problem| problem.message.contains("a password stands in it"))
    };
    for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true)] {
        std::fs::set_permissions(configuration.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(warned(), expected, "{mode:o}");
    }
}

#[test]
fn a_node_of_a_shared_cluster_applies_what_comes() {
    assert_said("replicate = false\n[nats]\nurls = ['n1']", &["error: `replicate`", "mesh"]);
    assert_said("replicate = false\n[nats]\nmode = 'shared'", &["error: `replicate`"]);
    assert_eq!(said("replicate = false"), "");
}
