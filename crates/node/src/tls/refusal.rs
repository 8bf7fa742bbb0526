//! Why a handshake failed, in words that say who refuses whom. The library's own name constants.

/// What the library's text holds, and what it means.
const MEANINGS: &[(&str, &str)] = &[
    ("corrupt message", "it does not answer in TLS"),
    // An authority of the same name with another key is another authority.
    ("invalid peer certificate: UnknownIssuer", FOREIGN),
    ("invalid peer certificate: BadSignature", FOREIGN),
    ("invalid peer certificate: certificate expired", "its certificate has expired"),
    ("fatal alert: UnknownCA", "it does not know the authority that signed our certificate"),
    ("fatal alert: CertificateExpired", "it says that our certificate has expired"),
    ("fatal alert: CertificateRequired", "it wants a certificate, and we have none"),
    ("fatal alert: BadCertificate", "it does not take our certificate"),
];
const FOREIGN: &str = "its certificate is not signed by an authority that we know";

/// The reason, from the text of a failed attempt to connect; `None` when it had nothing to do with TLS.
#[must_use]
pub fn refusal(error: &str) -> Option<String> {
    let known = MEANINGS.iter().find(|(text, _)| error.contains(text));
    if let Some((_, meaning)) = known {
        return Some((*meaning).to_owned());
    }
    let certificate = error.split_once("invalid peer certificate: ").map(|(_, reason)| reason.to_owned());
    certificate.or_else(|| error.contains("fatal alert").then(|| error.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_refuses_whom() {
        for (error, reason) in [
            ("IO error: received corrupt message of type InvalidContentType", "does not answer in TLS"),
            ("IO error: invalid peer certificate: BadSignature", FOREIGN),
            (
                "IO error: invalid peer certificate: certificate not valid for name \"a\"",
                "certificate not valid",
            ),
            ("IO error: received fatal alert: UnknownCA", "does not know the authority"),
            ("IO error: received fatal alert: HandshakeFailure", "HandshakeFailure"),
        ] {
            assert!(refusal(error).unwrap().contains(reason), "{error}");
        }
        assert_eq!(refusal("connection refused"), None);
    }
}
