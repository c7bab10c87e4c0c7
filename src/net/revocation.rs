//! Until when a certificate revocation list speaks: `nextUpdate` (RFC 5280 section 5.1.2.5), which rustls does not tell.
//!
//! webpki checks the lists and the signatures on them; this only reads the one time, to warn of a list that nobody
//! renews.

use rustls_pki_types::CertificateRevocationListDer;

use super::der::{Der, INTEGER, SEQUENCE};
use super::time::time;
use crate::clock::WallTime;

/// When the next list is due at the latest. `None` where this one does not say.
pub(super) fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<WallTime> {
    let mut list = Der::new(list.as_ref()).open(SEQUENCE)?;
    let mut signed = list.open(SEQUENCE)?;
    if signed.next_is(INTEGER) {
        signed.open(INTEGER)?; // version
    }
    signed.open(SEQUENCE)?; // signature
    signed.open(SEQUENCE)?; // issuer
    time(&mut signed)?; // thisUpdate
    time(&mut signed)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
        KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
    };

    use super::*;

    fn list(next_year: i32) -> CertificateRevocationListDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(params, KeyPair::generate().unwrap());
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(next_year, 2, 29),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().der().clone()
    }

    #[test]
    fn the_time_of_the_next_list_is_read_in_both_forms() {
        // `date -u -d 2028-02-29 +%s`, and of 2052, which no UTCTime can say.
        assert_eq!(
            next_update(&list(2028)),
            Some(WallTime(1_835_395_200 * 1000))
        );
        assert_eq!(
            next_update(&list(2052)),
            Some(WallTime(2_592_777_600 * 1000))
        );
    }

    #[test]
    fn damaged_lists_never_panic() {
        let whole = list(2028);
        let read = |bytes: &[u8]| next_update(&CertificateRevocationListDer::from(bytes));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None);
        }
        let mut changed = 0;
        for position in 0..whole.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bytes = whole.to_vec();
                bytes[position] ^= flip;
                changed += usize::from(read(&bytes) != read(&whole));
            }
        }
        assert!(changed > 0);
    }
}
