//! What a certificate says of itself, for people (RFC 5280 section 4.1): whom it names, who signed it, from when to when.
//!
//! webpki decides whether a certificate is valid; nothing here is a check of that.

use std::net::IpAddr;
use std::path::Path;

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;

use super::der::{
    Der, IA5_STRING, INTEGER, OBJECT_IDENTIFIER, PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING,
};
use super::time::time;
use super::{TlsError, common_name, pem};
use crate::clock::WallTime;

const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
/// Kinds of GeneralName.
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;
/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];

/// Kinds of attributes with a short name: 2.5.4.x.
const ATTRIBUTES: [(u8, &str); 7] = [
    (3, "CN"),
    (5, "serialNumber"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (10, "O"),
    (11, "OU"),
];

/// What one certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Whom it names: `CN=press-3, O=Plant`.
    pub subject: String,
    /// The Common Name of that, where there is one.
    pub common_name: Option<String>,
    /// Who signed it.
    pub issuer: String,
    /// The other names of the subject, each with its kind: `DNS:press-3.local`, `IP:10.0.0.1`.
    pub names: Vec<String>,
    /// Valid from then on.
    pub from: WallTime,
    /// Valid up to then.
    pub to: WallTime,
    /// SHA-256 of all of it, as openssl prints it.
    pub sha256: String,
}

impl Described {
    /// Every certificate of a PEM file, in their order; at least one. Blocks.
    ///
    /// # Errors
    /// Where the file is none, or a certificate in it is damaged.
    pub fn read(path: &Path) -> Result<Vec<Self>, TlsError> {
        let certificates = pem::certificates(path)?;
        let described = certificates.iter().map(|certificate| {
            Self::of(certificate).ok_or_else(|| TlsError::Unusable {
                path: path.to_owned(),
                source: rustls::CertificateError::BadEncoding.into(),
            })
        });
        described.collect()
    }

    /// `None` where the bytes are no certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let mut outer = Der::new(certificate.as_ref()).open(SEQUENCE)?;
        let mut signed = outer.open(SEQUENCE)?;
        if signed.next_is(VERSION) {
            signed.open(VERSION)?;
        }
        signed.open(INTEGER)?; // serialNumber
        signed.open(SEQUENCE)?; // signature
        let issuer = name(signed.open(SEQUENCE)?)?;
        let mut validity = signed.open(SEQUENCE)?;
        let (from, to) = (time(&mut validity)?, time(&mut validity)?);
        let subject = name(signed.open(SEQUENCE)?)?;
        let mut names = Vec::new();
        while let Some((tag, mut content)) = signed.next() {
            if tag == EXTENSIONS {
                names = alternative_names(content.open(SEQUENCE)?)?;
            }
        }
        let hash = digest(&SHA256, certificate.as_ref());
        let pairs: Vec<_> = hash.as_ref().iter().map(|it| format!("{it:02X}")).collect();
        Some(Self {
            subject,
            common_name: common_name(certificate),
            issuer,
            names,
            from,
            to,
            sha256: pairs.join(":"),
        })
    }

    /// Whether nobody else signed it, as far as it says itself.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// A Name: its attributes in their order.
fn name(mut name: Der<'_>) -> Option<String> {
    let mut attributes = Vec::new();
    while !name.is_empty() {
        let mut relative = name.open(SET)?;
        while !relative.is_empty() {
            let mut attribute = relative.open(SEQUENCE)?;
            let kind = attribute.open(OBJECT_IDENTIFIER)?;
            let value = text(&mut attribute)?;
            attributes.push(format!("{}={value}", kind_name(kind.bytes())));
        }
    }
    Some(attributes.join(", "))
}

fn kind_name(kind: &[u8]) -> String {
    if let [0x55, 0x04, number] = *kind {
        let known = ATTRIBUTES.iter().find(|(it, _)| *it == number);
        return known.map_or_else(|| format!("2.5.4.{number}"), |(_, name)| (*name).to_owned());
    }
    hex(kind)
}

/// As it is where it is UTF-8, else its bytes in hex.
fn text(attribute: &mut Der<'_>) -> Option<String> {
    let (tag, content) = attribute.next()?;
    let bytes = content.bytes();
    Some(match (tag, str::from_utf8(bytes)) {
        (UTF8_STRING | PRINTABLE_STRING | IA5_STRING, Ok(text)) => text.to_owned(),
        _ => format!("#{}", hex(bytes)),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn alternative_names(mut extensions: Der<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !extensions.is_empty() {
        let mut extension = extensions.open(SEQUENCE)?;
        let kind = extension.open(OBJECT_IDENTIFIER)?;
        if extension.next_is(BOOLEAN) {
            extension.open(BOOLEAN)?; // critical
        }
        let mut value = extension.open(OCTET_STRING)?;
        if kind.bytes() != SUBJECT_ALT_NAME {
            continue;
        }
        let mut all = value.open(SEQUENCE)?;
        while !all.is_empty() {
            let (tag, content) = all.next()?;
            names.push(general_name(tag, content.bytes()));
        }
    }
    Some(names)
}

fn general_name(tag: u8, bytes: &[u8]) -> String {
    let address = match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let text = str::from_utf8(bytes);
    match (tag, text, address) {
        (DNS_NAME, Ok(text), _) => format!("DNS:{text}"),
        (URI, Ok(text), _) => format!("URI:{text}"),
        (EMAIL, Ok(text), _) => format!("email:{text}"),
        (IP_ADDRESS, _, Some(address)) => format!("IP:{address}"),
        _ => format!("other:#{}", hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType,
        date_time_ymd,
    };

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let names = [
            "press-3.local".to_owned(),
            "10.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        let uri = "urn:press-3".to_owned().try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        let extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
        params.custom_extensions.push(extension);
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::CommonName, "press-3");
        name.push(DnType::CustomDnType(vec![2, 5, 4, 12]), "Press");
        params.distinguished_name = name;
        params.not_before = date_time_ymd(1970, 1, 2);
        params.not_after = date_time_ymd(2028, 2, 29);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_says_whom_it_names_and_until_when() {
        let certificate = certificate();
        let told = Described::of(&certificate).unwrap();
        assert_eq!(told.subject, "C=DE, CN=press-3, 2.5.4.12=Press");
        assert_eq!(told.common_name.as_deref(), Some("press-3"));
        assert!(told.is_self_issued());
        assert_eq!(
            told.names,
            [
                "DNS:press-3.local",
                "IP:10.0.0.1",
                "IP:::1",
                "URI:urn:press-3"
            ]
        );
        assert_eq!(told.from, WallTime(86_400_000));
        assert_eq!(told.to, WallTime(1_835_395_200_000));
        assert_eq!(
            (told.sha256.len(), told.sha256.matches(':').count()),
            (95, 31)
        );
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let whole = certificate();
        for length in 0..whole.len() {
            assert_eq!(Described::of(&CertificateDer::from(&whole[..length])), None);
        }
        for position in 0..whole.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bytes = whole.to_vec();
                bytes[position] ^= flip;
                drop(Described::of(&CertificateDer::from(bytes)));
            }
        }
    }
}
