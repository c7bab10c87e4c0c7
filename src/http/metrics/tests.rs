//! The page as a whole: one state against a golden file, the format by a strict reader, and how many series there are.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::clock::WallTime;
use crate::status::{
    BridgeState, Busy, CertificateState, ConnectionState, DeviceState, Durations, Health,
    LineErrorCounts, LinkState, ListenerStatus, Problem,
};

const GOLDEN: &str = include_str!("golden.txt");

fn device(name: &str, state: Health) -> DeviceState {
    DeviceState {
        name: name.to_owned(),
        state,
        last_ok: Some(WallTime(1_763_870_000_123)),
        requests: 100,
        answered: 80,
        timeouts: 7,
        crc_errors: 5,
        late_replies: 3,
        invalid_replies: 2,
        exceptions: 4,
        exception_codes: [("exception_02", 3), ("exception_other", 1)]
            .map(|(word, count)| (word.to_owned(), count))
            .into(),
        reply_times: Some(Durations {
            count: 80,
            sum_s: 4.0625,
            within_s: vec![(0.025, 11), (0.05, 60), (2.5, 80)],
        }),
        overruns: 1,
        ..DeviceState::default()
    }
}

fn connections() -> Vec<ConnectionState> {
    vec![
        ConnectionState {
            name: "line \"2\"".to_owned(),
            kind: "modbus_rtu".to_owned(),
            connected: true,
            connects: 1,
            published: 77,
            busy: Some(Busy {
                ratio: 0.384,
                time_s: 1382.5,
            }),
            line_errors: Some(LineErrorCounts {
                frame: 21,
                overrun: 22,
                parity: 23,
                breaks: 24,
            }),
            devices: vec![
                device("m1", Health::Degraded),
                device("m2", Health::Offline),
            ],
            ..ConnectionState::default()
        },
        ConnectionState {
            name: "scales".to_owned(),
            kind: "serial".to_owned(),
            devices: vec![DeviceState {
                name: "scale1".to_owned(),
                ..DeviceState::default()
            }],
            ..ConnectionState::default()
        },
    ]
}

/// Each figure another, and names that need escaping.
fn state() -> GatewayState {
    let mut bridge = BridgeState {
        name: "cloud".to_owned(),
        ..BridgeState::default()
    };
    let status = &mut bridge.status;
    status.link = LinkState::Up;
    status.backlog_messages = 12;
    status.backlog_bytes = 3456;
    status.file_bytes = 65_536;
    status.file_bytes_max = 1 << 29;
    status.oldest = Some(WallTime(1_763_869_990_000));
    status.delivered = 5000;
    status.dropped = 9;
    status.purged = 4;
    status.dead_letters = 2;
    let mut state = GatewayState {
        gateway: "g1".to_owned(),
        version: "0.1.0".to_owned(),
        at: WallTime(1_763_870_001_000),
        uptime_s: 3600,
        clock_is_set: true,
        listeners: vec![ListenerStatus {
            name: "plant".to_owned(),
            address: "127.0.0.1:1883".to_owned(),
            error: None,
        }],
        connections: connections(),
        bridges: vec![bridge],
        certificates: vec![CertificateState {
            used_by: "bridge cloud".to_owned(),
            expires: WallTime(1_795_000_000_000),
            ..CertificateState::default()
        }],
        ..GatewayState::default()
    };
    state.config.loaded = WallTime(1_763_866_400_000);
    state.broker.clients = 6;
    state.broker.received = [700, 200, 100];
    state.broker.sent = [1500, 400, 100];
    state.broker.dropped = 1;
    state.store.free_bytes = Some(1 << 30);
    state.store.bytes_written = 123_456;
    state.store.commit_times = Durations {
        count: 31,
        sum_s: 2.5,
        within_s: vec![(0.005, 29), (1.0, 30)],
    };
    let problem = |severity| Problem {
        severity,
        part: String::new(),
        what: String::new(),
        remedy: String::new(),
    };
    state.problems = [Severity::Error, Severity::Warning, Severity::Warning]
        .map(problem)
        .into();
    state
}

#[test]
fn one_state_makes_this_page() {
    let page = exposition(&state());
    assert!(page == GOLDEN, "the page is now:\n{page}");
}

