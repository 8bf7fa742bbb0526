//! Will others trust our certificate? Found out with the same code that judges theirs, before anybody is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};

use super::TlsError;

/// What TLS is done with: ring.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Reads a certificate, with those between it and its authority, and the key to it.
///
/// # Errors
/// When one of the files holds something else, or they do not belong together.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(certificate)?;
    let unreadable = |reason: String| TlsError::Unreadable { path: key.to_owned(), wanted: "key", reason };
    let read = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(error.to_string()))?;
    let signer = ring::sign::any_supported_type(&read).map_err(|error| unreadable(error.to_string()))?;
    let pair = CertifiedKey::new(chain, signer);
    let mismatch = |_| TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() };
    pair.keys_match().map_err(mismatch)?;
    Ok(pair)
}

/// Reads the certificates of a file. At least one.
///
/// # Errors
/// When there is none in it.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |reason: String| TlsError::Unreadable { path: path.to_owned(), wanted: "certificate", reason };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(unreadable("no block begins with BEGIN CERTIFICATE".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Would a node that knows only `authorities` take this certificate from us, at that moment: as a server, and as a
/// client?
///
/// # Errors
/// When it would not, and why.
pub fn check_trusted(authorities: &Path, certificate: &Path, now_s: u64) -> Result<(), TlsError> {
    let (roots, chain) = (read_roots(authorities)?, read_chain(certificate)?);
    let untrusted = |reason: String| TlsError::Untrusted {
        certificate: certificate.to_owned(),
        authorities: authorities.to_owned(),
        reason,
    };
    let (own, between) = chain.split_first().ok_or_else(|| untrusted("it is empty".to_owned()))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
    let provider = provider();
    let parsed = ParsedCertificate::try_from(own).map_err(|error| untrusted(error.to_string()))?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, between, now, algorithms)
        .map_err(|error| untrusted(format!("as a server: {}", said(&error))))?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
    clients
        .map_err(|error| untrusted(error.to_string()))?
        .verify_client_cert(own, between, now)
        .map_err(|error| untrusted(format!("as a client: {}", said(&error))))?;
    Ok(())
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in read_chain(path)? {
        roots.add(authority).map_err(|error| TlsError::Unreadable {
            path: path.to_owned(),
            wanted: "certificate",
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn said(error: &rustls::Error) -> String {
    match error {
        // The latter: an authority of the same name.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "none of them has signed it".to_owned(),
        rustls::Error::InvalidCertificate(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::tls::{Authority, Validity};

    const NOW_S: u64 = 1_800_000_000;
    const VALIDITY: Validity = Validity { now_s: NOW_S, end_s: NOW_S + 1_000 };

    /// A folder with the files of an authority and of one node of it.
    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let authority = Authority::new("shop", VALIDITY).unwrap();
            let node = authority.issue("a", "shop", &[], VALIDITY).unwrap();
            let files = Self { folder };
            for (name, text) in
                [("ca.pem", authority.certificate), ("node.pem", node.certificate), ("node.key", node.key)]
            {
                fs::write(files.at(name), text).unwrap();
            }
            files
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn said(&self, other: &Self, now_s: u64) -> String {
            let trusted = check_trusted(&other.at("ca.pem"), &self.at("node.pem"), now_s);
            trusted.err().map_or_else(String::new, |error| error.to_string())
        }
    }

    #[test]
    fn a_certificate_is_trusted_by_its_own_authority_in_its_time() {
        let (one, two) = (Files::new(), Files::new());
        assert_eq!(one.said(&one, NOW_S), "");
        assert!(one.said(&two, NOW_S).contains("none of them has signed it"));
        assert!(one.said(&one, NOW_S + 1_001).contains("expired"), "{}", one.said(&one, NOW_S + 1_001));
    }

    #[test]
    fn the_key_of_another_certificate_is_noticed() {
        let (one, two) = (Files::new(), Files::new());
        assert!(read_pair(&one.at("node.pem"), &one.at("node.key")).is_ok());
        let mixed = read_pair(&one.at("node.pem"), &two.at("node.key")).unwrap_err().to_string();
        assert!(mixed.contains("do not belong together"), "{mixed}");
        let said = read_pair(&one.at("node.pem"), &one.at("ca.pem")).unwrap_err().to_string();
        assert!(said.contains("holds no key"), "{said}");
        assert!(read_chain(&one.at("node.key")).unwrap_err().to_string().contains("holds no certificate"));
    }
}
