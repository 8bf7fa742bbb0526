//! The supervised server: starting, stopping, dying, being restarted, being refused.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use harmonylite::nats::{
    Auth, Connection, NatsError, Server, ServerEvent, ServerSettings, find_server_binary,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE, TestServer, child_pid, connect, credentials, eventually, is_running, kill, node, server_binary,
    settings, soon, start,
};

async fn refused(settings: ServerSettings) -> NatsError {
    let (events, _) = mpsc::channel(1);
    soon("refusal", Server::start(settings, events, CancellationToken::new())).await.unwrap_err()
}

#[tokio::test]
async fn a_started_server_answers_and_says_whose_it_is() {
    let test = TestServer::start_with(|settings| settings.node_id = node(42)).await;
    let connection = Connection::open(&test.server.connect_settings()).await.unwrap();
    let peer = connection.ready(DEADLINE).await.unwrap();
    assert_eq!(peer.node, Some(node(42)));
    assert_eq!(peer.version, Some(test.server.version()));
    assert_eq!(peer.max_payload, 8 << 20);
}

#[tokio::test]
async fn a_stopped_server_is_gone_and_its_files_can_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _events) = start(settings(dir.path())).await;
    let (pid, listen) = (child_pid(dir.path()), server.listen());
    soon("stop", server.stop()).await;
    assert!(!is_running(pid));
    let (again, _events) = start(settings(dir.path())).await;
    assert_eq!(again.listen(), listen, "a chosen port is kept");
}

#[tokio::test]
async fn cancelling_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (events, _receiver) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let server = Server::start(settings(dir.path()), events, cancel.clone()).await.unwrap();
    let pid = child_pid(dir.path());
    cancel.cancel();
    eventually("the server ends", || !is_running(pid)).await;
    soon("stop", server.stop()).await;
}

#[tokio::test]
async fn the_configuration_is_private() {
    let test = TestServer::start().await;
    let mode = |name: &str| {
        std::fs::metadata(test.dir.path().join("nats").join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("harmonylite-node-1.conf"), 0o600);
    assert_eq!(mode(""), 0o700);
}

#[tokio::test]
async fn a_killed_server_is_restarted_on_its_port_and_clients_come_back() {
    let mut test = TestServer::start().await;
    let connection = test.connect().await;
    for _ in 0..3 {
        let pid = test.pid();
        test.kill();
        let down = soon("news of the death", test.events.recv()).await.unwrap();
        assert!(
            matches!(&down, ServerEvent::Down { reason, .. } if reason.contains("signal: 9")),
            "{down:?}"
        );
        let restarted = soon("news of the restart", test.events.recv()).await.unwrap();
        assert_eq!(restarted, ServerEvent::Restarted);
        assert_ne!(test.pid(), pid);
        connection.ready(DEADLINE).await.unwrap();
    }
}

/// The test runs itself as another process, which starts a server and is killed.
#[tokio::test]
async fn the_server_dies_with_a_killed_parent() {
    const DIR: &str = "HARMONYLITE_TEST_PARENT_DIR";
    if let Some(dir) = std::env::var_os(DIR) {
        let _server = start(settings(Path::new(&dir))).await;
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::the_server_dies_with_a_killed_parent"])
        .env(DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let log = dir.path().join("nats/harmonylite-node-1.child");
    eventually("the parent starts a server", || log.exists()).await;
    let pid = child_pid(dir.path());
    assert!(is_running(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the server ends", || !is_running(pid)).await;
}

#[tokio::test]
async fn a_server_that_outlived_its_parent_is_stopped_first() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _events) = start(settings(dir.path())).await;
    soon("stop", server.stop()).await;
    let files = dir.path().canonicalize().unwrap().join("nats");
    let mut stale = Command::new(server_binary())
        .arg("-c")
        .arg(files.join("harmonylite-node-1.conf"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stale.id())).unwrap();
    let started = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap();
    let note = format!("{} {started}\n", stale.id());
    std::fs::write(files.join("harmonylite-node-1.child"), note).unwrap();
    // It has replaced the test's own image by the server's when its arguments are those of the server.
    let cmdline = format!("/proc/{}/cmdline", stale.id());
    eventually("it runs", || std::fs::read_to_string(&cmdline).is_ok_and(|text| text.contains(".conf")))
        .await;

    let (_server, _events) = start(settings(dir.path())).await;
    assert!(!is_running(i32::try_from(stale.id()).unwrap()));
    stale.wait().unwrap();
}

#[tokio::test]
async fn a_process_that_only_has_the_old_id_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _events) = start(settings(dir.path())).await;
    soon("stop", server.stop()).await;
    let mut innocent = Command::new("sleep").arg("60").spawn().unwrap();
    let note = format!("{} 1\n", innocent.id());
    std::fs::write(dir.path().join("nats/harmonylite-node-1.child"), note).unwrap();
    let (_server, _events) = start(settings(dir.path())).await;
    assert!(innocent.try_wait().unwrap().is_none());
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[tokio::test]
async fn two_servers_never_share_a_store() {
    let test = TestServer::start().await;
    let error = refused(settings(test.dir.path())).await;
    assert!(matches!(error, NatsError::StoreLocked { .. }), "{error}");
    assert!(is_running(test.pid()));
}

#[tokio::test]
async fn two_nodes_may_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _events) = start(settings(dir.path())).await;
    let mut other = settings(dir.path());
    other.node_id = node(2);
    let (two, _events) = start(other).await;
    assert_ne!(one.listen(), two.listen());
    connect(&one.connect_settings()).await;
    connect(&two.connect_settings()).await;
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.listen = other.local_addr().unwrap();
    let error = refused(settings.clone()).await;
    assert!(matches!(error, NatsError::PortTaken { .. }), "{error}");
    assert!(error.to_string().contains(&settings.listen.to_string()), "{error}");
}

