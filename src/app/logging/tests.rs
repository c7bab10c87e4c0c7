//! Events through the layer, as they come out.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::auth::{Authenticator, Credentials, Login};

/// What was logged.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// A log that is this thread's until the guard is dropped.
    fn log(&self, format: Format) -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::new(format, false, Box::new(self.clone()));
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }
}

const HOSTILE: &str = "x\r\n2026-11-29T00:00:00.000Z ERROR all is lost\x1b[2J\u{202e}";

fn say() {
    tracing::warn!(
        client_id = HOSTILE, topic = %HOSTILE, reason = ?HOSTILE, count = 3_u8, low = -1, share = 0.5, on = true,
        "closed: {HOSTILE}"
    );
}

#[test]
fn text_is_one_line_whatever_a_stranger_sends() {
    let written = Written::default();
    let (_log, _guard) = written.log(Format::Text);
    say();
    let text = written.text();
    let (time, rest) = text.split_once(' ').unwrap();
    assert_eq!((time.len(), time.ends_with('Z')), (24, true), "{text}");
    let x = r"x\r\n2026-11-29T00:00:00.000Z ERROR all is lost\u{1b}[2J\u{202e}";
    assert_eq!(
        rest,
        format!(
            " WARN closed: {x} client_id=\"{x}\" topic={x} reason=\"{x}\" count=3 low=-1 share=0.5 on=true\n"
        )
    );
}

#[test]
fn journald_is_told_the_priority_and_not_what_it_knows() {
    let written = Written::default();
    let (_log, _guard) = written.log(Format::Journal);
    say();
    tracing::error!(
        faults = "file:3:5: error\n  | what\x07",
        "reload: nothing was changed"
    );
    tracing::info!("running");
    tracing::debug!("detail");
    let text = written.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(r"<4>closed: x\r\n2026-"), "{text}");
    assert_eq!(
        lines[1..],
        [
            "<3>reload: nothing was changed",
            "<3>    file:3:5: error",
            r"<3>      | what\u{7}",
            "<6>running",
            "<7>detail"
        ]
    );
}

#[test]
fn json_is_an_object_a_line_that_holds_what_was_said() {
    let written = Written::default();
    let (_log, _guard) = written.log(Format::Json);
    say();
    tracing::info!(target: "rustls::conn", "hello");
    let text = written.text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(!text.chars().any(|c| c != '\n' && escape::is_hostile(c)));
    let line = &lines[0];
    assert_eq!(line["level"], "warn");
    assert_eq!(line["room"], "app");
    assert_eq!(line["message"], format!("closed: {HOSTILE}"));
    assert_eq!(
        line["fields"],
        serde_json::json!({
            "client_id": HOSTILE, "topic": HOSTILE, "reason": format!("{HOSTILE:?}"),
            "count": 3, "low": -1, "share": 0.5, "on": true
        })
    );
    assert_eq!(lines[1]["room"], "rustls");
}

#[test]
fn a_text_of_any_length_makes_a_line_of_bounded_length() {
    let written = Written::default();
    let (_log, _guard) = written.log(Format::Text);
    let long = "ä".repeat(40_000);
    tracing::warn!(topic = long, other = %long, "closed: {long}");
    let text = written.text();
    assert!(text.len() < 8 << 10, "{}", text.len());
    assert!(text.contains("... (79488 bytes more)"), "{text}");
}

#[tokio::test]
async fn a_flood_of_bad_logins_does_not_flood_the_log() {
    let written = Written::default();
    let (log, _guard) = written.log(Format::Text);
    let authenticator = Authenticator::new(Credentials::default());
    for number in 0..1000 {
        let login = Login {
            client_id: format!("stranger-{number}").into(),
            listener: "plant".into(),
            peer: None,
            certified: None,
            anonymous: false,
            user_name: None,
            password: None,
        };
        assert!(authenticator.check(login).await.is_err());
    }
    let told = |what: &str| written.text().matches(what).count() as u64;
    assert_eq!(told("login refused: no user name"), budget::LINES);
    log.sweep(crate::clock::now() + Duration::from_secs(61));
    assert_eq!(
        told("more lines like this one had no room in the log: login refused: no user name"),
        1
    );
    assert_eq!(told("unsaid=980"), 1, "{}", written.text());
}

