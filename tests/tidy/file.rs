//! A Rust file as the rules of `tests/tidy.rs` see it: words and signs without comments and strings, the paths it names,
//! what of it is a test. Knows as much of the grammar as that takes; what it does not know, it reads as words.

#[derive(Debug, PartialEq)]
pub struct Fault {
    pub place: String,
    pub what: String,
}

pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path as it stands in the text, with `self` and `super` made absolute.
pub struct NamedPath {
    pub segments: Vec<String>,
    pub line: usize,
    pub in_test: bool,
}

impl NamedPath {
    /// What follows `crate::`, or `fieldgate::` in `main.rs`.
    pub fn in_crate(&self) -> Option<&[String]> {
        let (first, rest) = self.segments.split_first()?;
        ["crate", "fieldgate"]
            .contains(&first.as_str())
            .then_some(rest)
    }
}

pub struct File {
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    pub paths: Vec<NamedPath>,
    /// Items under `#[cfg(test)]`, as first and last token.
    pub tests: Vec<(usize, usize)>,
    /// Named by a `#[cfg(test)] mod x;`.
    pub only_for_tests: bool,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let mut file = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tests: test_items(&tokens),
            tokens,
            paths: Vec::new(),
            only_for_tests: false,
        };
        file.paths = named_paths(&file);
        file
    }

    pub fn fault(&self, line: usize, what: impl Into<String>) -> Vec<Fault> {
        vec![Fault {
            place: format!("{}:{line}", self.path),
            what: what.into(),
        }]
    }

    /// `broker/core/publish` for `src/broker/core/publish.rs`; `None` outside `src/`.
    pub fn module(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        Some(name.strip_suffix("/mod").unwrap_or(name))
    }

    /// The `//!` lines it begins with.
    pub fn header(&self) -> String {
        let lines = self.text.lines();
        lines.take_while(|line| line.starts_with("//!")).collect()
    }

    pub fn room(&self) -> Option<&str> {
        self.module()?.split('/').next()
    }

    pub fn is_in(&self, places: &[&str]) -> bool {
        let within = |place: &&str| {
            self.module()
                .and_then(|module| module.strip_prefix(place))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        places.iter().any(within)
    }

    /// The tokens outside of tests.
    pub fn production(&self) -> Vec<usize> {
        (0..self.tokens.len())
            .filter(|&at| !self.in_test(at))
            .collect()
    }

    fn in_test(&self, at: usize) -> bool {
        self.only_for_tests
            || self
                .tests
                .iter()
                .any(|&(from, to)| (from..=to).contains(&at))
    }

    pub fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    pub fn is_call(&self, at: usize, method: &str) -> bool {
        at > 0 && self.is(at - 1, ".") && self.is(at, method) && self.is(at + 1, "(")
    }

    /// `name()` or `name::<T>()`.
    pub fn is_empty_call(&self, mut at: usize) -> bool {
        at += 1;
        if self.is(at, "::") && self.is(at + 1, "<") {
            while at < self.tokens.len() && !(self.is(at - 1, ">") && self.is(at, "(")) {
                at += 1;
            }
        }
        self.is(at, "(") && self.is(at + 1, ")")
    }
}

/// Cuts Rust into words, literals and signs; comments go, a string stays as `""`.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |at: usize| {
        chars
            .get(at)
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    let begins = |at: usize, with: &str| {
        with.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let start = at;
        let mut text = None;
        if begins(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if begins(at, "/*") {
            at = end_of_comment(&chars, at);
        } else if let Some(end) = end_of_string(&chars, at) {
            (at, text) = (end, Some("\"\"".to_owned()));
        } else if chars[at] == '\'' {
            let escaped = chars.get(at + 1) == Some(&'\\');
            if escaped || chars.get(at + 2) == Some(&'\'') {
                at += if escaped { 3 } else { 2 };
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                text = Some("''".to_owned());
            }
            at += 1; // else a lifetime: its name follows as a word, which no rule minds
        } else if is_word(at) {
            while is_word(at) {
                at += 1;
            }
            text = Some(chars[start..at].iter().collect());
        } else {
            at += if begins(at, "::") { 2 } else { 1 };
            text = (!chars[start].is_whitespace()).then(|| chars[start..at].iter().collect());
        }
        tokens.extend(text.map(|text| Token { text, line }));
        line += chars[start..at.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

/// Block comments nest.
fn end_of_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 1),
            ('*', '/') => (depth, at) = (depth - 1, at + 1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// Where the string that begins here ends: `"…"`, `r"…"`, `r#"…"#`, with a `b` or `c` before it or not.
fn end_of_string(chars: &[char], from: usize) -> Option<usize> {
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    let mut at = from + usize::from(is(from, 'b') || is(from, 'c'));
    let raw = is(at, 'r');
    at += usize::from(raw);
    let hashes = chars[at..].iter().take_while(|c| raw && **c == '#').count();
    at += hashes;
    if !is(at, '"') {
        return None;
    }
    at += 1;
    while at < chars.len() {
        if chars[at] == '\\' && !raw {
            at += 1;
        } else if chars[at] == '"' && (1..=hashes).all(|i| is(at + i, '#')) {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(chars.len())
}

/// Items under an attribute `#[cfg(test)]`, also within `all` or `any`, as first and last token.
fn test_items(tokens: &[Token]) -> Vec<(usize, usize)> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut items = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !(is(at, "#") && is(at + 1, "[") && is(at + 2, "cfg")) {
            at += 1;
            continue;
        }
        let end = end_of_group(tokens, at + 1);
        let names = |name: &str| tokens[at..=end].iter().any(|token| token.text == name);
        if names("test") && !names("not") {
            let last = end_of_item(tokens, end + 1);
            items.push((at, last));
            at = last;
        }
        at += 1;
    }
    items
}

/// The last token of the item that begins here, attributes before it included.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut at = from;
    let mut ends_at_brace = true;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "use" | "static" | "const" | "=" => ends_at_brace = false,
            "fn" | "impl" => ends_at_brace = true,
            "(" | "[" => at = end_of_group(tokens, at),
            "{" => {
                at = end_of_group(tokens, at);
                if ends_at_brace {
                    return at;
                }
            }
            ";" => return at,
            _ => {}
        }
        at += 1;
    }
    tokens.len() - 1
}

