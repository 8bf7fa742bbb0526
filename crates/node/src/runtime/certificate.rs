//! This node's own certificate while it runs: in the status, and in the log when it comes to its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::clock::wall_ms;
use crate::status::CertificateStatus;
use crate::tls::{Certificate, Term, TlsError, read_certificates};

/// Between two looks, and two warnings.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How the certificate in that file stands now.
pub(crate) fn status(file: &Path) -> CertificateStatus {
    let status = CertificateStatus { file: file.display().to_string(), ..CertificateStatus::default() };
    match read(file) {
        Ok(certificate) => CertificateStatus {
            subject: certificate.subject.clone(),
            not_after: date(certificate.not_after_s),
            days_left: (certificate.not_after_s - now_s()).div_euclid(24 * 3600),
            state: certificate.term(now_s()).word().to_owned(),
            hosts: certificate.hosts,
            ..status
        },
        Err(error) => CertificateStatus { state: error.to_string(), ..status },
    }
}

/// Warns every day from the moment on at which it is time to renew it, for as long as the node runs.
pub(crate) async fn watch(file: PathBuf) {
    loop {
        warn(&file);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn warn(file: &Path) {
    let (certificate, shown) = (read(file), file.display());
    match certificate {
        Ok(certificate) => match certificate.term(now_s()) {
            Term::Valid => {}
            Term::ExpiresSoon => {
                let not_after = date(certificate.not_after_s);
                tracing::warn!(file = %shown, not_after, "this node's certificate ends soon: renew it");
            }
            Term::Expired | Term::NotYet => {
                let not_after = date(certificate.not_after_s);
                tracing::error!(file = %shown, not_after, "this node's certificate does not hold: no peer takes it");
            }
        },
        Err(error) => tracing::error!(%error, "this node's certificate cannot be read any more"),
    }
}

fn read(file: &Path) -> Result<Certificate, TlsError> {
    let first = read_certificates(file)?.into_iter().next();
    first.ok_or_else(|| TlsError::Unreadable {
        path: file.to_owned(),
        wanted: "certificate",
        reason: "it is empty".to_owned(),
    })
}

fn now_s() -> i64 {
    i64::try_from(wall_ms() / 1000).unwrap_or(i64::MAX)
}

fn date(at_s: i64) -> String {
    Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, Validity};

    #[test]
    fn the_end_of_a_certificate_is_in_the_status() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let now_s = wall_ms() / 1000;
        for (days, state) in [(400, "valid"), (20, "expires soon")] {
            let validity = Validity { now_s, end_s: now_s + days * 24 * 3600 + 60 };
            let made = Authority::new("shop", validity).unwrap().issue("a", "shop", &[], validity).unwrap();
            std::fs::write(file.path(), made.certificate).unwrap();
            let status = status(file.path());
            assert_eq!((status.state.as_str(), status.days_left), (state, i64::try_from(days).unwrap()));
            assert_eq!(status.hosts[0], "localhost");
        }
        std::fs::write(file.path(), "x").unwrap();
        assert!(status(file.path()).state.contains("holds no certificate"));
    }
}
