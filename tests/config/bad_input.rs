//! Files that are no configuration, or hardly one: each is refused in words of its own, and nothing of a secret is shown.

use std::os::unix::fs::symlink;
use std::path::Path;

use fieldgate::config::{self, Code, Faults};

use crate::support::{Surroundings, faults_in, folder_of, read, read_in};

/// The faults of a file of these bytes.
fn faults_of_bytes(bytes: &[u8]) -> Faults {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fieldgate.yaml");
    std::fs::write(&file, bytes).unwrap();
    config::load(&file).unwrap_err()
}

/// Code, place, message and remedy of the only fault.
fn only(faults: &Faults) -> (Code, usize, usize, &str, &str) {
    assert_eq!((faults.list.len(), faults.more), (1, 0), "{faults}");
    let fault = &faults.list[0];
    (
        fault.code,
        fault.line,
        fault.column,
        &fault.message,
        &fault.remedy,
    )
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let faults = faults_of_bytes(&vec![b'#'; 10 << 20]);
    let expected = (
        Code::Unreadable,
        0,
        0,
        "it is larger than 4MiB",
        "name a configuration; `templates:` say once what many devices have",
    );
    assert_eq!(only(&faults), expected);
}

#[test]
fn aliases_of_aliases_and_brackets_in_brackets_end_soon() {
    let mut bomb = "gateway: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (key, earlier) in ["b", "c", "d", "e", "f", "g", "h"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        let list = vec![format!("*{earlier}"); 10].join(", ");
        bomb.push_str(&format!("{key}: &{key} [{list}]\n"));
    }
    for text in [bomb, format!("gateway: {}", "[".repeat(20_000))] {
        let faults = faults_of_bytes(text.as_bytes());
        let (code, _, _, message, remedy) = only(&faults);
        assert_eq!(code, Code::Syntax);
        assert_eq!(message, "too deeply nested, or too many aliases");
        assert_eq!(remedy, "write it flat; use `templates:` for what repeats");
    }
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let faults = faults_of_bytes(b"gateway:\n  id: a\0b\n");
    let (code, line, _, message, remedy) = only(&faults);
    assert_eq!((code, line), (Code::Syntax, 2), "{faults}");
    assert_eq!(message, "there is a control character in this line");
    assert_eq!(
        remedy,
        "remove it; a text editor shows it as a box or not at all"
    );
    // As Windows' Notepad writes "Unicode".
    let utf_16: Vec<u8> = "gateway:\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let faults = faults_of_bytes(&[b"\xff\xfe".as_slice(), &utf_16].concat());
    let told = (
        Code::Unreadable,
        0,
        0,
        "line 1 is not UTF-8",
        "save the file as UTF-8",
    );
    assert_eq!(only(&faults), told);
}

#[test]
fn a_tab_is_named_and_a_byte_order_mark_and_carriage_returns_shift_nothing() {
    let faults = faults_of_bytes(b"gateway:\r\n\tid: a\r\n");
    let (code, line, _, message, remedy) = only(&faults);
    assert_eq!((code, line), (Code::Syntax, 2));
    assert_eq!(message, "a tab indents this line, or the one before");
    assert_eq!(remedy, "indent with spaces; YAML takes no tabs");
    let faults = faults_of_bytes("\u{feff}gateway: { idd: a }\r\n".as_bytes());
    assert_eq!(only(&faults).3, "unknown key `idd`");
    let shown = faults.to_string();
    let mut lines = shown.lines().skip(2);
    let (text, caret) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(text.find("idd"), caret.find('^'), "{shown}");
}

#[test]
fn a_second_document_is_no_part_of_the_first() {
    let faults = faults_of_bytes(b"gateway: { id: a }\n---\nstore: {}\n");
    let (code, _, _, message, remedy) = only(&faults);
    assert_eq!(code, Code::Syntax);
    assert_eq!(message, "the file has more than one document");
    assert_eq!(remedy, "remove the line `---` between them");
}