/// The bracket that closes the one here.
fn end_of_group(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

fn named_paths(file: &File) -> Vec<NamedPath> {
    let tokens = &file.tokens;
    let mut here: Vec<String> = vec!["crate".to_owned()];
    let module = file
        .module()
        .filter(|module| !["lib", "main"].contains(module));
    here.extend(
        module
            .into_iter()
            .flat_map(|module| module.split('/'))
            .map(str::to_owned),
    );
    let mut inline: Vec<usize> = Vec::new(); // ends of the `mod x { }` we are in
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        while inline.last() == Some(&at) {
            inline.pop();
            here.pop();
        }
        if file.is(at, "mod") && file.is(at + 2, "{") {
            inline.push(end_of_group(tokens, at + 2));
            here.push(tokens[at + 1].text.clone());
        }
        let (found, next) = if file.is(at, "use") && !file.is(at + 1, "<") {
            use_tree(tokens, at + 1, &[])
        } else {
            path_at(tokens, at)
        };
        for (segments, at) in found {
            paths.push(NamedPath {
                segments: absolute(&here, &segments),
                line: tokens[at].line,
                in_test: file.in_test(at),
            });
        }
        at = next.max(at + 1);
    }
    paths
}

/// The paths of a use tree, each with the token it ends at, and the token after the tree.
fn use_tree(
    tokens: &[Token],
    from: usize,
    before: &[String],
) -> (Vec<(Vec<String>, usize)>, usize) {
    let (mut path, mut at) = (before.to_vec(), from);
    let mut found = Vec::new();
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => {}
            "{" => {
                let end = end_of_group(tokens, at);
                at += 1;
                while at < end {
                    let (inner, next) = use_tree(tokens, at, &path);
                    found.extend(inner);
                    at = next + 1; // past the comma
                }
                return (found, end + 1);
            }
            "," | ";" | "}" => break,
            "as" => at += 1, // the new name is no path
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    if path.len() > before.len() {
        found.push((path, at.min(tokens.len()) - 1));
    }
    (found, at)
}

/// The path that begins here, if it has at least two segments.
fn path_at(tokens: &[Token], from: usize) -> (Vec<(Vec<String>, usize)>, usize) {
    let is_word = |at: usize| {
        let first = tokens.get(at).and_then(|token| token.text.chars().next());
        first.is_some_and(|c| c.is_alphabetic() || c == '_')
    };
    let is_join = |at: usize| tokens.get(at).is_some_and(|token| token.text == "::");
    if !is_word(from) || !is_join(from + 1) {
        return (Vec::new(), from + 1);
    }
    let mut at = from;
    while is_join(at + 1) && is_word(at + 2) {
        at += 2;
    }
    let segments = (from..=at).step_by(2).map(|at| tokens[at].text.clone());
    (vec![(segments.collect(), at)], at + 1)
}

fn absolute(here: &[String], segments: &[String]) -> Vec<String> {
    let (mut base, mut rest) = (here.to_vec(), segments);
    match segments[0].as_str() {
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => return segments.to_vec(),
    }
    base.extend_from_slice(rest);
    if base.is_empty() {
        base.push("crate".to_owned());
    }
    base
}