#[tokio::test]
async fn a_listener_beyond_loopback_needs_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.listen = "0.0.0.0:0".parse().unwrap();
    let error = refused(settings).await;
    assert!(matches!(error, NatsError::ListenerOpen { .. }), "{error}");
}

#[tokio::test]
async fn a_configuration_that_the_server_refuses_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let extra = dir.path().join("extra.conf");
    std::fs::write(&extra, "max_payload: nonsense\n").unwrap();
    let mut settings = settings(dir.path());
    settings.server_config = Some(extra);
    let error = refused(settings).await;
    assert!(matches!(error, NatsError::ServerEnded { .. }), "{error}");
    assert!(error.to_string().contains("extra.conf"), "{error}");
}

#[tokio::test]
async fn the_users_configuration_wins() {
    let dir = tempfile::tempdir().unwrap();
    let extra = dir.path().join("extra.conf");
    std::fs::write(&extra, "max_payload: 2MB\n").unwrap();
    let mut settings = settings(dir.path());
    settings.server_config = Some(extra);
    let (server, _events) = start(settings).await;
    let connection = Connection::open(&server.connect_settings()).await.unwrap();
    assert_eq!(connection.ready(DEADLINE).await.unwrap().max_payload, 2 << 20);
}

#[tokio::test]
async fn the_users_configuration_cannot_move_the_store_from_under_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let extra = dir.path().join("extra.conf");
    let elsewhere = dir.path().join("elsewhere");
    std::fs::write(&extra, format!("jetstream {{ store_dir: \"{}\" }}\n", elsewhere.display())).unwrap();
    let mut settings = settings(dir.path());
    settings.server_config = Some(extra);
    let error = refused(settings).await;
    assert!(error.to_string().contains("store_dir"), "{error}");
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn a_users_configuration_that_locks_us_out_is_refused() {
    for (text, hint) in [
        ("authorization { users: [ { user: a, password: b } ] }\n", "accounts of its own"),
        // Not `port`: beside our `listen` the server takes either of the two, by the chance of a Go map's order.
        ("listen: \"127.0.0.1:-1\"\n", "listen elsewhere"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let extra = dir.path().join("extra.conf");
        std::fs::write(&extra, text).unwrap();
        let mut settings = settings(dir.path());
        settings.server_config = Some(extra);
        settings.peer_auth = credentials("harmony", "right");
        let error = refused(settings).await.to_string();
        assert!(error.contains("nats.server_config") && error.contains(hint), "{error}");
    }
}

fn fake_binary(dir: &Path, says: &str) -> std::path::PathBuf {
    let path = dir.join("fake-nats-server");
    // Written under another name: a file that a concurrently forked process holds open for writing cannot run.
    let script = format!("#!/bin/sh\necho '{says}'\n");
    let status = Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"", "sh", &script])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    path
}

