//! Which servers a node uses and what it shows them: the keys of `[nats]` that only make sense together.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::address::AddressError;
use super::certificates;
use super::problem::Place;
use super::raw::Raw;
use super::server_url::ServerUrl;
use super::settings::{Credentials, Mode, Nats};
use super::validate::existing_file;
use super::value::Value;
use crate::secret::Secret;
use crate::tls;

/// Judges `nats.mode`, `nats.urls`, and everything about credentials and TLS; gives the servers of
/// `cluster.leaf_servers`.
pub(super) fn read(raw: &mut Raw, nats: &mut Nats, now_s: Option<u64>) -> Vec<ServerUrl> {
    let (urls, in_urls) = servers(raw, "nats.urls", ServerUrl::parse);
    let (leaf_servers, in_leaf_servers) = servers(raw, "cluster.leaf_servers", ServerUrl::parse_leaf);
    nats.credentials = credentials(raw, in_urls.or(in_leaf_servers));
    nats.jetstream_domain = domain(raw);
    nats.seed = seed(raw);
    nats.tls = certificates::read(raw, urls.is_empty() && leaf_servers.is_empty(), now_s);
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
    let user_password = password(raw);
    let bad = |text: &str| text.chars().any(char::is_control);
    let texts = [user_name.as_deref(), user_password.as_ref().map(Secret::reveal)];
    if let Some(at) = texts.iter().position(|text| text.is_some_and(bad)) {
        let at = if at == 1 && !raw.is_set(PATHS[1]) { PASSWORD_FILE } else { PATHS[at] };
        raw.error(at, "holds a control character", "use printable characters");
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
            let password = if raw.is_set(PATHS[1]) { PATHS[1] } else { PASSWORD_FILE };
            let (there, missing) = if name.is_some() { (PATHS[0], PATHS[1]) } else { (password, PATHS[0]) };
            if !(raw.is_set(missing) || name.is_some() && raw.is_set(PASSWORD_FILE)) {
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

const PASSWORD_FILE: &str = "nats.user_password_file";

/// The password, from its key or from its file. One that is in the environment wins over the file, as over all files.
fn password(raw: &mut Raw) -> Option<Secret> {
    if let Some(Value::Secret(secret)) = raw.value("nats.user_password") {
        let secret = secret.clone();
        raw.warn(PASSWORD_FILE, "nats.user_password wins: the file is not read", "remove one of them");
        warn_when_everybody_reads(raw);
        return Some(secret);
    }
    let file = existing_file(raw, PASSWORD_FILE)?;
    warn_when_others_read(raw, PASSWORD_FILE, &file);
    match tls::read_text(&file) {
        Ok(text) if text.trim_end_matches(['\n', '\r']).is_empty() => {
            raw.error(PASSWORD_FILE, "the file is empty", "write the password into it, and nothing else");
            None
        }
        Ok(text) => Some(Secret::new(text.trim_end_matches(['\n', '\r']))),
        // That it is missing has been said.
        Err(_) if !file.is_file() => None,
        Err(error) => {
            raw.error(PASSWORD_FILE, &error.to_string(), "let the user that runs this read the file");
            None
        }
    }
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

/// Where systemd shows a service its credentials, by an access list that looks like rights of a group: it guards them.
const CREDENTIALS_FOLDER: &str = "/run/credentials";

pub(super) fn warn_when_others_read(raw: &mut Raw, path: &'static str, file: &Path) {
    if file.starts_with(CREDENTIALS_FOLDER) {
        return;
    }
    if fs::metadata(file).is_ok_and(|file| file.mode() & 0o077 != 0) {
        let message = format!("others than its owner may read {}", file.display());
        raw.warn(path, &message, &format!("chmod 600 {}", file.display()));
    }
}

/// A configuration is often read by a group, that of the service: that is no reason to complain.
fn warn_when_everybody_reads(raw: &mut Raw) {
    const PATH: &str = "nats.user_password";
    let Some(Place::File { file, .. }) = raw.place(PATH) else { return };
    if fs::metadata(&file).is_ok_and(|file| file.mode() & 0o007 != 0) {
        let message = format!("everybody on this machine may read {file}, and a password stands in it");
        raw.warn(PATH, &message, &format!("chmod o= {file}"));
    }
}
