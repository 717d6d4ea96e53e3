//! The source files as the checks want them: without comments, texts or tests.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of Rust.
pub struct Source {
    /// Its path from the repository's root, with `/`.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// Comments and test modules blanked out; lines stay where they are.
    pub code: String,
    /// The same without what stands in literals.
    pub bare: String,
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder whose name ends so, as paths from the root, in order.
pub fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            let inside = path.strip_prefix(root()).expect("below the root");
            found.push(inside.to_string_lossy().replace('\\', "/"));
        }
    }
}

/// The Rust files below a folder, but for those that exist for tests only.
pub fn sources(folder: &str) -> Vec<Source> {
    let all: Vec<Source> = files(folder, ".rs").iter().map(|path| Source::read(path)).collect();
    let tests: Vec<String> = all.iter().flat_map(test_files).collect();
    let for_tests = |path: &str| {
        tests
            .iter()
            .any(|stem| path == format!("{stem}.rs") || path.starts_with(&format!("{stem}/")))
    };
    all.into_iter().filter(|source| !for_tests(&source.path)).collect()
}

/// Files declared by `#[cfg(test)] mod name;`, without their ending.
fn test_files(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = stem.strip_suffix("/mod").unwrap_or(stem);
    let mut found = Vec::new();
    for (at, _) in source.text.match_indices("#[cfg(test)]") {
        if let Some((name, rest)) = module_after(&source.text[at..])
            && rest.starts_with(';')
        {
            found.push(format!("{folder}/{name}"));
        }
    }
    found
}

/// The name of the module declared right after an attribute, and what follows the name.
fn module_after(text: &str) -> Option<(&str, &str)> {
    let mut declared = text.strip_prefix("#[cfg(test)]")?.trim_start();
    while declared.starts_with("#[") {
        declared = declared.split_once(']')?.1.trim_start();
    }
    if let Some(rest) = declared.strip_prefix("pub") {
        let rest = rest.trim_start();
        declared =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |c| c.1);
    }
    let declared = declared.trim_start();
    let name = declared.strip_prefix("mod ")?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some((&name[..end], name[end..].trim_start()))
}

impl Source {
    fn read(path: &str) -> Self {
        let text = read(path);
        let (mut code, mut bare) = blank(&text);
        // A module of tests is found in `bare`, where braces are only braces.
        while let Some(at) = bare.find("#[cfg(test)]") {
            let end = match module_after(&bare[at..]) {
                Some((_, rest)) if rest.starts_with('{') => {
                    let open = bare.len() - rest.len();
                    closing(&bare, open).unwrap_or(bare.len())
                }
                _ => at + "#[cfg(test)]".len(),
            };
            for text in [&mut code, &mut bare] {
                *text = spaced(text, at, end);
            }
        }
        Source { path: path.to_owned(), text, code, bare }
    }

    /// The top-level module the file belongs to.
    pub fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// Lines before the module of tests.
    pub fn lines(&self) -> usize {
        let tests = ["mod tests {", "pub(super) mod tests {"];
        let tests = tests.map(|tests| format!("#[cfg(test)]\n{tests}"));
        let at = tests.iter().find_map(|tests| self.text.find(tests));
        self.text[..at.unwrap_or(self.text.len())].lines().count()
    }
}

/// Where the brace that opens at `open` closes, the brace included.
pub fn closing(bare: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in bare.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn spaced(text: &str, start: usize, end: usize) -> String {
    let hidden: String = text[start..end].chars().map(hide).collect();
    [&text[..start], &hidden, &text[end..]].concat()
}

/// One byte for every byte of the original, so that places in all three texts agree.
fn hide(c: char) -> String {
    if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) }
}

/// The text without comments, and without comments and the insides of literals.
fn blank(text: &str) -> (String, String) {
    let (mut code, mut bare) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (length, kind) = next(rest, bare.chars().last());
        let (piece, after) = rest.split_at(length);
        let hidden: String = piece.chars().map(hide).collect();
        code.push_str(if kind == Kind::Comment { &hidden } else { piece });
        bare.push_str(if kind == Kind::Code { piece } else { &hidden });
        rest = after;
    }
    (code, bare)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// How long the next piece is, and what it is.
fn next(rest: &str, before: Option<char>) -> (usize, Kind) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |at| at + 2), Kind::Comment);
    }
    if !in_word && let Some(length) = raw_text(rest) {
        return (length, Kind::Literal);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Kind::Literal);
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.chars();
        let (first, second) = (chars.next(), chars.next());
        // `'a` of a lifetime has no closing quote.
        if first == Some('\\') || second == Some('\'') {
            return (quoted(rest, '\''), Kind::Literal);
        }
    }
    (rest.chars().next().map_or(0, char::len_utf8), Kind::Code)
}

fn raw_text(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end)? + end.len();
    Some(rest.len() - inside.len() + length)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn comments_texts_and_tests_are_told_from_code() {
    let text =
        "use a; // crate::x\nlet s = \"crate::y {\"; let c = '{'; let r = r#\"}\"#;\nfn f<'a>() {}";
    let (code, bare) = blank(text);
    assert!(!code.contains("crate::x") && code.contains("crate::y"), "{code}");
    assert!(!bare.contains("crate::y") && bare.matches(['{', '}']).count() == 2, "{bare}");
    assert_eq!((code.len(), bare.len()), (text.len(), text.len()));
}
