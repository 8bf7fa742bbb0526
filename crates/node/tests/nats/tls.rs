//! TLS at the supervised server: who comes in, who does not and why, and certificates that are renewed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use harmonylite::nats::{Auth, ConnectSettings, Connection, ListenerTls, NatsError, ServerEvent, Tls};
use harmonylite::tls::{Authority, CertificateFiles, TlsFiles, Validity};

use crate::support::{DEADLINE, TestServer, connect, credentials, eventually, soon};

/// 2001 to 2096: in force for a long time, and in the past.
const LONG: Validity = Validity { now_s: 1_000_000_000, end_s: 4_000_000_000 };
const PAST: Validity = Validity { now_s: 1_000_000_000, end_s: 1_100_000_000 };

/// The files of an authority and of certificates that it signed.
struct Certificates {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Certificates {
    fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("shop", LONG).unwrap());
        std::fs::write(folder.path().join("ca.pem"), &authority.certificate).unwrap();
        Self { folder, authority }
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Makes the certificate of a node, or makes it anew.
    fn issue(&self, name: &str, validity: Validity) -> CertificateFiles {
        let made = self.authority.issue(name, "shop", &[], validity).unwrap();
        let at = |extension: &str| self.folder.path().join(format!("{name}.{extension}"));
        write(&at("pem"), &made.certificate);
        write(&at("key"), &made.key);
        CertificateFiles { cert_file: at("pem"), key_file: at("key") }
    }

    fn listener(&self) -> ListenerTls {
        ListenerTls { ca_file: self.ca_file(), certificate: self.issue("server", LONG) }
    }

    /// What a node of this authority has, with that certificate.
    fn files(&self, certificate: Option<CertificateFiles>) -> TlsFiles {
        TlsFiles { ca_file: Some(self.ca_file()), certificate }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

async fn server(certificates: &Certificates, auth: Auth) -> TestServer {
    let tls = certificates.listener();
    TestServer::start_with(|settings| {
        settings.tls = Some(tls);
        settings.peer_auth = auth;
    })
    .await
}

fn peer(test: &TestServer, auth: Auth, files: Option<TlsFiles>) -> ConnectSettings {
    ConnectSettings { tls: files.map(Tls::Authority), ..test.peer_settings(auth) }
}

async fn refusal(settings: &ConnectSettings) -> NatsError {
    let connection = Connection::open(settings).await.unwrap();
    soon("refusal", connection.ready(DEADLINE)).await.unwrap_err()
}

#[tokio::test]
async fn a_node_with_a_certificate_of_the_authority_comes_in_and_so_do_we() {
    let certificates = Certificates::new();
    let test = server(&certificates, Auth::Anonymous).await;
    connect(&test.server.connect_settings()).await;
    let files = certificates.files(Some(certificates.issue("peer", LONG)));
    connect(&peer(&test, Auth::Anonymous, Some(files))).await;
}

#[tokio::test]
async fn who_shows_the_wrong_certificate_is_refused_with_the_reason() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    let test = server(&certificates, Auth::Anonymous).await;
    for (what, shown, reason) in [
        ("none", None, "we have none"),
        ("one of another authority", Some(foreign.issue("foreign", LONG)), "authority"),
        ("one that ended", Some(certificates.issue("ended", PAST)), "our certificate has expired"),
    ] {
        let error = refusal(&peer(&test, Auth::Anonymous, Some(certificates.files(shown)))).await;
        let said = error.to_string().to_lowercase();
        assert!(matches!(error, NatsError::Untrusted { .. }), "{what}: {said}");
        assert!(said.contains(reason) && said.contains("nats.cert_file"), "{what}: {said}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_in_clear_text_is_refused() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    let test = server(&foreign, Auth::Anonymous).await;
    let files = certificates.files(Some(certificates.issue("peer", LONG)));
    let error = refusal(&peer(&test, Auth::Anonymous, Some(files.clone()))).await;
    assert!(matches!(error, NatsError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("not signed by an authority that we know"), "{error}");

    let clear = TestServer::start().await;
    let error = refusal(&peer(&clear, Auth::Anonymous, Some(files))).await;
    assert!(matches!(error, NatsError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("does not answer in TLS"), "{error}");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_refused() {
    let certificates = Certificates::new();
    let test = server(&certificates, credentials("harmony", "right")).await;
    // The client learns from the server's greeting that it should, and finds nothing to trust.
    let error = refusal(&peer(&test, credentials("harmony", "right"), None)).await;
    assert!(matches!(error, NatsError::Untrusted { .. }), "{error}");
    assert!(plain_answer(test.server.listen()).is_none_or(|answer| !answer.contains("PONG")));
}

/// What a client that goes on in clear text is told after the server's greeting, until the server hangs up.
fn plain_answer(address: SocketAddr) -> Option<String> {
    let mut reader = BufReader::new(TcpStream::connect(address).unwrap());
    reader.read_line(&mut String::new()).unwrap();
    let connect = "CONNECT {\"user\":\"harmony\",\"pass\":\"right\",\"verbose\":false}\r\nPING\r\n";
    reader.get_mut().write_all(connect.as_bytes()).unwrap();
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_certificate_does_not_replace_the_password_when_there_is_one() {
    let certificates = Certificates::new();
    let right = credentials("harmony", "right");
    let test = server(&certificates, right.clone()).await;
    let files = certificates.files(Some(certificates.issue("peer", LONG)));
    connect(&peer(&test, right, Some(files.clone()))).await;
    for wrong in [credentials("harmony", "wrong"), Auth::Anonymous] {
        let error = refusal(&peer(&test, wrong, Some(files.clone()))).await;
        assert!(matches!(error, NatsError::WrongCredentials { .. }), "{error}");
    }
}

#[tokio::test]
async fn our_own_connection_needs_no_name_of_this_machine_and_outlives_renewals_and_kills() {
    let certificates = Certificates::new();
    let mut test = server(&certificates, Auth::Anonymous).await;
    let own = connect(&test.server.connect_settings()).await;
    for how in ["killed", "told"] {
        let renewed = certificates.issue("server", LONG);
        if how == "killed" {
            test.kill();
            while soon("news", test.events.recv()).await != Some(ServerEvent::Restarted) {}
        } else {
            test.server.pid().reload_certificates();
        }
        let shown = harmonylite::tls::read_chain(&renewed.cert_file).unwrap().remove(0);
        eventually_shown(&test, &shown).await;
        own.ready(DEADLINE).await.unwrap();
        connect(&test.server.connect_settings()).await;
    }
}

/// Waits until the server shows that certificate to new connections.
async fn eventually_shown(test: &TestServer, certificate: &[u8]) {
    let address = test.server.listen();
    eventually(
        "the renewed certificate",
        || matches!(shown::by_server(address), Ok(found) if found == certificate),
    )
    .await;
}

/// Which certificate a server shows, to whoever asks.
mod shown {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::{Arc, Mutex};

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug, Default)]
    struct Witness(Mutex<Vec<u8>>);

    pub(super) fn by_server(address: SocketAddr) -> std::io::Result<Vec<u8>> {
        let witness = Arc::<Witness>::default();
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut reader = BufReader::new(TcpStream::connect(address)?);
        reader.read_line(&mut String::new())?;
        // It refuses us in the end; what it showed before is enough.
        let _ = connection.complete_io(reader.get_mut());
        let _ = reader.get_mut().flush();
        Ok(witness.0.lock().unwrap().clone())
    }

    impl ServerCertVerifier for Witness {
        fn verify_server_cert(
            &self,
            shown: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            *self.0.lock().unwrap() = shown.to_vec();
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            harmonylite::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
