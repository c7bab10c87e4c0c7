//! Noted faults become such as are shown: with line, column and excerpt, the most upstream first. And faults of files that
//! have no tree to place anything in.

use std::io;
use std::path::Path;

use super::FAULTS_MAX;
use super::context::{Context, Noted, Others};
use super::error::{Code, Fault, Faults, Position, Severity};
use super::excerpt::{self, Excerpt};
use super::locate::{self, Spot};
use super::place::Place;
use super::section::shape;
use super::{raw, wording};

/// Gives each fault its line and column, and sorts by them: those of the file itself before those of others, and before all
/// of them files that could not be read, since what follows may follow from that.
pub(super) fn placed(text: &str, file: &Path, context: Context<'_>) -> Faults {
    let (noted, others) = context.into_noted();
    let mut noted: Vec<Noted> = noted.collect();
    // Should not all be shown, then errors before warnings.
    noted.sort_by_key(|noted| noted.severity);
    let more = noted.len().saturating_sub(FAULTS_MAX);
    noted.truncate(FAULTS_MAX);
    let texts = Texts { text, file, others };
    let mut list: Vec<Fault> = noted.into_iter().map(|noted| texts.fault(noted)).collect();
    list.extend(texts.others.faults);
    list.sort_by_key(|fault| {
        let is_of_text = !matches!(fault.code, Code::Unreadable | Code::Syntax);
        let other = (fault.file != file).then(|| fault.file.clone());
        (is_of_text, other, fault.line, fault.column, fault.code)
    });
    Faults {
        list,
        more,
        is_unread: false,
    }
}

/// The texts that faults are placed in.
struct Texts<'a> {
    file: &'a Path,
    text: &'a str,
    others: Others,
}

impl Texts<'_> {
    fn fault(&self, noted: Noted) -> Fault {
        let (position, text) = self.position(&noted.place, noted.spot);
        let first = noted.first.as_ref().map(|(place, spot)| {
            let (first, _) = self.position(place, *spot);
            first
        });
        let mut message = match &first {
            Some(first) => format!("{}: {}:{}", noted.message, first.file.display(), first.line),
            None => noted.message,
        };
        let mut path = position.path;
        let is_slip = noted.remedy.starts_with("did you mean");
        if noted.code == Code::UnknownKey && !is_slip && !is_ours(text) {
            message = "unknown key".to_owned();
            path.clear();
        }
        Fault {
            excerpt: excerpt_of(text, position.line, position.column),
            file: position.file,
            line: position.line,
            column: position.column,
            path,
            message,
            remedy: noted.remedy,
            code: noted.code,
            severity: noted.severity,
            first,
        }
    }

    /// Line and column of `place`, and the text of its file.
    fn position(&self, place: &Place, spot: Spot) -> (Position, &str) {
        let other = place.file();
        let known = other.and_then(|other| self.others.texts.get_key_value(other));
        let (file, text) = known.map_or((self.file, self.text), |(file, text)| (file, text));
        let (line, column) = locate::position(text, place, spot);
        let position = Position {
            file: file.to_path_buf(),
            line,
            column,
            path: excerpt::quoted_path(&place.path()),
        };
        (position, text)
    }
}

/// The line of a fault, where it may be shown.
fn excerpt_of(text: &str, line: usize, column: usize) -> Option<Excerpt> {
    let shown = text.lines().nth(line.checked_sub(1)?)?;
    is_ours(text).then(|| Excerpt::new(shown, column))
}

/// Whether a text looks like a configuration: some line begins a section. Of any other nothing is shown, lines, keys or values:
/// a key or a password may have been named, or linked to, by mistake, and faults end up in the journal.
fn is_ours(text: &str) -> bool {
    let keys = [shape::<raw::Root>().fields, shape::<raw::Serial>().fields];
    text.lines().any(|line| {
        let key = line.split_once(':').map(|(key, _)| key.trim());
        key.is_some_and(|key| keys.iter().any(|known| known.contains(&key)))
    })
}

/// Line and column of what no text has in it.
fn control_character(text: &str) -> Option<(usize, usize)> {
    let is_control = |letter: char| letter.is_control() && !matches!(letter, '\t' | '\r');
    let mut lines = text.lines().enumerate();
    lines.find_map(|(line, text)| Some((line + 1, text.chars().position(is_control)? + 1)))
}

/// A text that the parser does not read to its end.
pub(super) fn no_yaml(text: &str, file: &Path, error: &serde_yaml::Error) -> Fault {
    let lines: Vec<&str> = text.lines().collect();
    let (line, column) = error
        .location()
        .map_or((1, 1), |location| (location.line(), location.column()));
    // Of a control character the parser tells no place.
    let control = error.to_string().contains("control characters");
    let control = control.then(|| control_character(text)).flatten();
    let told = error.to_string();
    // Of quotes that are not closed it names the end of the text first, and then where they open.
    let opened = told.split_once("while scanning a quoted scalar at ");
    let opened = opened.and_then(|(_, place)| place_in(place));
    let (line, column) = control.or(opened).unwrap_or((line, column));
    // At the end of the text the parser names a line that is not there.
    let line = line.clamp(1, lines.len().max(1));
    let at = |line: usize| lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
    let before = (1..line).rev().map(at).find(|line| !line.trim().is_empty());
    let (message, remedy) = wording::no_yaml(&told, at(line), before.unwrap_or_default());
    Fault {
        line,
        column,
        excerpt: excerpt_of(text, line, column),
        ..whole(file, Code::Syntax, message, remedy)
    }
}

/// Of `line 2 column 7`, as the parser tells it.
fn place_in(told: &str) -> Option<(usize, usize)> {
    let mut words = told.split_whitespace().skip(1).step_by(2);
    let mut number = || words.next()?.parse().ok();
    Some((number()?, number()?))
}

/// A file that cannot be read.
pub(super) fn unreadable(file: &Path, error: &io::Error) -> Fault {
    let (message, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (
            "there is no such file".to_owned(),
            "correct the name; without one it is /etc/fieldgate/fieldgate.yaml, else config/fieldgate.yaml",
        ),
        io::ErrorKind::PermissionDenied => (
            "it may not be read".to_owned(),
            "give the user of fieldgate the right",
        ),
        io::ErrorKind::FileTooLarge => (
            error.to_string(),
            "name a configuration; `templates:` say once what many devices have",
        ),
        io::ErrorKind::InvalidData => (error.to_string(), "save the file as UTF-8"),
        _ => (error.to_string(), "name a text file"),
    };
    whole(file, Code::Unreadable, message, remedy)
}

/// An error of a file as a whole.
pub(super) fn whole(
    file: &Path,
    code: Code,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Fault {
    Fault {
        file: file.to_path_buf(),
        line: 0,
        column: 0,
        path: String::new(),
        message: message.into(),
        remedy: remedy.into(),
        code,
        severity: Severity::Error,
        excerpt: None,
        first: None,
    }
}
