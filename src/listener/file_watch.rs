//! What is to be told, once a day, about the age of a listener's files: a certificate that expires, a revocation list that
//! nobody renews.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::WallTime;
use crate::net::{Expiry, ServerSetup};

const AGAIN_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// The files of one listener.
#[derive(Debug)]
pub(super) struct FileWatch {
    /// When the revocation list is due to be renewed.
    revocations_due: Option<WallTime>,
    expiry: Option<Expiry>,
    /// In milliseconds of the wall clock.
    told: AtomicU64,
}

impl FileWatch {
    pub(super) fn new(setup: &ServerSetup) -> Self {
        Self {
            revocations_due: setup.revocations_due,
            expiry: setup.expiry.clone(),
            told: AtomicU64::new(0),
        }
    }

    /// When the certificate ends, if it says so.
    pub(super) fn expiry(&self) -> Option<&Expiry> {
        self.expiry.as_ref()
    }

    pub(super) fn warn_if_due(&self, listener: &str, now: WallTime) {
        for warning in self.to_be_told(now) {
            tracing::warn!(listener, "{warning}");
        }
    }

    fn to_be_told(&self, now: WallTime) -> Vec<String> {
        let told = WallTime(self.told.load(Ordering::Relaxed));
        if now.millis_since(told) < AGAIN_MILLIS {
            return Vec::new();
        }
        let is_old = self.revocations_due.is_some_and(|due| due < now);
        let old = is_old.then(|| {
            "the revocation list in `crl` is out of date; the certificates that it names are still refused, those revoked since are not: get the newest list".to_owned()
        });
        let expiring = self.expiry.as_ref().and_then(|expiry| expiry.warning(now));
        let warnings: Vec<_> = old.into_iter().chain(expiring).collect();
        if !warnings.is_empty() {
            self.told.store(now.0, Ordering::Relaxed);
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const NOW: u64 = 1_900_000_000_000;

    fn nothing() -> FileWatch {
        FileWatch {
            revocations_due: None,
            expiry: None,
            told: AtomicU64::new(0),
        }
    }

    fn told(watch: &FileWatch, after: u64) -> usize {
        watch.to_be_told(WallTime(NOW + after)).len()
    }

    #[test]
    fn a_list_out_of_date_is_told_once_a_day() {
        let watch = FileWatch {
            revocations_due: Some(WallTime(NOW)),
            ..nothing()
        };
        assert_eq!(told(&watch, 0), 0);
        assert_eq!(told(&watch, 1), 1);
        assert_eq!(told(&watch, 2), 0);
        assert_eq!(told(&watch, AGAIN_MILLIS), 0);
        assert_eq!(told(&watch, AGAIN_MILLIS + 1), 1);
        assert!(nothing().to_be_told(WallTime(u64::MAX)).is_empty());
    }

    #[test]
    fn a_certificate_that_expires_is_told_once_a_day() {
        let watch = FileWatch {
            expiry: Some(Expiry {
                path: PathBuf::from("certs/gateway.crt"),
                at: WallTime(NOW + 2 * AGAIN_MILLIS),
            }),
            ..nothing()
        };
        assert_eq!(told(&watch, 0), 1);
        assert_eq!(told(&watch, 1), 0);
        assert_eq!(told(&watch, AGAIN_MILLIS), 1);
    }
}
