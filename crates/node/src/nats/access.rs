//! Who we are to a server and how we know it: credentials, and the files of TLS.
//!
//! Nothing here is ever shown: no text of this module holds a secret.

use std::sync::Arc;

use async_nats::ConnectOptions;

use super::NatsError;
use super::own_certificate::OwnCertificate;
use crate::secret::Secret;
use crate::tls::{CertificateFiles, TlsFiles};

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
        Ok(Self { seed: Secret::new(seed), public })
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

/// They are read again at every connect, so renewed ones are taken as they come.
fn with_files(files: &TlsFiles, mut options: ConnectOptions) -> ConnectOptions {
    if let Some(path) = &files.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let Some(CertificateFiles { cert_file, key_file }) = &files.certificate {
        options = options.add_client_certificate(cert_file.clone(), key_file.clone());
    }
    options.require_tls(true)
}

/// How a server is known, and what it is shown.
#[derive(Clone, Debug)]
pub enum Tls {
    /// By its authority, and by the name under which it is reached.
    Authority(TlsFiles),
    /// It is our own one, known by its very certificate.
    Own(Arc<OwnCertificate>),
}

impl Tls {
    pub(super) fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        match self {
            Self::Authority(files) => with_files(files, options),
            Self::Own(own) => options.tls_client_config(own.client_config()).require_tls(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "Secret(..)");
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
}
