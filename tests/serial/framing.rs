//! Frames out of bytes: the five kinds, what is lost after garbage, and that neither pieces nor garbage can do more.

use std::time::{Duration, Instant};

use fieldgate::adapter::serial::{Endian, Framer, FramerStats, Framing, FramingOptions};
use fieldgate::clock;
use proptest::prelude::*;

const MAX: usize = 16;
const GAP: Duration = Duration::from_millis(50);

fn options(kind: Framing) -> FramingOptions {
    FramingOptions {
        kind,
        max_length: MAX,
        frame_timeout: Duration::from_secs(1),
    }
}

fn marks(start: &str, end: &str, trailer: usize) -> Framing {
    Framing::Marks {
        start: start.into(),
        end: end.into(),
        trailer,
    }
}

fn length_field(sync: &[u8]) -> Framing {
    Framing::LengthField {
        offset: 1,
        size: 1,
        endian: Endian::Big,
        adjust: 3,
        sync: sync.to_vec(),
    }
}

/// A line with an ear at its end. Hears a silence first, so that the first byte is a beginning.
struct Line {
    framer: Framer,
    now: Instant,
    payloads: Vec<String>,
}

impl Line {
    fn new(kind: Framing) -> Self {
        let now = clock::now();
        let framer = Framer::new(options(kind), now);
        let mut line = Self {
            framer,
            now,
            payloads: Vec::new(),
        };
        line.silence();
        line
    }

    fn silence(&mut self) {
        self.now += Duration::from_secs(2);
        let payloads = &mut self.payloads;
        self.framer.timeout(self.now, |frame| {
            payloads.push(String::from_utf8_lossy(frame.payload).into_owned());
            true
        });
    }

    fn hear(&mut self, bytes: &[u8]) {
        let payloads = &mut self.payloads;
        self.framer.receive(bytes, self.now, |frame| {
            payloads.push(String::from_utf8_lossy(frame.payload).into_owned());
            true
        });
    }

    fn told(&mut self, bytes: &str) -> Vec<String> {
        self.hear(bytes.as_bytes());
        std::mem::take(&mut self.payloads)
    }
}

#[test]
fn lines_end_at_their_delimiter() {
    let mut line = Line::new(Framing::Delimiter(b"\r\n".to_vec()));
    assert_eq!(line.told("one\r\ntw"), ["one"]);
    assert_eq!(line.told("o\r"), [""; 0]);
    assert_eq!(
        line.told("\n\r\n\r\nthree\rfour\r\n"),
        ["two", "three\rfour"]
    );
    assert_eq!(line.framer.stats().garbage, 0);
}

#[test]
fn a_line_whose_beginning_was_not_seen_is_none() {
    let now = clock::now();
    let mut framer = Framer::new(options(Framing::Delimiter(b"\n".to_vec())), now);
    let mut lines = Vec::new();
    framer.receive(b"2.34kg\n12.34kg\n", now, |frame| {
        lines.push(frame.payload.to_vec());
        true
    });
    assert_eq!(lines, [b"12.34kg"]);
    assert_eq!(framer.stats().garbage, 6);
    let mut asked = Framer::new(options(Framing::Delimiter(b"\n".to_vec())), now);
    asked.restart();
    let mut count = 0;
    asked.receive(b"2.34kg\n", now, |_| {
        count += 1;
        true
    });
    assert_eq!(count, 1, "who has asked knows where the answer begins");
}

#[test]
fn a_line_that_is_too_long_takes_no_other_with_it() {
    let mut line = Line::new(Framing::Delimiter(b"\r\n".to_vec()));
    assert_eq!(line.told("0123456789abcdef\r\n"), ["0123456789abcdef"]);
    assert_eq!(line.told("0123456789abcdefg\r\nnext\r\n"), ["next"]);
    assert_eq!(line.told(&"x".repeat(1000)), [""; 0]);
    assert_eq!(line.told("\r\nnext\r\n"), ["next"]);
    let stats = line.framer.stats();
    assert_eq!((stats.frames, stats.overflows, stats.garbage), (3, 2, 1017));
}

#[test]
fn marks_hold_the_data_between_them() {
    let mut line = Line::new(marks("\u{2}", "\u{3}", 1));
    assert_eq!(line.told("\u{2}12.3\u{3}"), [""; 0]);
    assert_eq!(line.told("\u{3}\u{2}4\u{3}\u{2}"), ["12.3", "4"]);
    assert_eq!(line.framer.stats().garbage, 0);
    assert_eq!(line.told("noise\u{2}5\u{3}c"), ["5"]);
    assert_eq!(line.told("\u{2}cut of\u{2}6\u{3}c"), ["6"]);
    assert_eq!(line.framer.stats().garbage, 5 + 7);
    assert_eq!(line.told("\u{2}0123456789abcdef\u{2}7\u{3}c"), ["7"]);
    assert_eq!(line.framer.stats().overflows, 1);
}

