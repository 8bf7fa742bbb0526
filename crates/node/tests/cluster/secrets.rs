//! Secrets: from files and from the environment, and nowhere to be seen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harmonylite_testkit::{Cluster, Node, ProcessId, Result, ensure};

use crate::support::{BINARY, DEADLINE, run, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const PASSWORD: &str = "hush-hush-0815";
const VARIABLE: &str = "HARMONYLITE_NATS_USER_PASSWORD";

/// The program, as somebody runs it whose umask keeps nothing private.
fn careless(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("harmonylite");
    fs::write(&program, format!("#!/bin/sh\numask 0\nexec {BINARY} \"$@\"\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// Two nodes with TLS and a password: the first has it in a file, the second in its environment.
fn equipped(folder: &Path) -> Result<Cluster> {
    let certs =
        |arguments: &[&str]| run(Command::new(BINARY).arg("certs").args(arguments).current_dir(folder));
    certs(&["init", "--cluster", "shop"])?;
    let mut cluster = Cluster::new(careless(folder)?, 2, SCHEMA)?;
    for node in &mut cluster.nodes {
        let name = node.id().to_string();
        certs(&["node", "--name", &name, "--host", "127.0.0.1"])?;
        for (key, file) in [("ca_file", "ca.pem"), ("cert_file", "node.pem"), ("key_file", "node.key")] {
            let path = folder.join("certs").join(&name).join(file);
            node.set(&format!("nats.{key}"), format!("'{}'", path.display()));
        }
        node.set("nats.user_name", "'cluster'");
        node.set("logging.verbose", true);
    }
    let file = folder.join("password");
    fs::write(&file, format!("{PASSWORD}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    cluster.nodes[0].set("nats.user_password_file", format!("'{}'", file.display()));
    cluster.nodes[1].set_variable(VARIABLE, PASSWORD);
    cluster.nodes[1].set("logging.format", "'json'");
    Ok(cluster)
}

/// What nobody may see: the password, and the middle of each key.
fn secrets(folder: &Path) -> Result<Vec<String>> {
    let mut secrets = vec![PASSWORD.to_owned()];
    for key in ["certs/ca.key", "certs/1/node.key", "certs/2/node.key"] {
        secrets.extend(fs::read_to_string(folder.join(key))?.lines().nth(1).map(str::to_owned));
    }
    ensure!(secrets.iter().all(|secret| secret.len() > 10), "{secrets:?}");
    Ok(secrets)
}

fn of_process(process: ProcessId, what: &str) -> Result<String> {
    let bytes = fs::read(format!("/proc/{}/{what}", process.pid()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All that a node tells anybody, with what it is.
fn told(node: &Node) -> Result<Vec<(String, String)>> {
    let (config, db) = (node.config_file().display().to_string(), node.db().display().to_string());
    let commands: [&[&str]; 11] = [
        &["status", "--json", "--db", &db],
        &["status", "--cluster", "--db", &db],
        &["node", "list", "--json", "--db", &db],
        // Everything that the library for NATS says from now on, its CONNECT included.
        &["log-level", "trace", "async_nats", "--db", &db],
        &["status", "--config", &config],
        &["check-config", "--config", &config],
        &["check-config", "--json", "--config", &config],
        &["run", "--dry-run", "--config", &config],
        &["version", "--config", &config],
        // Errors: another process has the database; a value that is none.
        &["run", "--config", &config],
        &["check-config", "--config", &config, "--node-id", "x"],
    ];
    let mut told = Vec::new();
    for arguments in commands {
        let output = node.command_output(arguments)?;
        let both = [output.stdout, output.stderr].concat();
        told.push((arguments.join(" "), String::from_utf8_lossy(&both).into_owned()));
    }
    let server = node.server()?;
    for (what, process) in [("node", node.process()), ("server", Some(server))] {
        let lines = process.map(|process| of_process(process, "cmdline")).transpose()?;
        told.push((format!("the command line of the {what}"), lines.unwrap_or_default()));
    }
    told.push(("the environment of the server".to_owned(), of_process(server, "environ")?));
    told.push(("the log".to_owned(), fs::read_to_string(node.log_file())?));
    Ok(told)
}

#[test]
fn secrets_from_files_and_the_environment_are_nowhere_to_be_seen() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = equipped(folder.path())?;
    cluster.start_all()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'two')")?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 2)?;
    cluster.wait_following(DEADLINE)?;
    let secrets = secrets(folder.path())?;
    for node in &cluster.nodes {
        for (what, text) in told(node)? {
            ensure!(text.len() > 10, "{what} says nothing: {text:?}");
            let shown = secrets.iter().find(|secret| text.contains(secret.as_str()));
            ensure!(shown.is_none(), "{what} of node {} shows a secret:\n{text}", node.id());
        }
    }
    cluster.nodes[0].kill9_server()?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(3, 'three')")?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 3)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(4, 'four')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 4)?;
    let environment = of_process(cluster.nodes[1].server()?, "environ")?;
    ensure!(environment.contains("GOMEMLIMIT") && !environment.contains(VARIABLE), "{environment}");
    cluster.stop_all()?;
    for node in &cluster.nodes {
        let log = fs::read_to_string(node.log_file())?;
        let shown = secrets.iter().any(|secret| log.contains(secret.as_str()));
        // Where the library would show them.
        let traced = log.contains("write operation: CONNECT");
        ensure!(log.contains("peer reached") && traced && !shown, "{log}");
    }
    Ok(())
}

#[test]
fn what_we_write_with_secrets_in_it_is_private_whatever_the_umask() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = equipped(folder.path())?;
    cluster.start_all()?;
    let mode = |path: &Path| fs::metadata(path).map(|file| file.permissions().mode() & 0o777);
    for node in &cluster.nodes {
        let nats = node.folder().join("nats");
        assert_eq!(mode(&nats)?, 0o700);
        let config = nats.join(format!("harmonylite-node-{}.conf", node.id()));
        let text = fs::read_to_string(&config)?;
        ensure!(text.contains(PASSWORD), "the test looks at the right file");
        assert_eq!(mode(&config)?, 0o600);
        for entry in fs::read_dir(node.folder())? {
            let path = entry?.path();
            let socket = std::os::unix::fs::FileTypeExt::is_socket(&fs::metadata(&path)?.file_type());
            // Who may write to the socket may drop dead letters.
            ensure!(!socket || mode(&path)? == 0o600, "{}", path.display());
        }
    }
    Ok(())
}
