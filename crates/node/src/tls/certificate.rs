//! What a certificate says: whose it is, for which hosts, until when.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::{TlsError, read_text};

/// From that many seconds before its end on a certificate is warned about: 30 days.
pub const EXPIRES_SOON_S: i64 = 30 * 24 * 3600;

/// What is known of one certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Whose it is, as the certificate says.
    pub subject: String,
    /// Its organization: the cluster, in certificates that we make.
    pub organization: Option<String>,
    /// Names and addresses that it is for.
    pub hosts: Vec<String>,
    /// From when on it holds, in seconds since the Unix epoch.
    pub not_before_s: i64,
    /// Until when, likewise.
    pub not_after_s: i64,
    /// It may sign others.
    pub is_authority: bool,
    /// A server may show it.
    pub for_servers: bool,
    /// A client may show it.
    pub for_clients: bool,
}

/// How a certificate stands at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    /// It does not hold yet.
    NotYet,
    /// It holds.
    Valid,
    /// It holds, for less than [`EXPIRES_SOON_S`].
    ExpiresSoon,
    /// It does not hold any more.
    Expired,
}

impl Term {
    /// It, in one word, for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotYet => "not yet valid",
            Self::Valid => "valid",
            Self::ExpiresSoon => "expires soon",
            Self::Expired => "expired",
        }
    }
}

impl Certificate {
    /// How it stands at that moment, in seconds since the Unix epoch.
    #[must_use]
    pub const fn term(&self, now_s: i64) -> Term {
        if now_s < self.not_before_s {
            Term::NotYet
        } else if now_s > self.not_after_s {
            Term::Expired
        } else if self.not_after_s - now_s < EXPIRES_SOON_S {
            Term::ExpiresSoon
        } else {
            Term::Valid
        }
    }

    /// Is it for that host? Names as RFC 6125 compares them: `*` stands for one whole label.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| names(name, host))
    }

    fn read(certificate: &X509Certificate<'_>) -> Self {
        let usages = certificate.extended_key_usage().ok().flatten().map(|found| found.value);
        let names = certificate.subject_alternative_name().ok().flatten();
        let organization = certificate.subject().iter_organization().find_map(|name| name.as_str().ok());
        let hosts = names.iter().flat_map(|found| &found.value.general_names).filter_map(host);
        Self {
            subject: certificate.subject().to_string(),
            organization: organization.map(str::to_owned),
            hosts: hosts.collect(),
            not_before_s: certificate.validity().not_before.timestamp(),
            not_after_s: certificate.validity().not_after.timestamp(),
            is_authority: certificate.is_ca(),
            for_servers: usages.is_none_or(|usages| usages.server_auth || usages.any),
            for_clients: usages.is_none_or(|usages| usages.client_auth || usages.any),
        }
    }
}

fn names(name: &str, host: &str) -> bool {
    let rest = |text: &str| text.split_once('.').map(|(_, rest)| rest.to_ascii_lowercase());
    if name.starts_with("*.") { rest(name) == rest(host) } else { name.eq_ignore_ascii_case(host) }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

/// Reads the certificates of a PEM file, in its order. At least one.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn read_certificates(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let text = read_text(path)?;
    let unreadable =
        |reason: String| TlsError::Unreadable { path: path.to_owned(), wanted: "certificate", reason };
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|error| unreadable(error.to_string()))?;
        if block.label == "CERTIFICATE" {
            let certificate = block.parse_x509().map_err(|error| unreadable(error.to_string()))?;
            certificates.push(Certificate::read(&certificate));
        }
    }
    if certificates.is_empty() {
        return Err(unreadable("no block begins with BEGIN CERTIFICATE".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(hosts: &[&str]) -> Certificate {
        Certificate {
            subject: "CN=x".to_owned(),
            organization: None,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            not_before_s: 1_000,
            not_after_s: 1_000 + 2 * EXPIRES_SOON_S,
            is_authority: false,
            for_servers: true,
            for_clients: true,
        }
    }

    #[test]
    fn a_certificate_is_warned_about_thirty_days_before_its_end() {
        let certificate = certificate(&[]);
        let end = certificate.not_after_s;
        for (now_s, term) in [
            (999, Term::NotYet),
            (1_000, Term::Valid),
            (end - EXPIRES_SOON_S, Term::Valid),
            (end - EXPIRES_SOON_S + 1, Term::ExpiresSoon),
            (end, Term::ExpiresSoon),
            (end + 1, Term::Expired),
        ] {
            assert_eq!(certificate.term(now_s), term, "{now_s}");
        }
    }

    #[test]
    fn hosts_are_compared_as_names_are() {
        let certificate = certificate(&["Db1.example.net", "*.shop.example.net", "10.0.0.1"]);
        for (host, holds) in [
            ("db1.EXAMPLE.net", true),
            ("a.shop.example.net", true),
            ("a.b.shop.example.net", false),
            ("shop.example.net", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("db1", false),
        ] {
            assert_eq!(certificate.is_for(host), holds, "{host}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_said_to_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let said = read_certificates(&path).unwrap_err().to_string();
            assert!(said.contains("a.pem holds no certificate"), "{said}");
        }
    }
}
