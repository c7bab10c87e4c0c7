//! Who a client certificate names: the Common Name of its subject (RFC 5280 sections 4.1.2.6 and A.1).
//!
//! By the time this runs, webpki has checked the same bytes and the signature on them.

use rustls_pki_types::CertificateDer;

use super::der::{
    Der, IA5_STRING, INTEGER, OBJECT_IDENTIFIER, PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING,
};

/// `version` of TBSCertificate; absent in v1.
const VERSION: u8 = 0xA0;

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The subject's Common Name. `None` where there is none, where there are several (nobody could say which of them is
/// the user), where it is in an encoding other than UTF-8 or ASCII, or where it holds a control character.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let mut signed = from_validity(certificate)?;
    signed.open(SEQUENCE)?; // validity
    let mut subject = signed.open(SEQUENCE)?;

    let mut found = None;
    while !subject.is_empty() {
        let mut relative = subject.open(SET)?;
        while !relative.is_empty() {
            let mut attribute = relative.open(SEQUENCE)?;
            if attribute.open(OBJECT_IDENTIFIER)?.bytes() == COMMON_NAME
                && found.replace(text(&mut attribute)?).is_some()
            {
                return None;
            }
        }
    }
    found.filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
}

/// What is signed in a certificate, from its `validity` on (RFC 5280 section 4.1).
pub(super) fn from_validity<'a>(certificate: &'a CertificateDer<'_>) -> Option<Der<'a>> {
    let mut certificate = Der::new(certificate.as_ref()).open(SEQUENCE)?;
    let mut signed = certificate.open(SEQUENCE)?;
    if signed.next_is(VERSION) {
        signed.open(VERSION)?;
    }
    signed.open(INTEGER)?; // serialNumber
    signed.open(SEQUENCE)?; // signature
    signed.open(SEQUENCE)?; // issuer
    Some(signed)
}

/// A string in one of the encodings that are UTF-8 already.
fn text(attribute: &mut Der<'_>) -> Option<String> {
    let (tag, content) = attribute.next()?;
    let text = str::from_utf8(content.bytes()).ok()?;
    match tag {
        UTF8_STRING => Some(text.to_owned()),
        PRINTABLE_STRING | IA5_STRING if text.is_ascii() => Some(text.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(name: DistinguishedName) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = name;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn named(value: impl Into<DnValue>) -> CertificateDer<'static> {
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Plant 7");
        name.push(DnType::CommonName, value);
        certificate(name)
    }

    #[test]
    fn the_common_name_is_found_among_other_attributes() {
        assert_eq!(common_name(&named("plc-7")).as_deref(), Some("plc-7"));
        assert_eq!(common_name(&named("Förderer")).as_deref(), Some("Förderer"));
        let printable = DnValue::PrintableString("press".try_into().unwrap());
        assert_eq!(common_name(&named(printable)).as_deref(), Some("press"));
    }

    #[test]
    fn a_subject_without_a_usable_name_names_nobody() {
        assert_eq!(common_name(&certificate(DistinguishedName::new())), None);
        assert_eq!(common_name(&named("")), None);
        assert_eq!(common_name(&named("a\nb")), None);
        let wide = DnValue::BmpString("press".try_into().unwrap());
        assert_eq!(common_name(&named(wide)), None);
    }

    #[test]
    fn two_common_names_name_nobody() {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "one");
        name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "two");
        assert_eq!(common_name(&certificate(name)), None);
    }

    #[test]
    fn damaged_bytes_never_panic_and_never_name_anybody_else() {
        let whole = named("plc-7");
        for length in 0..whole.len() {
            assert_eq!(common_name(&CertificateDer::from(&whole[..length])), None);
        }
        for position in 0..whole.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bytes = whole.to_vec();
                bytes[position] ^= flip;
                drop(common_name(&CertificateDer::from(bytes)));
            }
        }
    }
}
