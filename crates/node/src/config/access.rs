//! Which servers a node uses and what it shows them: the keys of `[nats]` that only make sense together.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::address::AddressError;
use super::raw::Raw;
use super::secret::Secret;
use super::server_url::ServerUrl;
use super::settings::{CertificateFiles, Credentials, Mode, Nats, TlsFiles};
use super::validate::existing_file;
use super::value::Value;

/// Judges `nats.mode`, `nats.urls`, and everything about credentials and TLS; gives the servers of
/// `cluster.leaf_servers`.
pub(super) fn read(raw: &mut Raw, nats: &mut Nats) -> Vec<ServerUrl> {
    let (urls, in_urls) = servers(raw, "nats.urls", ServerUrl::parse);
    let (leaf_servers, in_leaf_servers) = servers(raw, "cluster.leaf_servers", ServerUrl::parse_leaf);
    nats.credentials = credentials(raw, in_urls.or(in_leaf_servers));
    nats.jetstream_domain = domain(raw);
    nats.seed = seed(raw);
    nats.tls = tls(raw);
    nats.mode = match raw.text("nats.mode") {
        Some("mesh") => Mode::Mesh,
        Some("shared") => Mode::Shared,
        _ if urls.is_empty() && leaf_servers.is_empty() => Mode::Mesh,
        _ => Mode::Shared,
    };
    nats.urls = urls;
    leaf_servers
}

type Parse = fn(&str) -> Result<(ServerUrl, Option<Credentials>), AddressError>;

/// The servers, and the credentials that stood in their addresses.
fn servers(raw: &mut Raw, key: &'static str, parse: Parse) -> (Vec<ServerUrl>, Option<Credentials>) {
    let Some(Value::List(items)) = raw.value(key) else { return (Vec::new(), None) };
    let (mut urls, mut found) = (Vec::new(), None);
    for (index, item) in items.clone().iter().enumerate() {
        match parse(item) {
            Ok((url, credentials)) => {
                if credentials.is_some() && found.is_some() && found != credentials {
                    let message = format!("entry {}: the addresses name different users", index + 1);
                    raw.error(key, &message, "all servers of a cluster know the same user: name one");
                }
                found = found.or(credentials);
                if !urls.contains(&url) {
                    urls.push(url);
                }
            }
            Err(error) => raw.error(key, &format!("entry {}: {error}", index + 1), error.hint()),
        }
    }
    (urls, found)
}

fn credentials(raw: &mut Raw, in_urls: Option<Credentials>) -> Option<Credentials> {
    const PATHS: [&str; 2] = ["nats.user_name", "nats.user_password"];
    let user_name = raw.text(PATHS[0]).map(str::to_owned);
    let user_password = match raw.value(PATHS[1]) {
        Some(Value::Secret(secret)) => Some(secret.clone()),
        _ => None,
    };
    let bad = |text: &str| text.chars().any(char::is_control);
    let texts = [user_name.as_deref(), user_password.as_ref().map(Secret::reveal)];
    if let Some(at) = texts.iter().position(|text| text.is_some_and(bad)) {
        raw.error(PATHS[at], "holds a control character", "use printable characters");
    }
    match (user_name, user_password) {
        (Some(user_name), Some(user_password)) => {
            if in_urls.is_some() {
                raw.warn(
                    "nats.urls",
                    "nats.user_name wins over the user in an address",
                    "remove one of them",
                );
            }
            Some(Credentials { user_name, user_password })
        }
        (None, None) => in_urls,
        (name, _) => {
            let (there, missing) = if name.is_some() { (PATHS[0], PATHS[1]) } else { (PATHS[1], PATHS[0]) };
            if !raw.is_set(missing) {
                raw.error(there, &format!("`{missing}` is missing"), "set both, the same on every node");
            }
            None
        }
    }
}

/// A token of a subject.
fn domain(raw: &mut Raw) -> Option<String> {
    let domain = raw.text("nats.jetstream_domain")?.to_owned();
    if domain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Some(domain);
    }
    let hint = "use the name in the `domain` of the servers' `jetstream` block";
    raw.error("nats.jetstream_domain", "has characters that NATS does not allow there", hint);
    None
}

/// The seed that the file holds: its first line that looks like one, so that a file with a heading will do.
fn seed(raw: &mut Raw) -> Option<Secret> {
    const PATH: &str = "nats.seed_file";
    let file = existing_file(raw, PATH)?;
    warn_when_others_read(raw, PATH, &file);
    let text = readable(raw, PATH, &file)?;
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    let valid = seed.filter(|seed| nkeys::KeyPair::from_seed(seed).is_ok());
    if valid.is_none() {
        let hint = "it holds a line that begins with SU; `nk -gen user` makes one";
        raw.error(PATH, "there is no NKey seed of a user in it", hint);
    } else if raw.is_set("nats.user_name") {
        raw.warn("nats.user_name", "nats.seed_file wins: the password is not used", "remove one of them");
    }
    valid.map(Secret::new)
}

fn tls(raw: &mut Raw) -> Option<TlsFiles> {
    let ca_file = pem(raw, "nats.ca_file", "CERTIFICATE");
    let cert_file = pem(raw, "nats.cert_file", "CERTIFICATE");
    let key_file = pem(raw, "nats.key_file", "PRIVATE KEY");
    if let Some(file) = &key_file {
        warn_when_others_read(raw, "nats.key_file", file);
    }
    for (there, missing) in [("nats.cert_file", "nats.key_file"), ("nats.key_file", "nats.cert_file")] {
        if raw.is_set(there) && !raw.is_set(missing) {
            raw.error(
                there,
                &format!("`{missing}` is missing"),
                "a certificate needs its key, and a key its certificate",
            );
        }
    }
    let certificate =
        cert_file.zip(key_file).map(|(cert_file, key_file)| CertificateFiles { cert_file, key_file });
    (ca_file.is_some() || certificate.is_some()).then_some(TlsFiles { ca_file, certificate })
}

/// A PEM file that holds at least one block of that kind.
fn pem(raw: &mut Raw, path: &'static str, kind: &str) -> Option<PathBuf> {
    let file = existing_file(raw, path)?;
    let text = readable(raw, path, &file)?;
    if text
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{kind}-----")))
    {
        return Some(file);
    }
    let message = format!("there is no {} in it", kind.to_lowercase());
    raw.error(path, &message, "it must be a PEM file: text that begins with -----BEGIN");
    None
}

fn readable(raw: &mut Raw, path: &'static str, file: &Path) -> Option<String> {
    match fs::read(file) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // That it is missing has been said.
        Err(_) if !file.is_file() => None,
        Err(error) => {
            let message = format!("{} cannot be read: {error}", file.display());
            raw.error(path, &message, "let the user that runs this read the file");
            None
        }
    }
}

fn warn_when_others_read(raw: &mut Raw, path: &'static str, file: &Path) {
    if fs::metadata(file).is_ok_and(|file| file.mode() & 0o077 != 0) {
        let message = format!("others than its owner may read {}", file.display());
        raw.warn(path, &message, &format!("chmod 600 {}", file.display()));
    }
}
