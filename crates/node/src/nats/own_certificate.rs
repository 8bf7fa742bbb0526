//! TLS to our own server: it is known by its very certificate, which need not be for any name of this machine.
//!
//! Peers come by a name, and a user's certificate is for that name. We come by a loopback address, and know the server:
//! it shows what we gave it. That is a stricter test than a name, and no certificate has to list `127.0.0.1`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::rustls::client::ResolvesClientCert;
use async_nats::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use async_nats::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use async_nats::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use async_nats::rustls::sign::CertifiedKey;
use async_nats::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::NatsError;
use crate::tls::{self, CertificateFiles};

/// The certificate that our own server shows, and that we show it. Its files may be renewed at any time: the server
/// reads them at its start and when it is told to, we look when it shows something that we do not know.
#[derive(Debug)]
pub struct OwnCertificate {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    /// What the files held so far, the newest last. Not only the newest: the server may have read them earlier.
    seen: Mutex<Vec<Arc<CertifiedKey>>>,
}

impl OwnCertificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they are not a certificate and its key.
    pub fn read(files: CertificateFiles) -> Result<Self, NatsError> {
        let pair = read(&files)
            .map_err(|error| NatsError::Invalid { what: "nats.cert_file", reason: error.to_string() })?;
        Ok(Self { files, provider: tls::provider(), seen: Mutex::new(vec![Arc::new(pair)]) })
    }

    /// Reads the files again, if they are usable; what they held before stays known.
    fn look_again(&self) -> MutexGuard<'_, Vec<Arc<CertifiedKey>>> {
        let read = read(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A pair that is being replaced is half new: it is looked at again at the next handshake.
        if let Ok(pair) = read
            && seen.last().is_none_or(|newest| newest.cert != pair.cert)
        {
            seen.push(Arc::new(pair));
        }
        seen
    }

    pub(super) fn client_config(self: &Arc<Self>) -> ClientConfig {
        let mut config =
            ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.client_auth_cert_resolver = self.clone();
        config.dangerous().set_certificate_verifier(self.clone());
        config
    }
}

fn read(files: &CertificateFiles) -> Result<CertifiedKey, tls::TlsError> {
    tls::read_pair(&files.cert_file, &files.key_file)
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ours = |pair: &Arc<CertifiedKey>| pair.cert.first() == Some(shown);
        if self.look_again().iter().any(ours) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    // That the server has the key to the certificate is proved as always.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.look_again().last().cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tls::{Authority, Validity};

    const VALIDITY: Validity = Validity { now_s: 1_800_000_000, end_s: 1_900_000_000 };

    /// Writes a new pair for a node that is not this machine; gives its certificate.
    fn renew(files: &CertificateFiles) -> CertificateDer<'static> {
        let made = Authority::new("shop", VALIDITY).unwrap().issue("a", "shop", &["db1".into()], VALIDITY);
        let made = made.unwrap();
        fs::write(&files.cert_file, made.certificate).unwrap();
        fs::write(&files.key_file, made.key).unwrap();
        tls::read_chain(&files.cert_file).unwrap().remove(0)
    }

    fn takes(own: &OwnCertificate, shown: &CertificateDer<'_>) -> bool {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        own.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn exactly_the_certificates_of_the_file_are_taken_also_when_it_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = CertificateFiles { cert_file: at("a.pem"), key_file: at("a.key") };
        let other = CertificateFiles { cert_file: at("b.pem"), key_file: at("b.key") };
        let (first, foreign) = (renew(&files), renew(&other));
        let own = OwnCertificate::read(files.clone()).unwrap();
        assert!(takes(&own, &first) && !takes(&own, &foreign));
        let second = renew(&files);
        assert!(takes(&own, &second), "the renewed one");
        assert!(takes(&own, &first), "the server may not have read the renewed one yet");
        assert!(!takes(&own, &foreign));
        assert_eq!(own.resolve(&[], &[]).unwrap().cert[0], second);
        fs::write(&files.key_file, "half a ke").unwrap();
        assert_eq!(own.resolve(&[], &[]).unwrap().cert[0], second, "a broken file changes nothing");
    }
}
