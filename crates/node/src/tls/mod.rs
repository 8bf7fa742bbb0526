//! Certificates: an authority of one's own, node certificates made by it, and what a certificate says.
//!
//! What is done with them on the wire is the business of `nats`; this module knows files and bytes, no connection and
//! no clock.

use std::path::PathBuf;

mod authority;
mod certificate;
mod error;
mod files;
mod refusal;
mod trust;

pub use authority::{Authority, NodeCertificate, Validity};
pub use certificate::{Certificate, EXPIRES_SOON_S, Term, read_certificates};
pub use error::TlsError;
pub use files::{make_private_folder, read_text, write_private, write_public};
pub use refusal::refusal;
pub use trust::{check_trusted, provider, read_chain, read_pair};

/// The files of TLS, PEM each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The authorities that the other side's certificate is checked against; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What is shown to the other side.
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
