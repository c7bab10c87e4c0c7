//! `fieldgate cert`: from nothing to a signed certificate in place, with a key that never left; and what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Output;

use base64ct::{Base64, Encoding as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _,
    date_time_ymd,
};
use serde_json::Value;

use crate::stranger::is_root;
use crate::{program, text, write};

const CONFIG: &str = "\
gateway: { id: g1, data_dir: data }
broker: { listeners: [{ name: plant, bind: \"127.0.0.1:0\", anonymous: true, tls: { certificate: plant.crt, private_key: plant.key } }] }
bridges:
  - { name: cloud, url: \"mqtts://localhost:1\", client_id: press-3, tls: { ca: ca.crt, certificate: device.crt, private_key: device.key }, forward: [{ filter: a }] }
";

fn cert(file: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.arg("cert").args(arguments).arg("-c").arg(file);
    command.output().unwrap()
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// What somebody makes of a request: it is for the public half of this key, and for this name.
    fn sign(&self, request: &str, key: &Path, from: i32, to: i32) -> String {
        let key = KeyPair::from_pem(&fs::read_to_string(key).unwrap()).unwrap();
        let body: String = request
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let request = Base64::decode_vec(&body).unwrap();
        for part in [key.der_bytes(), b"press-3"] {
            assert!(request.windows(part.len()).any(|window| window == part));
        }
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "press-3");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        params.signed_by(&key, &self.issuer).unwrap().pem()
    }
}

#[test]
fn a_certificate_is_asked_for_signed_and_put_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = write(folder.path(), CONFIG);
    let authority = Authority::new();
    fs::write(path("ca.crt"), &authority.pem).unwrap();

    let output = cert(&file, &["request", "cloud"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let request = text(&output.stdout).to_owned();
    assert!(
        request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"),
        "{request}"
    );
    let told = text(&output.stderr);
    assert!(
        told.contains("CN=press-3") && told.contains("a new key, made here"),
        "{told}"
    );
    let new_key = path("device.new.key");
    let mode = fs::metadata(&new_key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let again = cert(&file, &["request", "cloud", "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["key"].as_str(), new_key.to_str());
    assert_eq!(
        (&again["common_name"], &again["is_new_key"]),
        (&"press-3".into(), &false.into())
    );
    assert!(again["request"].as_str().unwrap().starts_with("-----BEGIN"));
    let again = cert(&file, &["request", "bridge cloud"]);
    assert!(
        text(&again.stderr).contains("the key that waits already"),
        "{again:?}"
    );

    let signed = |from, to| {
        let pem = authority.sign(&request, &new_key, from, to);
        fs::write(path("signed.pem"), pem).unwrap();
        cert(&file, &["install", path("signed.pem").to_str().unwrap()])
    };
    for (from, to, why) in [
        (2020, 2021, "ended on 2021-01-01"),
        (2090, 2091, "valid only from 2090-01-01 on"),
    ] {
        let output = signed(from, to);
        assert!(text(&output.stderr).contains(why), "{output:?}");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            !path("device.crt").exists() && new_key.exists(),
            "nothing was changed"
        );
    }
    let output = signed(2026, 2090);
    let told = text(&output.stdout);
    let wanted = "bridge cloud: the certificate and key are in place, valid to 2090-01-01\n";
    assert!(told.starts_with(wanted), "{output:?}");
    assert!(told.contains("no gateway is running"), "{told}");
    assert_eq!(output.status.code(), Some(0));
    assert!(!new_key.exists());
    let mode = fs::metadata(path("device.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);

    is_shown(&file);
    renewing_keeps_the_pair_before(&authority, folder.path());
}

/// What is in place, and what is missing.
fn is_shown(file: &Path) {
    let output = cert(file, &["show", "cloud"]);
    let told = text(&output.stdout);
    assert!(
        told.contains("CN=press-3") && told.contains("device.key fits"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = cert(file, &["show", "plant", "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        shown["faults"][0]
            .as_str()
            .unwrap()
            .contains("plant.crt: cannot be read"),
        "{shown}"
    );
    assert_eq!(
        (&shown["key_fits"], output.status.code()),
        (&false.into(), Some(1))
    );
}

fn renewing_keeps_the_pair_before(authority: &Authority, folder: &Path) {
    let path = |name: &str| folder.join(name);
    let (file, new_key) = (path("fieldgate.yaml"), path("device.new.key"));
    let before = ["device.crt", "device.key"].map(|name| fs::read(path(name)).unwrap());
    let request = cert(&file, &["request", "cloud", "--san", "press-3.local"]);
    assert!(
        text(&request.stderr).contains("CN=press-3, press-3.local"),
        "{request:?}"
    );
    let pem = authority.sign(text(&request.stdout), &new_key, 2026, 2091);
    fs::write(path("signed.pem"), pem).unwrap();
    let signed = path("signed.pem");
    let output = cert(&file, &["install", signed.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["used_by"], serde_json::json!(["bridge cloud"]));
    assert_eq!(
        (&told["is_new_key"], &told["taken_up"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(told["kept"].as_array().map(Vec::len), Some(2), "{told}");
    let kept = ["device.crt.old", "device.key.old"].map(|name| fs::read(path(name)).unwrap());
    assert_eq!(kept, before);
    assert_ne!(fs::read(path("device.key")).unwrap(), before[1]);
    let told = cert(&file, &["show", "cloud"]);
    assert!(text(&told.stdout).contains(" to 2091-01-01 ("), "{told:?}");
}

/// The first time ended between key and certificate.
#[test]
fn installing_again_after_a_power_cut_keeps_the_first_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = write(folder.path(), CONFIG);
    fs::write(path("device.crt"), "the first certificate").unwrap();
    fs::write(path("device.key.old"), "the first key").unwrap();
    let request = cert(&file, &["request", "cloud"]);
    let new_key = path("device.new.key");
    fs::copy(&new_key, path("device.key")).unwrap();
    let pem = Authority::new().sign(text(&request.stdout), &new_key, 2026, 2090);
    fs::write(path("signed.pem"), pem).unwrap();
    let output = cert(&file, &["install", path("signed.pem").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let kept = ["device.crt.old", "device.key.old"].map(|name| fs::read(path(name)).unwrap());
    assert_eq!(kept, [&b"the first certificate"[..], b"the first key"]);
}

#[test]
fn a_file_with_both_keeps_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let one_file = CONFIG.replace("device.crt", "device.pem");
    let file = write(
        folder.path(),
        &one_file.replace("device.key", "./device.pem"),
    );
    let authority = Authority::new();
    fs::write(path("ca.crt"), &authority.pem).unwrap();
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    let install = |pem: String| {
        fs::write(path("signed.pem"), pem).unwrap();
        let output = cert(&file, &["install", path("signed.pem").to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = cert(&file, &["show", "cloud"]);
        assert_eq!(shown.status.code(), Some(0), "{shown:?}");
        let mode = fs::metadata(path("device.pem")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640, "a key is in it");
    };
    let request = cert(&file, &["request", "cloud"]);
    let new_key = path("device.new.pem");
    let key = fs::read_to_string(&new_key).unwrap();
    let signed = |to| authority.sign(text(&request.stdout), &new_key, 2026, to);
    let (first, second) = (signed(2090), signed(2091));
    install(first.clone());
    assert_eq!(read("device.pem"), format!("{key}{first}"));
    // With the key that is in use, and from a file that has it, too.
    install(format!("as signed:\n{second}{key}"));
    assert_eq!(read("device.pem"), format!("{key}{second}"));
    assert_eq!(read("device.pem.old"), format!("{key}{first}"));
    let mode = fs::metadata(path("device.pem.old")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o640, "a key is in it");
}

/// As `openssl x509 -req` makes one that is told of no extensions: X.509 version 1.
#[test]
fn a_certificate_that_cannot_be_used_is_told_from_one_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = write(folder.path(), CONFIG);
    let request = cert(&file, &["request", "cloud"]);
    let new_key = path("device.new.key");
    let pem = Authority::new().sign(text(&request.stdout), &new_key, 2026, 2090);
    fs::write(path("signed.pem"), of_version_1(&pem)).unwrap();
    let output = cert(&file, &["install", path("signed.pem").to_str().unwrap()]);
    let told = text(&output.stderr);
    assert!(
        told.contains("signed.pem: cannot be used") && told.contains("takes X.509 v3"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(!path("device.crt").exists() && new_key.exists());

    // A key that cannot be used is told, too.
    fs::write(&new_key, "damaged").unwrap();
    fs::write(path("signed.pem"), pem).unwrap();
    let output = cert(&file, &["install", path("signed.pem").to_str().unwrap()]);
    let told = text(&output.stderr);
    let why = "device.new.key: no private key in it";
    assert!(told.contains("fits no key") && told.contains(why), "{told}");
}

/// Without its version, which says 3; nobody looks at the signature here.
fn of_version_1(pem: &str) -> String {
    const VERSION: [u8; 5] = [0xA0, 3, 2, 1, 2];
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let whole = Base64::decode_vec(&body).unwrap();
    let at = whole.windows(5).position(|it| it == VERSION).unwrap();
    let content = |bytes: &[u8]| {
        let mut made = vec![0x30, 0x82];
        made.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        made.extend(bytes);
        made
    };
    let length_of = |head: &[u8]| match *head {
        [0x30, 0x82, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [0x30, 0x81, a, ..] => (3, usize::from(a)),
        _ => panic!("{head:x?}"),
    };
    let (outer, _) = length_of(&whole);
    let (_, signed) = length_of(&whole[outer..]);
    let end = at + signed;
    let mut inner = content(&whole[at + VERSION.len()..end]);
    inner.extend(&whole[end..]);
    let body = Base64::encode_string(&content(&inner));
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_certificate_that_fits_no_key_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), CONFIG);
    let stranger = folder.path().join("stranger.pem");
    let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    fs::write(&stranger, certificate.cert.pem()).unwrap();
    assert_eq!(cert(&file, &["request", "plant"]).status.code(), Some(0));
    let output = cert(&file, &["install", stranger.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("fits no key") && told.contains("plant.new.key"),
        "{told}"
    );
    let output = cert(&file, &["request", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("listener plant, bridge cloud"),
        "{output:?}"
    );
}

/// As in the package: root's to write and the service's to read.
#[test]
fn the_service_can_read_a_key_that_root_makes() {
    if !is_root() {
        return; // nobody else gives files away
    }
    const SERVICE: u32 = 4242;
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), None, Some(SERVICE)).unwrap();
    let file = write(folder.path(), CONFIG);
    fs::write(folder.path().join("device.key"), "copied by hand").unwrap();
    assert_eq!(cert(&file, &["request", "cloud"]).status.code(), Some(0));
    let made = fs::metadata(folder.path().join("device.new.key")).unwrap();
    let mode = made.mode() & 0o777;
    assert_eq!((mode, made.uid(), made.gid()), (0o640, 0, SERVICE));
}
