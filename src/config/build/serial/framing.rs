//! `framing:` and `checksum:` of an instrument.

use std::time::Duration;

use super::super::{below, time};
use super::bytes;
use crate::adapter::serial::{Checksum, Encoding, Framing, FramingOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::raw;
use crate::config::section::Section;

const MAX_LENGTH: u16 = 1024;
const MAX_LENGTH_MOST: u16 = 4096;
const FRAME_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a mark.
const MARK_BYTES_MAX: usize = 16;

/// The keys that say what framing it is, each with the keys that mean something beside it.
const KINDS: &[(&str, &[&str])] = &[
    ("delimiter", &["max_length", "frame_timeout"]),
    ("start", &["end", "trailer", "max_length", "frame_timeout"]),
    ("length", &["sync", "frame_timeout"]),
    ("length_field", &["sync", "max_length", "frame_timeout"]),
    ("idle_gap", &["max_length"]),
];

pub(super) fn framing(
    context: &mut Context<'_>,
    parent: &Section<raw::Serial>,
) -> Option<FramingOptions> {
    let value = parent.raw.framing.as_ref();
    let value = parent.required(context, "framing", value, "{ delimiter: \"\\r\\n\" }")?;
    let section = below::<raw::Framing>(context, parent, "framing", Some(value));
    let kind = kind(context, &section)?;
    let raw = &section.raw;
    let range = 1..=MAX_LENGTH_MOST;
    let show = |length: u16| length.to_string();
    let max_length = section.within(context, "max_length", raw.max_length, range, show);
    let range = Duration::from_millis(10)..=Duration::from_secs(60);
    let timeout = time(
        context,
        &section,
        "frame_timeout",
        raw.frame_timeout,
        range.clone(),
    );
    let mut mark = |key: &str, value: Option<&serde_yaml::Value>| {
        bytes(context, value?, &section.at(key), MARK_BYTES_MAX)
    };
    let sync = mark("sync", raw.sync.as_ref()).unwrap_or_default();
    let mut max_length = usize::from(max_length.unwrap_or(MAX_LENGTH));
    let kind = match kind {
        "delimiter" => Framing::Delimiter(mark("delimiter", raw.delimiter.as_ref())?),
        "start" => {
            let start = mark("start", raw.start.as_ref());
            marks(context, &section, start)?
        }
        "length" => {
            let range = 1..=MAX_LENGTH_MOST;
            let length = section.within(context, "length", raw.length, range, show)?;
            max_length = usize::from(length);
            Framing::Length {
                length: max_length,
                sync,
            }
        }
        "length_field" => length_field(context, &section, sync)?,
        _ => Framing::IdleGap(time(context, &section, "idle_gap", raw.idle_gap, range)?),
    };
    Some(FramingOptions {
        kind,
        max_length,
        frame_timeout: timeout.unwrap_or(FRAME_TIMEOUT),
    })
}

/// The one key that says what framing it is.
fn kind(context: &mut Context<'_>, section: &Section<raw::Framing>) -> Option<&'static str> {
    let mut given = KINDS.iter().filter(|(kind, _)| section.has(kind));
    let Some((kind, beside)) = given.next() else {
        let message = "where frames begin and end is missing";
        let remedy = "add `delimiter: \"\\r\\n\"`, or `start` and `end`, `length`, `length_field` or `idle_gap`";
        context.error_at_key(Code::MissingKey, &section.place, message, remedy);
        return None;
    };
    let strange = KINDS
        .iter()
        .flat_map(|(kind, beside)| std::iter::once(kind).chain(beside.iter()))
        .find(|key| *key != kind && !beside.contains(key) && section.has(key));
    if let Some(key) = strange {
        let message = format!("`{key}` means nothing beside `{kind}`");
        let remedy = format!(
            "remove one of the two; beside `{kind}`: {}",
            beside.join(", ")
        );
        context.error_at_key(Code::Contradiction, &section.at(key), message, remedy);
        return None;
    }
    Some(kind)
}

fn marks(
    context: &mut Context<'_>,
    section: &Section<raw::Framing>,
    start: Option<Vec<u8>>,
) -> Option<Framing> {
    let end = section.required(context, "end", section.raw.end.as_ref(), "0x03");
    let end = bytes(context, end?, &section.at("end"), MARK_BYTES_MAX);
    let trailer = section.within(context, "trailer", section.raw.trailer, 0..=16, |trailer| {
        trailer.to_string()
    });
    let (start, end) = (start?, end?);
    if start == end {
        let message =
            "`start` and `end` are the same: one that is lost would turn data and gaps around";
        let place = section.at("end");
        let remedy = "write it as `delimiter`";
        context.error(Code::BadFrame, &place, message, remedy);
        return None;
    }
    Some(Framing::Marks {
        start,
        end,
        trailer: usize::from(trailer.unwrap_or(0)),
    })
}

fn length_field(
    context: &mut Context<'_>,
    section: &Section<raw::Framing>,
    sync: Vec<u8>,
) -> Option<Framing> {
    let field = below::<raw::LengthField>(
        context,
        section,
        "length_field",
        section.raw.length_field.as_ref(),
    );
    let offset = field.required(context, "offset", field.raw.offset, "1");
    let show = |number: u16| number.to_string();
    let offset = field.within(context, "offset", offset, 0..=255, show);
    let size = field.within(context, "size", field.raw.size, 1..=4, |size| {
        size.to_string()
    });
    Some(Framing::LengthField {
        offset: usize::from(offset?),
        size: usize::from(size.unwrap_or(1)),
        endian: field.raw.endian.map(|word| word.0).unwrap_or_default(),
        adjust: i64::from(field.raw.adjust.unwrap_or(0)),
        sync,
    })
}

/// `None`: at fault. `Some(None)`: there is none.
pub(super) fn checksum(
    context: &mut Context<'_>,
    parent: &Section<raw::Serial>,
    framing: Option<&FramingOptions>,
) -> Option<Option<Checksum>> {
    let Some(value) = &parent.raw.checksum else {
        return (!parent.has("checksum")).then_some(None);
    };
    let section = below::<raw::Checksum>(context, parent, "checksum", Some(value));
    let raw = &section.raw;
    let kind = section.required(context, "kind", raw.kind, "xor8");
    let over = section.required(context, "over", raw.over.as_ref(), "\"1..-1\"");
    let encoding = section.required(context, "encoding", raw.encoding, "hex");
    let over = over.and_then(|text| {
        let span = text.parse().ok();
        if span.is_none() {
            let message = "this is no range of bytes";
            let remedy = "write \"1..-1\": from the second byte up to, but without, the last";
            context.error(Code::BadFrame, &section.at("over"), message, remedy);
        }
        span
    });
    let endian = raw.endian.map(|word| word.0).unwrap_or_default();
    let checksum = Checksum {
        kind: kind?.0,
        over: over?,
        encoding: match encoding?.0 {
            raw::Encoding::Hex => Encoding::Hex(endian),
            raw::Encoding::Binary => Encoding::Binary(endian),
        },
        at: raw.at,
    };
    // What the longest frame has no place for, none has.
    if let Err(error) = checksum.fits(framing?.max_length) {
        let remedy = "count from 0 from the beginning of the frame, from -1 from its end; start, end and trailer count, a \
                      delimiter does not";
        context.error(
            Code::BadFrame,
            &section.at("over"),
            error.to_string(),
            remedy,
        );
        return None;
    }
    Some(Some(checksum))
}

/// Whoever only listens needs something that tells a frame's beginning.
pub(super) fn check_beginning(
    context: &mut Context<'_>,
    section: &Section<raw::Serial>,
    framing: &FramingOptions,
) {
    let unmarked = match &framing.kind {
        Framing::Length { sync, .. } | Framing::LengthField { sync, .. } => sync.is_empty(),
        Framing::Delimiter(_) | Framing::Marks { .. } | Framing::IdleGap(_) => false,
    };
    if unmarked && !section.has("checksum") && !section.has("poll") {
        let message = "nothing tells where a frame begins";
        let remedy = "add `sync` with the first bytes of every frame, or a `checksum`";
        context.error_at_key(Code::BadFrame, &section.at("framing"), message, remedy);
    }
}
