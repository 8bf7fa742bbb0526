//! The keys of TLS: what is wrong with the files is found here, not by the node that is refused because of it.

use std::path::Path;

use super::access::warn_when_others_read;
use super::address::HostPort;
use super::raw::Raw;
use super::validate::existing_file;
use crate::tls::{self, Certificate, CertificateFiles, Term, TlsError, TlsFiles};

const CA: &str = "nats.ca_file";
const CERT: &str = "nats.cert_file";
const KEY: &str = "nats.key_file";

/// Judges the three keys. With a server of our own nodes know one another by their certificates, so all three files are
/// needed; servers of others may be satisfied with less. The age of certificates is judged when the time is known.
pub(super) fn read(raw: &mut Raw, own_server: bool, now_s: Option<u64>) -> Option<TlsFiles> {
    let [ca_file, cert_file, key_file] = [CA, CERT, KEY].map(|path| existing_file(raw, path));
    let needed: &[(&str, &[&str])] = if own_server {
        &[(CA, &[CERT, KEY]), (CERT, &[CA, KEY]), (KEY, &[CA, CERT])]
    } else {
        &[(CERT, &[KEY]), (KEY, &[CERT])]
    };
    for (there, missing) in needed {
        if let Some(missing) = missing.iter().find(|key| raw.is_set(there) && !raw.is_set(key)) {
            let hint = if own_server {
                "nodes that run their own servers show one another certificates: set all three; `harmonylite certs` makes them"
            } else {
                "a certificate needs its key, and a key its certificate"
            };
            raw.error(there, &format!("`{missing}` is missing"), hint);
        }
    }
    let authorities = ca_file.as_deref().is_none_or(|file| check_certificate(raw, CA, file, now_s).is_some());
    let certificate =
        cert_file.zip(key_file).map(|(cert_file, key_file)| CertificateFiles { cert_file, key_file });
    if let Some(pair) = &certificate
        && check_pair(raw, pair, now_s)
        && authorities
        && own_server
    {
        check_mutual(raw, ca_file.as_deref(), pair, now_s);
    }
    (ca_file.is_some() || certificate.is_some()).then_some(TlsFiles { ca_file, certificate })
}

/// Is the certificate for the host by which the others reach this node?
pub(super) fn check_hosts(raw: &mut Raw, tls: Option<&TlsFiles>, advertise: Option<&HostPort>) {
    let Some((pair, advertise)) = tls.and_then(|tls| tls.certificate.as_ref()).zip(advertise) else { return };
    let Some(own) = own(&pair.cert_file) else { return };
    if !own.is_for(&advertise.host) {
        let message = format!("it is not for {}, where the other nodes reach this one", advertise.host);
        let hint = format!("it is for {}; nodes that come by another name refuse it", own.hosts.join(", "));
        raw.warn(CERT, &message, &hint);
    }
}

fn own(file: &Path) -> Option<Certificate> {
    tls::read_certificates(file).ok()?.into_iter().next()
}

/// Whether both are what they should be.
fn check_pair(raw: &mut Raw, pair: &CertificateFiles, now_s: Option<u64>) -> bool {
    warn_when_others_read(raw, KEY, &pair.key_file);
    let Some(own) = check_certificate(raw, CERT, &pair.cert_file, now_s) else { return false };
    match tls::read_pair(&pair.cert_file, &pair.key_file) {
        Ok(_) => own,
        Err(error) => {
            say(raw, KEY, &pair.key_file, &error);
            false
        }
    }
}

/// Would the other nodes, which know the same authorities, take it?
fn check_mutual(raw: &mut Raw, ca_file: Option<&Path>, pair: &CertificateFiles, now_s: Option<u64>) {
    let Some((ca_file, now_s)) = ca_file.zip(now_s) else { return };
    if let Err(error) = tls::check_trusted(ca_file, &pair.cert_file, now_s) {
        let hint = "the other nodes would refuse it; it must be signed by an authority of `nats.ca_file`, for servers \
                    and for clients";
        raw.error(CERT, &error.to_string(), hint);
    }
}

/// Says what is wrong with the first certificate of a file; `None`: there is none, `Some(false)`: it does not hold now.
fn check_certificate(raw: &mut Raw, path: &'static str, file: &Path, now_s: Option<u64>) -> Option<bool> {
    let first = match tls::read_certificates(file) {
        Ok(certificates) => certificates.into_iter().next()?,
        Err(error) => {
            say(raw, path, file, &error);
            return None;
        }
    };
    let Some(now_s) = now_s.and_then(|now_s| i64::try_from(now_s).ok()) else { return Some(true) };
    let days = (first.not_after_s - now_s).abs() / (24 * 3600);
    match first.term(now_s) {
        Term::Valid => {}
        Term::ExpiresSoon => raw.warn(path, &format!("the certificate ends in {days} days"), renewal(path)),
        Term::Expired => raw.error(path, &format!("the certificate ended {days} days ago"), renewal(path)),
        Term::NotYet => {
            raw.error(path, "the certificate does not hold yet", "is the clock of this machine right?");
        }
    }
    Some(matches!(first.term(now_s), Term::Valid | Term::ExpiresSoon))
}

/// An authority is not renewed: what it signed ends with it.
fn renewal(path: &str) -> &'static str {
    if path == CA {
        "`harmonylite certs init --cluster NAME --force` makes a new authority; then every node needs a new certificate"
    } else {
        "`harmonylite certs node --name NAME --force`, where the authority is, renews one that it made"
    }
}

fn say(raw: &mut Raw, path: &'static str, file: &Path, error: &TlsError) {
    // That it is missing has been said.
    if file.is_file() {
        raw.error(path, &error.to_string(), "it must be a PEM file: text that begins with -----BEGIN");
    }
}
