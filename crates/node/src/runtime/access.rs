//! What the configuration says of credentials and TLS, as connections and servers take it.

use crate::config::{Secret, Settings};
use crate::nats::{Auth, CertificateFiles, Credentials, NKey, NatsError, TlsFiles};

/// As whom a node comes, to its peers or to an existing cluster; its own server knows peers by the same.
pub(crate) fn auth(settings: &Settings) -> Result<Auth, NatsError> {
    let nats = &settings.nats;
    if let Some(seed) = &nats.seed {
        return NKey::of_seed(seed.reveal()).map(Auth::NKey);
    }
    Ok(nats.credentials.as_ref().map_or(Auth::Anonymous, |credentials| {
        let (user, password) = (credentials.user_name.clone(), secret(&credentials.user_password));
        Auth::Password(Credentials { user, password })
    }))
}

/// The files of TLS; `None`: TLS is not asked for.
pub(crate) fn tls(settings: &Settings) -> Option<TlsFiles> {
    let files = settings.nats.tls.clone()?;
    let certificate =
        files.certificate.map(|pair| CertificateFiles { cert_file: pair.cert_file, key_file: pair.key_file });
    Some(TlsFiles { ca_file: files.ca_file, certificate })
}

fn secret(secret: &Secret) -> crate::nats::Secret {
    crate::nats::Secret::new(secret.reveal().to_owned())
}