#[test]
fn marks_may_be_several_bytes_and_parts_of_each_other() {
    let mut line = Line::new(marks("$", "\r\n", 0));
    assert_eq!(line.told("$GP\rGA\r\n$GP"), ["GP\rGA"]);
    assert_eq!(line.told("$A\r\n"), ["A"]);
    let mut line = Line::new(marks("ab", "abc", 0));
    assert_eq!(line.told("ab1abc"), ["1"]);
    assert_eq!(line.told("aab2ab3abc"), ["3"]);
    let mut line = Line::new(marks("abc", "c", 0));
    assert_eq!(line.told("abcabc1c"), ["1"]);
}

#[test]
fn fixed_lengths_slide_to_the_next_sync() {
    let kind = |sync: &str| Framing::Length {
        length: 4,
        sync: sync.into(),
    };
    let mut line = Line::new(kind("#"));
    assert_eq!(line.told("xx#abc#de"), ["#abc"]);
    assert_eq!(line.told("f"), ["#def"]);
    assert_eq!(line.framer.stats().garbage, 2);
    let mut bare = Line::new(kind(""));
    assert_eq!(bare.told("abcdefg"), ["abcd"]);
    bare.silence();
    assert_eq!(bare.told("hijk"), ["hijk"], "silence brings the beginning");
}

#[test]
fn a_number_may_tell_the_length() {
    let mut line = Line::new(length_field(b"#"));
    assert_eq!(line.told("#\u{2}abc#\u{0}d"), ["#\u{2}abc", "#\u{0}d"]);
    assert_eq!(
        line.told("#\u{7f}#\u{1}ab"),
        ["#\u{1}ab"],
        "longer than allowed"
    );
    assert_eq!(line.framer.stats().overflows, 1);
    // A false beginning holds a good frame back until silence says that it was one.
    assert_eq!(line.told("#\u{9}#\u{0}d"), [""; 0]);
    line.silence();
    assert_eq!(line.payloads, ["#\u{0}d"]);
}

#[test]
fn silence_may_be_the_border() {
    let now = clock::now();
    let mut framer = Framer::new(options(Framing::IdleGap(GAP)), now);
    let mut frames = Vec::new();
    let mut hear = |framer: &mut Framer, bytes: &str, millis: u64| {
        let at = now + Duration::from_millis(millis);
        framer.receive(bytes.as_bytes(), at, |frame| {
            frames.push(String::from_utf8_lossy(frame.bytes).into_owned());
            true
        });
        frames.clone()
    };
    assert!(hear(&mut framer, "rest of one", 10).is_empty());
    assert!(hear(&mut framer, "fir", 60).is_empty());
    assert!(hear(&mut framer, "st", 109).is_empty());
    assert_eq!(hear(&mut framer, "second", 159), ["first"]);
    assert_eq!(framer.timeout_at(), Some(now + Duration::from_millis(209)));
    framer.timeout(now + Duration::from_millis(209), |frame| {
        assert_eq!(frame.bytes, b"second");
        true
    });
    assert_eq!(framer.timeout_at(), None);
    framer.receive(&[b'x'; MAX + 1], now + GAP * 10, |_| panic!("too long"));
    framer.timeout(now + GAP * 11, |_| panic!("too long"));
    assert_eq!(framer.stats().overflows, 1);
    assert_eq!(framer.stats().garbage, 11 + MAX as u64 + 1);
}

fn kinds() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::Delimiter(b"\n".to_vec())),
        Just(Framing::Delimiter(b"\r\n".to_vec())),
        Just(Framing::Delimiter(b"aab".to_vec())),
        Just(marks("\r", "\n", 1)),
        Just(marks("ab", "\r\n", 0)),
        Just(marks("ab", "abc", 2)),
        Just(Framing::Length {
            length: 5,
            sync: b"a".to_vec()
        }),
        Just(Framing::Length {
            length: 5,
            sync: Vec::new()
        }),
        Just(length_field(b"a")),
        Just(length_field(b"")),
        Just(Framing::IdleGap(GAP)),
    ]
}

/// Bytes that mean something to one kind or another.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(b"\r\n\x02\x03abcab\x00\xff".to_vec());
    prop::collection::vec(byte, 0..200)
}

