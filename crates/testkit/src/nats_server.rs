//! A real nats-server per test: own port, own folder, restartable on both, gone on drop.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::ports::Port;
use crate::process::Running;

const START_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A nats-server with JetStream on loopback. Every acknowledged message is on the disk (`sync_interval: always`), as
/// in the servers that the product runs.
#[derive(Debug)]
pub struct NatsServer {
    port: Port,
    folder: TempDir,
    log_is_hidden: bool,
    process: Option<Running>,
}

impl NatsServer {
    /// Starts one without authentication.
    ///
    /// # Errors
    /// When the binary is missing (`make tools` fetches it) or does not get ready.
    pub fn start() -> Result<NatsServer> {
        NatsServer::start_with("")
    }

    /// Starts one whose configuration ends in `settings` (in nats-server's own format), which win.
    ///
    /// # Errors
    /// As [`NatsServer::start`]; with the log when the server refuses the settings.
    pub fn start_with(settings: &str) -> Result<NatsServer> {
        let port = Port::reserve()?;
        let folder = tempfile::tempdir().context("making a folder for nats-server")?;
        fs::write(folder.path().join("server.conf"), configuration(&port, settings))?;
        let mut server = NatsServer { port, folder, log_is_hidden: false, process: None };
        server.restart()?;
        Ok(server)
    }

    /// The path of the binary: what `HARMONYLITE_NATS_SERVER` says, else the one that `make tools` fetched.
    ///
    /// # Errors
    /// When there is none.
    pub fn binary() -> Result<PathBuf> {
        let named = std::env::var_os("HARMONYLITE_NATS_SERVER").map(PathBuf::from);
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/nats-server");
        let binary = named.unwrap_or(fetched);
        ensure!(binary.is_file(), "there is no nats-server at {}: run `make tools`", binary.display());
        Ok(binary)
    }

    /// Its URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address())
    }

    /// Where it listens: `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The folder of its configuration, its log and its store.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of its streams.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// Its process number while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Running::pid)
    }

    /// The last lines of its log, of all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Running::log_tail).unwrap_or_default()
    }

    /// Does not print its log when it ends: for programs whose output nobody captures.
    pub fn hide_log(&mut self) {
        self.log_is_hidden = true;
        if let Some(process) = &mut self.process {
            process.hide_log();
        }
    }

    /// Starts it again on the same port and the same store; a running one is killed before.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn restart(&mut self) -> Result<()> {
        self.kill9()?;
        let mut command = Command::new(NatsServer::binary()?);
        command.arg("--config").arg(self.folder().join("server.conf"));
        // Not in the configuration: a `jetstream` block in the settings replaces the one there.
        command.arg("--store_dir").arg(self.store_dir());
        let mut process = Running::start("nats-server", command, &self.folder().join("log"))?;
        if self.log_is_hidden {
            process.hide_log();
        }
        process.wait_ready("a nats-server that answers", START_DEADLINE, || greeting(&self.port))?;
        self.process = Some(process);
        Ok(())
    }

    /// What the server says of itself to a client that connects (its INFO message).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn info(&self) -> Result<serde_json::Value> {
        greeting(&self.port)
    }

    /// Asks something by the text protocol, as a client without credentials, and gives the answer.
    ///
    /// # Errors
    /// When the server does not answer, or with anything but JSON.
    pub fn request(&self, subject: &str, body: &str) -> Result<serde_json::Value> {
        let mut stream = TcpStream::connect(self.port.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let length = body.len();
        write!(stream, "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n")?;
        write!(stream, "PUB {subject} answer {length}\r\n{body}\r\n")?;
        let mut lines = BufReader::new(stream).lines();
        loop {
            let line = lines.next().context("the server hung up")??;
            if line.starts_with("MSG answer") {
                return Ok(serde_json::from_str(&lines.next().context("no payload")??)?);
            }
        }
    }

    /// Ends it as a crash does (SIGKILL). Nothing happens when it does not run.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill9()?;
        }
        Ok(())
    }

    /// Ends it in order (SIGTERM). Nothing happens when it does not run.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.terminate(STOP_DEADLINE)?;
        }
        Ok(())
    }
}

fn configuration(port: &Port, settings: &str) -> String {
    let listen = port.address();
    format!("listen: \"{listen}\"\nmax_payload: 8MB\njetstream {{ sync_interval: always }}\n{settings}\n")
}

/// The first line that a server sends is `INFO {...}`; it comes after the streams are restored.
fn greeting(port: &Port) -> Result<serde_json::Value> {
    let stream = TcpStream::connect(port.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let info = line.strip_prefix("INFO ").with_context(|| format!("not a greeting: {line:?}"))?;
    serde_json::from_str(info).context("reading the greeting")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_jetstream_and_is_gone_after_the_drop() -> Result<()> {
        let server = NatsServer::start()?;
        assert_eq!(server.info()?["jetstream"], true);
        let (address, folder) = (server.port.address(), server.folder().to_owned());
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        assert!(!folder.exists());
        Ok(())
    }

    #[test]
    fn servers_run_side_by_side() -> Result<()> {
        let servers = [NatsServer::start()?, NatsServer::start()?, NatsServer::start()?];
        let ids: std::collections::BTreeSet<String> = servers
            .iter()
            .map(|server| Ok(server.info()?["server_id"].to_string()))
            .collect::<Result<_>>()?;
        assert_eq!(ids.len(), 3);
        Ok(())
    }

    #[test]
    fn acknowledged_messages_survive_a_kill_and_the_port_stays() -> Result<()> {
        let mut server = NatsServer::start()?;
        let stream = r#"{"name":"s","subjects":["s.>"],"storage":"file"}"#;
        assert!(server.request("$JS.API.STREAM.CREATE.s", stream)?["error"].is_null());
        assert_eq!(server.request("s.a", "hello")?["seq"], 1);
        let url = server.url();

        server.kill9()?;
        assert!(server.info().is_err());
        server.restart()?;

        assert_eq!(server.url(), url);
        let state = server.request("$JS.API.STREAM.INFO.s", "")?["state"].clone();
        assert_eq!(state["messages"], 1);
        server.stop()
    }

    #[test]
    fn settings_win_and_bad_ones_are_reported_with_the_log() -> Result<()> {
        let server = NatsServer::start_with("max_payload: 1KB")?;
        assert_eq!(server.info()?["max_payload"], 1024);
        let error = NatsServer::start_with("no_such_setting: 1").unwrap_err();
        assert!(format!("{error:#}").contains("no_such_setting"), "{error:#}");
        Ok(())
    }
}