#[test]
fn an_old_server_is_refused_with_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake_binary(dir.path(), "nats-server: v2.9.10");
    let error = find_server_binary(Some(&fake)).unwrap_err();
    assert!(matches!(error, NatsError::BinaryTooOld { .. }), "{error}");
    assert!(error.to_string().contains("2.9.10"), "{error}");
}

#[test]
fn something_else_than_a_server_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = find_server_binary(Some(&fake_binary(dir.path(), "hello"))).unwrap_err();
    assert!(error.to_string().contains("hello"), "{error}");
    let error = find_server_binary(Some(&dir.path().join("missing"))).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn the_pinned_server_is_new_enough() {
    let (path, version) = find_server_binary(Some(&server_binary())).unwrap();
    assert_eq!(path, server_binary());
    assert!(version >= harmonylite::nats::SERVER_VERSION_MIN);
}

#[tokio::test]
async fn wrong_credentials_are_reported_as_such_and_soon() {
    let right = credentials("harmony", "right");
    let test = TestServer::start_with(|settings| settings.peer_auth = right.clone()).await;
    test.connect_as_peer(right).await;
    for wrong in [credentials("harmony", "wrong"), Auth::Anonymous] {
        let connection = Connection::open(&test.peer_settings(wrong)).await.unwrap();
        let error = soon("refusal", connection.ready(DEADLINE)).await.unwrap_err();
        assert!(matches!(error, NatsError::WrongCredentials { .. }), "{error}");
        assert!(!error.to_string().contains("wrong\""), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _events) = start(settings(dir.path())).await;
    let settings = server.connect_settings();
    soon("stop", server.stop()).await;
    let connection = Connection::open(&settings).await.unwrap();
    let error = connection.ready(std::time::Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, NatsError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_dies_again_and_again_until_it_works() {
    let mut test = TestServer::start().await;
    let config = test.dir.path().join("nats/harmonylite-node-1.conf");
    let hidden = test.dir.path().join("hidden.conf");
    std::fs::rename(&config, &hidden).unwrap();
    kill(test.pid());
    for _ in 0..3 {
        let event = soon("news", test.events.recv()).await.unwrap();
        assert!(matches!(event, ServerEvent::Down { .. }), "{event:?}");
    }
    std::fs::rename(&hidden, &config).unwrap();
    let restarted =
        soon("restart", async { while test.events.recv().await != Some(ServerEvent::Restarted) {} });
    restarted.await;
    test.connect().await;
}

/// A nats-server that is killed whenever it starts to serve and one of its `deaths` is left.
fn mortal_server(folder: &Path, deaths: u32) -> std::path::PathBuf {
    (0..deaths).for_each(|death| std::fs::write(folder.join(format!("death-{death}")), "").unwrap());
    let (path, real) = (folder.join("nats-server"), server_binary());
    let (folder, real) = (folder.display(), real.display());
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ]; then\n  for death in {folder}/death-*; do\n    \
         [ -e \"$death\" ] && rm \"$death\" && kill -9 $$\n  done\nfi\nexec {real} \"$@\"\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_starts_is_started_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.binary = Some(mortal_server(dir.path(), 2));
    let (server, _events) = start(settings).await;
    connect(&server.connect_settings()).await;
}

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_is_an_error_that_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.binary = Some(mortal_server(dir.path(), 100));
    let error = refused(settings).await;
    assert!(matches!(&error, NatsError::ServerKilled { status } if status.contains('9')), "{error}");
    assert_eq!(harmonylite::exit::ExitError::from(error).code, harmonylite::exit::ExitCode::Unexpected);
}
