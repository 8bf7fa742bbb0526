//! Who we are to a server and how we know it: credentials, and the files of TLS.
//!
//! Nothing here is ever shown: no text of this module holds a secret.

use std::fmt;
use std::path::PathBuf;

use async_nats::ConnectOptions;
use async_nats::rustls::crypto::ring::sign::any_supported_type;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::sign::CertifiedKey;

use super::NatsError;

/// A password or key: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `secret` from being shown.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A user and their password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Their password.
    pub password: Secret,
}

/// An NKey: the server knows its public half, and is shown a signature instead of a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NKey {
    seed: Secret,
    public: String,
}

impl NKey {
    /// Of the seed of a user (`SU...`).
    ///
    /// # Errors
    /// When it is none.
    pub fn of_seed(seed: &str) -> Result<Self, NatsError> {
        let reason =
            || NatsError::Invalid { what: "NKey seed", reason: "it is not the seed of a user".to_owned() };
        let pair = nkeys::KeyPair::from_seed(seed).map_err(|_| reason())?;
        let public = pair.public_key();
        if !public.starts_with('U') {
            return Err(reason());
        }
        Ok(Self { seed: Secret::new(seed.to_owned()), public })
    }

    /// The half that is never shown.
    pub(super) fn seed(&self) -> &str {
        self.seed.reveal()
    }

    /// The half that the server knows (`U...`); no secret.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }
}

/// Who we are to a server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Auth {
    /// Whoever the server takes for a client without credentials.
    #[default]
    Anonymous,
    /// With a password.
    Password(Credentials),
    /// With an NKey.
    NKey(NKey),
}

impl Auth {
    /// Whom a server refuses, for people.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Anonymous => "a client without a name",
            Self::Password(credentials) => &credentials.user,
            Self::NKey(key) => &key.public,
        }
    }

    pub(super) fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        match self {
            Self::Anonymous => options,
            Self::Password(Credentials { user, password }) => {
                options.user_and_password(user.clone(), password.reveal().to_owned())
            }
            Self::NKey(key) => options.nkey(key.seed.reveal().to_owned()),
        }
    }
}

/// The files of TLS, PEM each. They are read again at every connect, so renewed ones are taken as they come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsFiles {
    /// The authorities that a server's certificate is checked against; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What we show to a server that asks.
    pub certificate: Option<CertificateFiles>,
}

/// A certificate and the key to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate, and the ones between it and the authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl TlsFiles {
    /// Reads the files, and checks that they are what they should be.
    ///
    /// # Errors
    /// When one cannot be read, holds nothing of its kind, or when key and certificate do not belong together.
    pub fn check(&self) -> Result<(), NatsError> {
        if let Some(path) = &self.ca_file {
            certificates("nats.ca_file", path)?;
        }
        self.certificate.as_ref().map_or(Ok(()), CertificateFiles::check)
    }

    pub(super) fn apply(&self, mut options: ConnectOptions) -> ConnectOptions {
        if let Some(path) = &self.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let Some(CertificateFiles { cert_file, key_file }) = &self.certificate {
            options = options.add_client_certificate(cert_file.clone(), key_file.clone());
        }
        options.require_tls(true)
    }
}

impl CertificateFiles {
    fn check(&self) -> Result<(), NatsError> {
        let what = "nats.key_file";
        let chain = certificates("nats.cert_file", &self.cert_file)?;
        let unusable = |reason: String| unusable(what, &self.key_file, &reason);
        let key =
            PrivateKeyDer::from_pem_file(&self.key_file).map_err(|error| unusable(error.to_string()))?;
        let key = any_supported_type(&key).map_err(|error| unusable(error.to_string()))?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match()
            .map_err(|_| unusable("it does not belong to the certificate of nats.cert_file".to_owned()))
    }
}

fn certificates(what: &'static str, path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, NatsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(what, path, "there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(what, path, &error.to_string())),
    }
}

fn unusable(what: &'static str, path: &std::path::Path, reason: &str) -> NatsError {
    NatsError::Invalid { what, reason: format!("{}: {reason}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("s3cret".to_owned())), "(secret)");
        let pair = nkeys::KeyPair::new_user();
        let seed = pair.seed().unwrap();
        let key = NKey::of_seed(&seed).unwrap();
        assert!(!format!("{key:?}").contains(&seed));
        assert_eq!(key.public(), pair.public_key());
    }

    #[test]
    fn only_the_seed_of_a_user_is_an_nkey_of_ours() {
        let server = nkeys::KeyPair::new_server().seed().unwrap();
        for seed in ["", "SUABC", &server] {
            let error = NKey::of_seed(seed).unwrap_err().to_string();
            assert!(
                error.contains("not the seed of a user") && (seed.is_empty() || !error.contains(seed)),
                "{error}"
            );
        }
    }

    #[test]
    fn tls_files_that_are_none_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = TlsFiles { ca_file: Some(file.path().to_owned()), certificate: None };
        let error = files.check().unwrap_err().to_string();
        assert!(error.contains("nats.ca_file") && error.contains("no certificate"), "{error}");
        let missing = TlsFiles { ca_file: Some("/no/such/file".into()), certificate: None };
        assert!(missing.check().unwrap_err().to_string().contains("/no/such/file"));
    }
}
