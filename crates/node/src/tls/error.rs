//! What can go wrong with certificates and their files: what, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error of this module, for people. Never holds a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file or folder.
    #[error("cannot {action} {}: {reason}", path.display())]
    File {
        /// What we tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// It is there, and nobody said that it may go.
    #[error("{} is there already: nothing was written; --force replaces it", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} holds no {wanted} in PEM format: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A key and a certificate of two different nodes.
    #[error("{} and {} do not belong together: it is the key of another certificate", certificate.display(), key.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Nodes that know only these authorities would refuse it.
    #[error("{} is not trusted by the authorities in {}: {reason}", certificate.display(), authorities.display())]
    Untrusted {
        /// The certificate.
        certificate: PathBuf,
        /// The authorities.
        authorities: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not a name under which a node can be reached.
    #[error("`{host}` is no host: {reason}")]
    BadHost {
        /// As it was written.
        host: String,
        /// Why.
        reason: &'static str,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {reason}")]
    NotMade {
        /// Why.
        reason: String,
    },
}