#[test]
fn nothing_is_shown_of_a_secret_that_was_named_by_mistake() {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHunter2Hunter2\n-----END PRIVATE KEY-----\n";
    let secrets = [
        KEY,
        "Hunter2\n",
        "root:$6$Hunter2:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
        "{\"token\": \"Hunter2\"}\n",
        "token: Hunter2\n",
        "[Hunter2, Hunter2]\n",
        "%Hunter2: [\n",
        "Hunter2: &\n",
    ];
    for secret in secrets {
        let folder = folder_of(&[
            ("fieldgate.yaml", "gateway: { id: g }\n"),
            ("secrets/it", secret),
        ]);
        for link in ["linked.yaml", "conf.d/10.yaml", "templates/own.yaml"] {
            let link = folder.path().join(link);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(folder.path().join("secrets/it"), &link).unwrap();
            let main = if link.ends_with("linked.yaml") {
                &link
            } else {
                &folder.path().join("fieldgate.yaml")
            };
            let faults = config::load(main).unwrap_err();
            let told = faults.to_string();
            assert!(!told.contains("Hunter2"), "{told}");
            assert!(faults.list.iter().any(|fault| fault.file == link), "{told}");
            std::fs::remove_file(link).unwrap();
        }
    }
}

#[test]
fn a_link_is_followed_and_one_to_nothing_or_to_no_file_is_refused() {
    let folder = folder_of(&[
        ("..data/fieldgate.yaml", "gateway: { id: \"${file:id}\" }\n"),
        ("secret", "box9\n"),
    ]);
    let of = |name: &str| folder.path().join(name);
    symlink("..data/fieldgate.yaml", of("fieldgate.yaml")).unwrap();
    symlink("secret", of("id")).unwrap();
    let loaded = config::load(&of("fieldgate.yaml")).unwrap();
    assert_eq!(loaded.config.gateway.id, "box9");
    for (name, target, message) in [
        ("nothing.yaml", "nowhere", "there is no such file"),
        ("folder.yaml", "..data", "it is not a file"),
        ("device.yaml", "/dev/zero", "it is not a file"),
    ] {
        symlink(target, of(name)).unwrap();
        let faults = config::load(&of(name)).unwrap_err();
        assert_eq!(only(&faults).3, message);
    }
}

#[test]
fn what_a_reference_stands_for_is_shown_as_the_reference() {
    let surroundings = Surroundings {
        variables: [
            ("NAME", "Hunter2"),
            ("SHORT", "h2"),
            ("CREDENTIALS_DIRECTORY", "/c"),
        ]
        .into(),
        texts: [
            ("secret", "Hunter2/#\n"),
            ("long", LONG),
            ("/c/it", "Hunter2"),
            ("folder/x", ""),
        ]
        .into(),
        missing: vec!["Hunter2"],
    };
    const LONG: &str =
        "Hunter2-Hunter2-Hunter2-Hunter2-Hunter2-Hunter2-Hunter2-Hunter2-Hunter2-Hunter2";
    let device = |name: &str, connection: &str| {
        format!(
            "- {{ name: \"{name}\", connection: \"{connection}\", unit_id: 1, topic: \"${{file:secret}}\", \
             template: eastron_sdm120 }}\n"
        )
    };
    let line = "connections: [{ name: a, modbus_tcp: { host: h } }]\ndevices:\n";
    let twice = format!(
        "{line}{}{}",
        device("${env:NAME}", "a"),
        device("${cred:it}", "${env:SHORT}")
    );
    let files = "broker: { users_file: \"${env:NAME}\", listeners: [{ bind: \"${file:secret}\" }] }\n\
                 gateway: { id: \"${file:secret}\" }\n\
                 bridges: [{ name: \"${file:long}\", url: \"${env:NAME}\", forward: [{ filter: \"${file:secret}x\" }] }]\n";
    let routes = "bridges: [{ name: \"${file:long}/\", url: \"${env:NAME}://x\", forward: [{ filter: \"${file:secret}\", \
                  topic: \"{9}\" }] }]\nstore: { durability: \"${env:SHORT}\" }\n";
    for text in [twice.as_str(), files, routes] {
        let faults = read_in(text, &surroundings).unwrap_err();
        let told = faults.to_string();
        assert!(!told.contains("Hunter2"), "{told}");
        assert!(!told.contains("`h2`"), "{told}");
    }
    let told = faults_in(&twice, &surroundings);
    let again = "there is a device `${cred:it}` already: fieldgate.yaml:3";
    let or = "there is a device `${env:NAME}` already: fieldgate.yaml:3";
    assert!(
        told.iter()
            .any(|told| told.contains(again) || told.contains(or)),
        "{told:?}"
    );
}

#[test]
fn an_empty_file_is_a_gateway_with_defaults() {
    for text in ["", "\n", "# nothing\n", "---\n", "\u{feff}"] {
        assert!(read(text).is_ok(), "{text:?}");
    }
    assert!(config::load(Path::new("/nowhere/fieldgate.yaml")).is_err());
}