#[test]
fn the_documentation_names_every_figure_and_no_other() {
    let page = include_str!("../../../config/docs/monitoring.md");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = page.split(|letter| !is_part(letter));
    let mut told: BTreeSet<_> = words
        .filter(|word| word.starts_with("fieldgate_"))
        .collect();
    let families = GOLDEN
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let mut shown = BTreeSet::new();
    for (name, kind) in families.filter_map(|line| line.split_once(' ')) {
        shown.insert(name);
        // A rule may ask for its buckets.
        let buckets = format!("{name}_bucket");
        if kind == "histogram" && told.remove(&*buckets) {
            assert!(told.contains(name), "{name} is not explained");
        }
    }
    assert_eq!(told, shown);
}

#[test]
fn the_page_keeps_to_the_format() {
    for state in [state(), GatewayState::default()] {
        read(&exposition(&state)).unwrap();
    }
}

/// The reader itself must refuse what Prometheus does.
#[test]
fn the_reader_of_these_tests_is_strict() {
    let sound = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"\\\"\\n\\\\\"} 1\n";
    read(sound).unwrap();
    for (from, to) in [
        ("# HELP a_total A.\n", ""),
        ("# TYPE a_total counter\n", ""),
        ("counter", "counters"),
        ("a_total{x=\"\\\"\\n\\\\\"}", "a_total{x=\"\"\"}"),
        ("a_total{x=\"\\\"\\n\\\\\"}", "a_total{x=\"\\t\"}"),
        ("a_total{x=\"\\\"\\n\\\\\"}", "a_total{1x=\"\"}"),
        ("a_total{x=\"\\\"\\n\\\\\"}", "a_total{x=\"a\",x=\"b\"}"),
        ("a_total{x=\"\\\"\\n\\\\\"}", "b_total"),
        (" 1\n", " one\n"),
        (" 1\n", " 1"),
        (" 1\n", " -1\n"),
        ("_total", ""),
    ] {
        let broken = sound.replace(from, to);
        assert_ne!(broken, sound);
        assert!(read(&broken).is_err(), "{broken}");
    }
    assert!(read(&format!("{sound}{sound}")).is_err(), "twice the same");
    let sound = "# HELP a_seconds A.\n# TYPE a_seconds histogram\n\
                 a_seconds_bucket{x=\"1\",le=\"0.1\"} 2\na_seconds_bucket{x=\"1\",le=\"2\"} 3\n\
                 a_seconds_bucket{x=\"1\",le=\"+Inf\"} 5\na_seconds_sum{x=\"1\"} 6\na_seconds_count{x=\"1\"} 5\n";
    read(sound).unwrap();
    for (from, to) in [
        ("a_seconds", "a_total"),
        ("2\"} 3", "2\"} 1"),
        ("2\"} 3", "2\"} 6"),
        ("le=\"2\"", "le=\"0.01\""),
        ("le=\"2\"", "le=\"two\""),
        ("a_seconds_bucket{x=\"1\",le=\"+Inf\"} 5\n", ""),
        ("a_seconds_count{x=\"1\"} 5", "a_seconds_count{x=\"1\"} 4"),
        ("a_seconds_count{x=\"1\"} 5\n", ""),
        ("a_seconds_sum{x=\"1\"} 6\n", ""),
        ("a_seconds_sum", "a_seconds"),
    ] {
        let broken = sound.replace(from, to);
        assert_ne!(broken, sound);
        assert!(read(&broken).is_err(), "{broken}");
    }
}

#[test]
fn two_hundred_devices_make_series_for_what_is_configured_and_for_nothing_else() {
    let with = |devices: usize| {
        let mut state = state();
        let all = (0..devices).map(|number| device(&format!("m{number}"), Health::Online));
        state.connections[0].devices = all.collect();
        read(&exposition(&state)).unwrap()
    };
    let (few, many) = (with(1), with(200));
    assert_eq!((many.len() - few.len()) % 199, 0);
    let per_device = (many.len() - few.len()) / 199;
    // And two of exceptions that came.
    assert_eq!(per_device, 10 + 2 + 6, "three bounds instead of eleven");
    let labels: BTreeSet<_> = many.keys().flat_map(|(_, labels)| labels.keys()).collect();
    let known = [
        "bridge",
        "connection",
        "device",
        "dir",
        "kind",
        "le",
        "listener",
        "name",
        "qos",
        "reason",
        "result",
        "severity",
        "version",
    ];
    assert!(
        labels.iter().all(|label| known.contains(&label.as_str())),
        "{labels:?}"
    );
}

#[test]
fn requests_are_counted_once_each() {
    let series = read(&exposition(&state())).unwrap();
    let of_one = series.iter().filter(|((name, labels), _)| {
        name == "fieldgate_modbus_requests_total" && labels["device"] == "m1"
    });
    assert_eq!(of_one.map(|(_, value)| value).sum::<f64>(), 100.0);
}

