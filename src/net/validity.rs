//! Until when a certificate is valid (RFC 5280 section 4.1.2.5), and what is said about it ahead of time.
//!
//! webpki decides whether a certificate is valid; this only reads the one time, so that somebody renews it before.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;

use super::certificate::from_validity;
use super::der::SEQUENCE;
use super::time::time;
use crate::clock::WallTime;

/// From so many days before the end on, it is told.
const TOLD_AHEAD_DAYS: u64 = 30;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// When the first of the certificates in a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file.
    pub path: PathBuf,
    /// `notAfter`.
    pub at: WallTime,
}

impl Expiry {
    /// Of a chain as it was read from `path`; `None` where no certificate of it says when it ends.
    pub(super) fn of(path: &Path, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let at = chain.iter().filter_map(not_after).min()?;
        let path = path.to_owned();
        Some(Self { path, at })
    }

    /// What is to be told at `now`, if anything: from 30 days before the end on. Nothing by a clock that was not set.
    #[must_use]
    pub fn warning(&self, now: WallTime) -> Option<String> {
        let path = self.path.display();
        if !now.is_plausible() {
            return None;
        }
        if self.at < now {
            let days = now.millis_since(self.at) / DAY_MILLIS;
            let ago =
                counted(days).map_or_else(|| "today".to_owned(), |days| format!("{days} ago"));
            return Some(format!(
                "{path}: the certificate expired {ago}, and nobody accepts it any more: renew it"
            ));
        }
        let days = self.at.millis_since(now) / DAY_MILLIS;
        (days < TOLD_AHEAD_DAYS).then(|| {
            let left = counted(days).unwrap_or_else(|| "less than a day".to_owned());
            format!("{path}: the certificate expires in {left}: renew it")
        })
    }
}

fn counted(days: u64) -> Option<String> {
    match days {
        0 => None,
        1 => Some("1 day".to_owned()),
        days => Some(format!("{days} days")),
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<WallTime> {
    let mut validity = from_validity(certificate)?.open(SEQUENCE)?;
    time(&mut validity)?; // notBefore
    time(&mut validity)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// `date -u -d 2028-02-29 +%s`, in milliseconds.
    const END: WallTime = WallTime(1_835_395_200_000);

    fn certificate(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 2, 29);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_first_of_a_chain_counts() {
        let path = Path::new("certs/device.crt");
        let chain = [certificate(2052), certificate(2028)];
        assert_eq!(Expiry::of(path, &chain).unwrap().at, END);
        assert_eq!(Expiry::of(path, &[]), None);
    }

    #[test]
    fn it_is_told_from_thirty_days_before_on_and_after_the_end() {
        let expiry = Expiry {
            path: PathBuf::from("certs/device.crt"),
            at: END,
        };
        let told = |now: u64| expiry.warning(WallTime(now)).unwrap_or_default();
        let before = |days: u64| told(END.0 - days * DAY_MILLIS);
        assert_eq!(before(30), "");
        assert_eq!(
            told(END.0 - 30 * DAY_MILLIS + 1),
            "certs/device.crt: the certificate expires in 29 days: renew it"
        );
        assert_eq!(
            before(1),
            "certs/device.crt: the certificate expires in 1 day: renew it"
        );
        assert!(before(0).contains("expires in less than a day"));
        assert!(told(END.0 + 1).contains("expired today"));
        assert!(told(END.0 + 3 * DAY_MILLIS).contains("expired 3 days ago"));
        assert_eq!(told(5), "", "a clock that was never set");
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let whole = certificate(2028);
        for length in 0..whole.len() {
            assert_eq!(not_after(&CertificateDer::from(&whole[..length])), None);
        }
        let mut changed = 0;
        for position in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[position] ^= 0xFF;
            changed += usize::from(not_after(&CertificateDer::from(bytes)) != Some(END));
        }
        assert!(changed > 0);
    }
}
