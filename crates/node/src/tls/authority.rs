//! A private authority and what it signs: node certificates that a node shows as a server and as a client.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::{TlsError, read_text};

/// A node talks to itself by one of these.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// A certificate holds a day before it is made: the clock of another machine may be behind.
const BACKDATED_S: u64 = 24 * 3600;

/// When a certificate is made, and for how long it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// Now, in seconds since the Unix epoch.
    pub now_s: u64,
    /// Its end, likewise.
    pub end_s: u64,
}

/// Who signs the certificates of a cluster. Both texts are PEM; the key is the secret of the whole cluster.
pub struct Authority {
    /// Its certificate, which every node knows.
    pub certificate: String,
    /// Its key, which no node needs.
    pub key: String,
}

/// What a node shows the others, as PEM.
pub struct NodeCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The hosts that it is for, those of the machine itself included.
    pub hosts: Vec<String>,
}

impl Authority {
    /// Makes one for a cluster of that name.
    ///
    /// # Errors
    /// When the operating system gives no random numbers.
    pub fn new(cluster: &str, validity: Validity) -> Result<Self, TlsError> {
        let mut params = params(&format!("HarmonyLite authority of {cluster}"), cluster, validity);
        // It signs nodes, not further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(not_made)?;
        let certificate = params.self_signed(&key).map_err(not_made)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Reads one from its two files.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: read_text(certificate)?, key: read_text(key)? })
    }

    /// Signs a certificate for the node `name` of `cluster` with a new key. It is for `hosts` and for the machine
    /// itself.
    ///
    /// # Errors
    /// When a host is none, or the authority's texts are not what they should be.
    pub fn issue(
        &self,
        name: &str,
        cluster: &str,
        hosts: &[String],
        validity: Validity,
    ) -> Result<NodeCertificate, TlsError> {
        let local = LOCAL_HOSTS.iter().map(|host| (*host).to_owned());
        let mut all = hosts.to_vec();
        all.extend(local.filter(|host| !hosts.contains(host)));
        let mut params = params(name, cluster, validity);
        params.subject_alt_names = all.iter().map(|host| alternative_name(host)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Its server shows it to peers, and it shows it to theirs.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signer = KeyPair::from_pem(&self.key).map_err(not_made)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, signer).map_err(not_made)?;
        let key = KeyPair::generate().map_err(not_made)?;
        let certificate = params.signed_by(&key, &issuer).map_err(not_made)?;
        Ok(NodeCertificate { certificate: certificate.pem(), key: key.serialize_pem(), hosts: all })
    }
}

fn params(name: &str, cluster: &str, validity: Validity) -> CertificateParams {
    let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, cluster);
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = at(validity.now_s.saturating_sub(BACKDATED_S));
    params.not_after = at(validity.end_s);
    params
}

fn alternative_name(host: &str) -> Result<SanType, TlsError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = |reason| TlsError::BadHost { host: host.to_owned(), reason };
    if let Some(reason) = why_no_name(host) {
        return Err(bad(reason));
    }
    host.try_into().map(SanType::DnsName).map_err(|_| bad("it is not ASCII"))
}

/// Names as DNS has them (RFC 1035; underscores are seen in practice); `*` for the first label.
fn why_no_name(host: &str) -> Option<&'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if host.contains("://") || host.contains(':') {
        Some("write a name or an address, without scheme and port")
    } else if !host.strip_prefix("*.").unwrap_or(host).split('.').all(label) || host.len() > 253 {
        Some("write a name such as db1.example.net, or an IP address")
    } else {
        None
    }
}

fn not_made(error: rcgen::Error) -> TlsError {
    TlsError::NotMade { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Certificate, read_certificates};

    const NOW_S: u64 = 1_800_000_000;
    const VALIDITY: Validity = Validity { now_s: NOW_S, end_s: NOW_S + 1_000_000 };

    fn facts(pem: &str) -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, pem).unwrap();
        read_certificates(&path).unwrap().remove(0)
    }

    fn issue(hosts: &[&str]) -> Result<NodeCertificate, TlsError> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Authority::new("shop", VALIDITY)?.issue("db1", "shop", &hosts, VALIDITY)
    }

    #[test]
    fn an_authority_signs_and_says_for_whom() {
        let authority = facts(&Authority::new("shop", VALIDITY).unwrap().certificate);
        assert_eq!(authority.subject, "O=shop, CN=HarmonyLite authority of shop");
        assert!(authority.is_authority);
        assert_eq!(authority.not_after_s, 1_801_000_000);
    }

    #[test]
    fn a_node_certificate_is_for_its_hosts_and_this_machine_as_server_and_client() {
        let made = issue(&["db1.example.net", "10.0.0.1", "localhost"]).unwrap();
        let node = facts(&made.certificate);
        assert_eq!(node.hosts, ["db1.example.net", "10.0.0.1", "localhost", "127.0.0.1", "::1"]);
        assert_eq!(node.hosts, made.hosts);
        assert_eq!(node.subject, "O=shop, CN=db1");
        assert!(node.for_servers && node.for_clients && !node.is_authority);
        assert!(node.not_before_s < 1_800_000_000 - 3_600, "a clock an hour behind takes it");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "db1:4221", "nats://db1", "a b", "a..b", "-----", "*", "ä.example", "*.*.net"] {
            let refused = issue(&[host]);
            if host == "-----" {
                assert!(refused.is_ok(), "odd, but DNS carries it");
            } else {
                assert!(matches!(refused, Err(TlsError::BadHost { .. })), "{host}");
            }
        }
        assert!(issue(&["*.example.net", "db_1", "::2"]).is_ok());
    }

    #[test]
    fn nothing_is_signed_with_texts_that_are_no_authority() {
        let authority = Authority { certificate: "x".to_owned(), key: "y".to_owned() };
        assert!(matches!(authority.issue("a", "b", &[], VALIDITY), Err(TlsError::NotMade { .. })));
    }
}