type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// Reads a page as Prometheus does, and refuses what is against the format or against our own rules for names.
fn read(page: &str) -> Result<Series, String> {
    let mut series = Series::new();
    let mut families = BTreeMap::new();
    let (mut helped, mut family) = (None, None);
    for line in page.split_inclusive('\n') {
        let fault = |what: &str| Err(format!("{what}: {line:?}"));
        let Some(line) = line.strip_suffix('\n') else {
            return fault("no end of line");
        };
        if let Some(help) = line.strip_prefix("# HELP ") {
            let Some((name, words)) = help.split_once(' ') else {
                return fault("no words");
            };
            if families.contains_key(name) || !words.ends_with('.') {
                return fault("a family twice, or its help is no sentence");
            }
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = kind.split_once(' ') else {
                return fault("no type");
            };
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return fault("an unknown type");
            }
            let is_total = name.ends_with("_total");
            if helped.take().as_deref() != Some(name) || is_total != (kind == "counter") {
                return fault("not under its help, or the name does not fit the type");
            }
            families.insert(name.to_owned(), kind.to_owned());
            family = Some((name, kind));
        } else {
            let (name, labels, value) = sample(line)?;
            let Some((_, kind)) = family.filter(|(family, kind)| match *kind {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(*family)),
                _ => name == *family,
            }) else {
                return fault("not in its family");
            };
            let Ok(number) = value.parse::<f64>() else {
                return fault("no number");
            };
            if !number.is_finite() || (kind != "gauge" && number < 0.0) {
                return fault("no count");
            }
            if series.insert((name, labels), number).is_some() {
                return fault("a series twice");
            }
        }
    }
    for (name, _) in families.iter().filter(|(_, kind)| *kind == "histogram") {
        histogram(&series, name)?;
    }
    Ok(series)
}

/// Of each set of labels there are buckets that grow with their bounds, the last of which has all, and a sum.
fn histogram(series: &Series, family: &str) -> Result<(), String> {
    let named = |suffix: &str| {
        let name = format!("{family}{suffix}");
        series.iter().filter(move |((found, _), _)| *found == name)
    };
    let mut buckets: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
    for ((_, labels), count) in named("_bucket") {
        let mut labels = labels.clone();
        let bound = labels.remove("le").ok_or("a bucket without a bound")?;
        let bound = bound.parse().map_err(|_| format!("no bound: {bound}"))?;
        buckets.entry(labels).or_default().push((bound, *count));
    }
    for (labels, mut buckets) in buckets {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let key = |suffix: &str| (format!("{family}{suffix}"), labels.clone());
        let all = series.get(&key("_count"));
        let last = buckets.last().filter(|(bound, _)| bound.is_infinite());
        if last.map(|(_, count)| count) != all || all.is_none() {
            return Err(format!(
                "{family}: the last bucket has not all: {buckets:?}"
            ));
        }
        if !buckets.is_sorted_by_key(|(_, count)| *count) {
            return Err(format!("{family}: does not grow: {buckets:?}"));
        }
        if !series.contains_key(&key("_sum")) {
            return Err(format!("{family}: no sum"));
        }
    }
    Ok(())
}

type Sample<'a> = (String, BTreeMap<String, String>, &'a str);

fn sample(line: &str) -> Result<Sample<'_>, String> {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|letter| letter.is_ascii_lowercase())
            && letters.all(|letter| {
                letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit()
            })
    };
    let fault = || format!("no sample: {line:?}");
    let mut labels = BTreeMap::new();
    let end = line.find(['{', ' ']).ok_or_else(fault)?;
    let (name, mut rest) = line.split_at(end);
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, quoted) = rest.split_once("=\"").ok_or_else(fault)?;
            let (text, after) = unquoted(quoted).ok_or_else(fault)?;
            if !is_name(label) || labels.insert(label.to_owned(), text).is_some() {
                return Err(fault());
            }
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').ok_or_else(fault)?;
        }
    }
    let value = rest.strip_prefix(' ').ok_or_else(fault)?;
    if !is_name(name) {
        return Err(fault());
    }
    Ok((name.to_owned(), labels, value))
}

/// The text up to the quote that ends it, and what comes after.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    loop {
        match letters.next()? {
            (at, '"') => return Some((text, &quoted[at + 1..])),
            (_, '\\') => text.push(match letters.next()?.1 {
                'n' => '\n',
                same @ ('\\' | '"') => same,
                _ => return None,
            }),
            (_, letter) => text.push(letter),
        }
    }
}
