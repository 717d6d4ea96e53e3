//! Lengths of lines, functions and files, and words that no source may hold.

use crate::tidy::source::{Source, closing, files, read, sources};

/// Most characters of a line.
const LINE_MAX: usize = 100;

/// Most lines of a function: what a screen shows.
const FUNCTION_MAX: usize = 70;

/// Lines from which on a file is reported, its tests not counted.
const FILE_SHOULD: usize = 400;

/// Most lines of a file, its tests not counted.
const FILE_MAX: usize = 500;

/// Functions longer than that: file, name, most lines, why.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[
    ("src/app.rs", "start_on", 120, "one statement per part, in the order in which parts need it"),
    ("src/explain/advice.rs", "of_reason", 90, "one sentence per reason"),
    ("src/explain/advice.rs", "of_finding", 90, "one sentence per finding"),
    ("src/outcome.rs", "draw", 90, "one pass over the deliveries builds the whole commit"),
];

/// Every function of a file: name, first line, lines.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let bare = &source.bare;
    let mut found = Vec::new();
    for (at, _) in bare.match_indices("fn ") {
        if bare[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name: String =
            bare[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let Some(end) = body_end(bare, at).filter(|_| !name.is_empty()) {
            let first = bare[..at].matches('\n').count() + 1;
            found.push((name, first, bare[at..end].matches('\n').count() + 1));
        }
    }
    found
}

/// Where the body of the function at `at` ends; `None` when it has none.
fn body_end(bare: &str, at: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (offset, byte) in bare.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return closing(bare, offset),
            _ => {}
        }
    }
    None
}

fn everything() -> Vec<Source> {
    ["src", "tests", "benches"].into_iter().flat_map(sources).collect()
}

#[test]
fn functions_fit_a_screen() {
    let (mut wrong, mut excused) = (Vec::new(), Vec::new());
    for source in everything() {
        for (name, first, lines) in functions(&source) {
            let path = source.path.as_str();
            let listed = LONG_FUNCTIONS.iter().find(|(p, n, ..)| (*p, *n) == (path, &*name));
            match listed {
                Some((_, _, most, _)) if lines <= *most => excused.push((path.to_owned(), name)),
                None if lines <= FUNCTION_MAX => {}
                _ => wrong.push(format!("{path}:{first} {name} has {lines} lines")),
            }
        }
    }
    for (path, name, ..) in LONG_FUNCTIONS {
        if !excused.iter().any(|(p, n)| p == path && n == name) {
            wrong.push(format!("{path} has no long {name} any more: take it off the list"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn lines_fit_a_page() {
    let mut wrong = Vec::new();
    for source in everything() {
        for (number, line) in source.text.lines().enumerate() {
            let length = line.chars().count();
            if length > LINE_MAX {
                wrong.push(format!("{}:{} has {length} characters", source.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for source in everything() {
        let lines = source.lines();
        if lines > FILE_SHOULD {
            println!("{} has {lines} lines without its tests", source.path);
        }
        if lines > FILE_MAX {
            wrong.push(format!("{} has {lines} lines without its tests", source.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_test_sleeps() {
    let mut wrong = Vec::new();
    for path in files("tests", ".rs") {
        let text = read(&path);
        let sleeps = [concat!("time::", "sleep("), concat!("thread::", "sleep(")];
        if sleeps.iter().any(|sleep| text.contains(sleep)) {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    let places = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    let mut texts = files("docs", ".md");
    let folders = ["src", "tests", "benches", "config", "certs", ".ci"];
    texts.extend(folders.into_iter().flat_map(|folder| files(folder, "")));
    texts.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    let mut wrong = Vec::new();
    for path in texts {
        let Ok(text) = std::fs::read_to_string(crate::tidy::source::root().join(&path)) else {
            continue;
        };
        if let Some(place) = places.iter().find(|place| text.contains(**place)) {
            wrong.push(format!("{path} holds {place}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