/// Frames and counts of `pieces`, each as long after the one before as it says. A frame with a `c` is unsound.
fn cut(kind: &Framing, pieces: &[(Duration, &[u8])]) -> (Vec<Vec<u8>>, FramerStats, usize) {
    let mut now = clock::now();
    let mut framer = Framer::new(options(kind.clone()), now);
    let (mut frames, mut most) = (Vec::new(), 0);
    for (pause, bytes) in pieces {
        now += *pause;
        framer.receive(bytes, now, |frame| {
            let sound = !frame.bytes.contains(&b'c');
            if sound {
                frames.push(frame.bytes.to_vec());
            }
            sound
        });
        most = most.max(framer.held());
    }
    (frames, framer.stats(), most)
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        kind in kinds(),
        bursts in prop::collection::vec((0_u64..2000, stream()), 1..4),
        seed in any::<u64>(),
    ) {
        let pause = |millis: &u64| Duration::from_millis(*millis);
        let whole: Vec<_> = bursts.iter().map(|(millis, bytes)| (pause(millis), &bytes[..])).collect();
        let mut single = Vec::new();
        let mut pieces = Vec::new();
        let mut state = seed | 1;
        for (millis, bytes) in &bursts {
            single.extend(bytes.chunks(1).enumerate().map(|(index, byte)| {
                (if index == 0 { pause(millis) } else { Duration::ZERO }, byte)
            }));
            let (mut rest, mut wait) = (&bytes[..], pause(millis));
            while !rest.is_empty() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (piece, after) = rest.split_at(((state >> 33) as usize % 9 + 1).min(rest.len()));
                pieces.push((wait, piece));
                (rest, wait) = (after, Duration::ZERO);
            }
            if bytes.is_empty() {
                single.push((pause(millis), &[][..]));
                pieces.push((pause(millis), &[][..]));
            }
        }
        let (frames, stats, _) = cut(&kind, &whole);
        let (frames_of_bytes, stats_of_bytes, most) = cut(&kind, &single);
        let (frames_of_pieces, stats_of_pieces, _) = cut(&kind, &pieces);
        prop_assert_eq!(&frames, &frames_of_bytes);
        prop_assert_eq!(stats, stats_of_bytes);
        prop_assert_eq!(frames, frames_of_pieces);
        prop_assert_eq!(stats, stats_of_pieces);
        prop_assert!(most <= MAX + 3, "{} bytes held", most);
    }

    #[test]
    fn every_byte_is_in_a_frame_or_counted(kind in kinds(), bytes in stream()) {
        let (frames, stats, _) = cut(&kind, &[(Duration::from_secs(2), &bytes)]);
        let framed: usize = frames.iter().map(Vec::len).sum();
        let mut framer = Framer::new(options(kind.clone()), clock::now());
        framer.receive(&bytes, clock::now() + Duration::from_secs(2), |frame| !frame.bytes.contains(&b'c'));
        let known = framed as u64 + stats.garbage + framer.held() as u64;
        match kind {
            Framing::Delimiter(_) => prop_assert!(known <= bytes.len() as u64),
            _ => prop_assert_eq!(known, bytes.len() as u64),
        }
        prop_assert!(frames.iter().all(|frame| frame.len() <= MAX));
    }

    /// With a checksum (here an ideal one) garbage costs nothing where marks begin frames, and elsewhere at most the frame
    /// that it runs into.
    #[test]
    fn garbage_costs_at_most_its_neighbours(
        kind in prop::sample::select(vec![0, 1, 2, 3, 4]),
        parts in prop::collection::vec((prop::collection::vec(b'd'..=b'z', 3), stream()), 1..8),
    ) {
        let framing = match kind {
            0 => Framing::Delimiter(b"\r\n".to_vec()),
            1 => marks("\u{2}", "\u{3}", 1),
            2 => Framing::Length { length: 6, sync: vec![2] },
            3 => length_field(&[2]),
            _ => length_field(&[]),
        };
        let frames: Vec<Vec<u8>> = parts.iter().enumerate().map(|(number, (data, _))| {
            let number = b'0' + u8::try_from(number).unwrap();
            match kind {
                0 => [&[number], &data[..], b"=="].concat(),
                1 => [&[2], &[number], &data[..], &[3, b'=']].concat(),
                2 => [&[2], &[number], &data[..], b"="].concat(),
                _ => [&[2], &[2], &[number][..], &data[..2]].concat(),
            }
        }).collect();
        let mut bytes = Vec::new();
        for (frame, (_, garbage)) in frames.iter().zip(&parts) {
            bytes.extend(garbage);
            bytes.extend(frame);
            if kind == 0 {
                bytes.extend(b"\r\n");
            }
        }
        let mut now = clock::now();
        let mut framer = Framer::new(options(framing), now);
        now += Duration::from_secs(2);
        let mut seen = Vec::new();
        let mut take = |frame: fieldgate::adapter::serial::Frame<'_>| {
            let sound = frames.iter().any(|known| known == frame.bytes);
            if sound {
                seen.push(frame.bytes.to_vec());
            }
            sound
        };
        framer.receive(&bytes, now, &mut take);
        framer.timeout(now + Duration::from_secs(2), &mut take);
        if kind == 0 {
            // Each follows garbage; those with a whole delimiter before them, or none before them, are there.
            for (frame, (_, garbage)) in frames.iter().zip(&parts) {
                if garbage.is_empty() || garbage.ends_with(b"\r\n") {
                    prop_assert!(seen.contains(frame));
                }
            }
        } else {
            prop_assert_eq!(seen, frames);
        }
    }
}
