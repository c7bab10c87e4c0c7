//! Until when a certificate revocation list speaks: `nextUpdate` (RFC 5280 section 5.1.2.5), which rustls does not tell.
//!
//! webpki checks the lists and the signatures on them; this only reads the one time, to warn of a list that nobody
//! renews.

use rustls_pki_types::CertificateRevocationListDer;

use super::der::{Der, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME};
use crate::clock::WallTime;

const DAY_SECONDS: u64 = 24 * 60 * 60;

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

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`: the forms that RFC 5280 allows, always UTC.
fn time(signed: &mut Der<'_>) -> Option<WallTime> {
    let (tag, content) = signed.next()?;
    let digits = content.bytes().strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let &[m1, m2, d1, d2, h1, h2, i1, i2, s1, s2] = rest else {
        return None;
    };
    let [month, day] = [number(&[m1, m2])?, number(&[d1, d2])?];
    let [hour, minute, second] = [number(&[h1, h2])?, number(&[i1, i2])?, number(&[s1, s2])?];
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !is_time || year < 1970 {
        return None;
    }
    let seconds = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some(WallTime(seconds * 1000))
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    text.bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is
/// their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE_1970: u64 = 719_468;
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - BEFORE_1970
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

    #[test]
    fn what_is_no_time_is_none() {
        let read = |tag: u8, text: &str| {
            let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
            bytes.extend(text.bytes());
            time(&mut Der::new(&bytes))
        };
        assert_eq!(read(UTC_TIME, "700101000001Z"), Some(WallTime(1000)));
        assert_eq!(
            read(GENERALIZED_TIME, "19700102000000Z"),
            Some(WallTime(DAY_SECONDS * 1000))
        );
        for text in [
            "",
            "Z",
            "700101000001",
            "701301000000Z",
            "700100000000Z",
            "7001010000+1Z",
        ] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(read(GENERALIZED_TIME, "00000101000000Z"), None);
        assert_eq!(read(INTEGER, "700101000001Z"), None);
    }
}