#[test]
fn devices_that_go_offline_at_once_are_all_told() {
    let written = Written::default();
    let (_log, _guard) = written.log(Format::Text);
    for number in 0..40 {
        let device = format!("meter-{number}");
        tracing::warn!(device = %device, "device is offline");
    }
    assert_eq!(written.text().lines().count(), 40);
}

#[test]
fn only_a_stream_of_the_journal_is_one() {
    use std::os::unix::fs::MetadataExt as _;
    let (file, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let metadata = file.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    assert!(names(&stream, &file));
    assert!(!names(&stream, &other));
    for wrong in ["", "1", "a:b", ":"] {
        assert!(!names(wrong, &file), "{wrong}");
    }
}

#[test]
fn the_forms_have_names() {
    for (name, format) in [
        ("text", Ok(Format::Text)),
        ("journal", Ok(Format::Journal)),
        ("json", Ok(Format::Json)),
        ("JSON", Err(UnknownFormat)),
        ("", Err(UnknownFormat)),
    ] {
        assert_eq!(name.parse(), format);
    }
}

#[test]
fn events_are_told_what_the_log_says_and_the_same_again_is_one() {
    let events = Events::new(crate::clock::now(), crate::clock::reading());
    let subscriber = tracing_subscriber::registry().with(tap::Tap(events.clone()));
    let _guard = tracing::subscriber::set_default(subscriber);
    let link = |bridge: &str, why: &str, lasted: u64| {
        let lasted = Duration::from_millis(lasted);
        tracing::warn!(bridge, ?lasted, "link lost: {why}");
    };
    (0..412).for_each(|time| link("cloud", "the upstream closed", time * 37));
    link("cloud", "no answer", 5);
    link("other", "no answer", 5);
    for number in [1_u64, 22] {
        tracing::error!(
            faults = "file:3:5: error\n  | what",
            number,
            "reload: nothing\x1b[0m was changed"
        );
    }
    let told: Vec<_> = events
        .recent(9, 0)
        .into_iter()
        .map(|entry| (entry.count, entry.subject, entry.text))
        .collect();
    let cloud = Some("bridge cloud".to_owned());
    assert_eq!(
        told,
        [
            (
                412,
                cloud.clone(),
                "link lost: the upstream closed bridge=\"cloud\" lasted=15.207s".to_owned()
            ),
            (
                1,
                cloud,
                "link lost: no answer bridge=\"cloud\" lasted=5ms".to_owned()
            ),
            (
                1,
                Some("bridge other".to_owned()),
                "link lost: no answer bridge=\"other\" lasted=5ms".to_owned()
            ),
            (
                2,
                None,
                "reload: nothing\\u{1b}[0m was changed number=22: file:3:5: error".to_owned()
            ),
        ]
    );
    let last = &events.recent(1, 0)[0];
    assert_eq!(
        (&*last.kind, last.severity),
        ("app/logging/tests", crate::events::Severity::Error)
    );
}

#[test]
fn what_is_not_understood_of_what_to_show_is_told_and_the_default_holds() {
    use tracing::Level;
    let filter = |wanted| shown(wanted, LevelFilter::INFO);
    let (parts, fault) = filter(Some("warn,fieldgate::bridge=debug"));
    assert!(fault.is_none());
    assert!(parts.would_enable("fieldgate::bridge::link", &Level::DEBUG));
    assert!(!parts.would_enable("fieldgate::broker", &Level::INFO));
    for (wanted, is_fault) in [(None, false), (Some(" "), false), (Some("a=loud"), true)] {
        let (default, fault) = filter(wanted);
        assert_eq!(fault.is_some(), is_fault, "{wanted:?}");
        assert!(default.would_enable("fieldgate", &Level::INFO));
        assert!(!default.would_enable("fieldgate", &Level::DEBUG));
    }
}
