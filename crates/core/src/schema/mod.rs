//! What two nodes must agree on before rows of a table may travel between them.

mod fingerprint;

pub use fingerprint::TableFingerprint;
