//! What the configuration says of credentials and TLS, as connections and servers take it.

use crate::config::{Secret, Settings};
use crate::nats::{Auth, CertificateFiles, Credentials, ListenerTls, NKey, NatsError, Tls, TlsFiles};

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

/// How servers that are not ours are known, and what they are shown; `None`: TLS is not asked for.
pub(crate) fn tls(settings: &Settings) -> Option<Tls> {
    files(settings).map(Tls::Authority)
}

/// What our own server does about TLS.
pub(crate) fn listener_tls(settings: &Settings) -> Option<ListenerTls> {
    let TlsFiles { ca_file, certificate } = files(settings)?;
    Some(ListenerTls { ca_file: ca_file?, certificate: certificate? })
}

/// The files of TLS, as they are configured.
pub(crate) fn files(settings: &Settings) -> Option<TlsFiles> {
    let files = settings.nats.tls.clone()?;
    let certificate =
        files.certificate.map(|pair| CertificateFiles { cert_file: pair.cert_file, key_file: pair.key_file });
    Some(TlsFiles { ca_file: files.ca_file, certificate })
}

fn secret(secret: &Secret) -> crate::nats::Secret {
    crate::nats::Secret::new(secret.reveal().to_owned())
}
