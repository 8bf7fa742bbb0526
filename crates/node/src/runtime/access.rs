//! What the configuration says of credentials and TLS, as connections and servers take it.

use crate::config::Settings;
use crate::nats::{Auth, Credentials, ListenerTls, NKey, NatsError, Tls};
use crate::tls::TlsFiles;

/// As whom a node comes, to its peers or to an existing cluster; its own server knows peers by the same.
pub(crate) fn auth(settings: &Settings) -> Result<Auth, NatsError> {
    let nats = &settings.nats;
    if let Some(seed) = &nats.seed {
        return NKey::of_seed(seed.reveal()).map(Auth::NKey);
    }
    Ok(nats.credentials.as_ref().map_or(Auth::Anonymous, |credentials| {
        let (user, password) = (credentials.user_name.clone(), credentials.user_password.clone());
        Auth::Password(Credentials { user, password })
    }))
}

/// How servers that are not ours are known, and what they are shown; `None`: TLS is not asked for.
pub(crate) fn tls(settings: &Settings) -> Option<Tls> {
    settings.nats.tls.clone().map(Tls::Authority)
}

/// What our own server does about TLS.
pub(crate) fn listener_tls(settings: &Settings) -> Option<ListenerTls> {
    let TlsFiles { ca_file, certificate } = settings.nats.tls.clone()?;
    Some(ListenerTls { ca_file: ca_file?, certificate: certificate? })
}
