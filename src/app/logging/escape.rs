//! What strangers send, made harmless to look at: a line of the log stays one line, and shows what is in it. No I/O.
//!
//! Escaped is what moves the cursor, changes colours, ends a line, or cannot be seen: control characters (C0, DEL, C1),
//! U+2028 and U+2029, and the format characters, which turn the direction of text or take no room.

use std::fmt::{self, Write};

/// Whether a terminal or a reader of lines could be fooled by it.
pub(super) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{0600}'..='\u{0605}' | '\u{061c}' | '\u{06dd}' | '\u{070f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// For people: `\n`, `\u{1b}`.
pub(super) fn for_people(text: &str, out: &mut impl Write) -> fmt::Result {
    for c in text.chars() {
        if is_hostile(c) {
            write!(out, "{}", c.escape_default())?;
        } else {
            out.write_char(c)?;
        }
    }
    Ok(())
}

/// Within quotes, as Rust and most other languages write a string.
pub(super) fn quoted(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        if is_hostile(c) || matches!(c, '"' | '\\') {
            write!(out, "{}", c.escape_default())?;
        } else {
            out.write_char(c)?;
        }
    }
    out.write_char('"')
}

/// As a JSON string, which reads back as what it was.
pub(super) fn json(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            c if is_hostile(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "a\r\n\0\x1b[31m\t\u{7f}\u{85}\u{2028}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}z\\\"ä€";

    fn made(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut out = String::new();
        write(&mut out).unwrap();
        out
    }

    #[test]
    fn nothing_that_could_fool_a_reader_is_left() {
        let people = made(|out| for_people(HOSTILE, out));
        assert_eq!(
            people,
            "a\\r\\n\\u{0}\\u{1b}[31m\\t\\u{7f}\\u{85}\\u{2028}\\u{202e}\\u{2066}\\u{200b}\\u{feff}\\u{e0041}z\\\"ä€"
        );
        for text in [
            people,
            made(|out| quoted(HOSTILE, out)),
            made(|out| json(HOSTILE, out)),
        ] {
            assert!(!text.chars().any(is_hostile), "{text:?}");
        }
    }

    #[test]
    fn json_reads_back_as_what_it_was() {
        let text = made(|out| json(HOSTILE, out));
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), HOSTILE);
    }
}
