//! What the documents must hold, so that they follow the code.

use std::collections::BTreeSet;

use offpush::model::reason::Reason;
use serde_json::Value;

use crate::tidy::source::{files, read, root, sources};

/// Documents of the root.
const AT_ROOT: &[&str] = &["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "certs/README.md"];

/// Documents that may be linked before they are there.
const EXPECTED: &[&str] =
    &["docs/tencent.md", "docs/results.md", "docs/reliability.md", "docs/performance.md"];

fn documents() -> Vec<String> {
    let mut all = files("docs", ".md");
    all.extend(AT_ROOT.iter().map(|path| (*path).to_owned()));
    all
}

#[test]
fn the_architecture_names_every_module() {
    let map = read("ARCHITECTURE.md");
    let modules: BTreeSet<String> =
        sources("src").iter().map(|source| source.module().to_owned()).collect();
    let missing: Vec<_> =
        modules.iter().filter(|module| !map.contains(&format!("| `{module}`"))).collect();
    assert!(missing.is_empty(), "no line in the code map: {missing:?}");
}

#[test]
fn the_readme_gives_the_two_commands() {
    let readme = read("README.md");
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.lines().any(|line| line.trim() == command), "{command}");
    }
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    let changelog = read("CHANGELOG.md");
    let first = changelog.lines().find(|line| line.starts_with("## "));
    assert_eq!(first, Some("## Unreleased"));
    let groups = changelog.lines().filter_map(|line| line.strip_prefix("### "));
    for group in groups {
        assert!(["Added", "Changed", "Fixed", "Security"].contains(&group), "{group}");
    }
}

#[test]
fn decisions_are_numbered_and_say_what_they_must() {
    for (index, path) in files("docs/decisions", ".md").iter().enumerate() {
        let number = format!("docs/decisions/{:04}-", index + 1);
        assert!(path.starts_with(&number), "{path} should begin with {number}");
        let text = read(path);
        for part in ["Context", "Options", "Choice", "Price", "When to revisit"] {
            assert!(text.contains(&format!("\n## {part}\n")), "{path} lacks {part}");
        }
    }
}

#[test]
fn every_reason_is_explained() {
    for document in ["docs/deciding.md", "docs/operations.md"] {
        let text = read(document);
        let missing: Vec<_> =
            Reason::ALL.iter().filter(|reason| !text.contains(&format!("`{reason}`"))).collect();
        assert!(missing.is_empty(), "{document}: {missing:?}");
    }
}

#[test]
fn every_metric_is_listed() {
    let text = read("docs/operations.md");
    let code = read("src/telemetry/events.rs");
    let metrics: Vec<&str> = code
        .lines()
        .filter_map(|line| line.split(": &str = \"").nth(1)?.strip_suffix("\";"))
        .collect();
    assert!(metrics.len() > 10, "{metrics:?}");
    let missing: Vec<_> =
        metrics.iter().filter(|metric| !text.contains(&format!("`{metric}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_route_is_described() {
    let text: String = files("docs", ".md").iter().map(|path| read(path)).collect();
    let mut missing = Vec::new();
    let api = sources("src/api");
    let routes = api.iter().flat_map(|source| {
        let after = source.code.split(".route(").skip(1);
        after.filter_map(|rest| rest.split('"').nth(1))
    });
    let mut seen = 0;
    for route in routes {
        seen += 1;
        // The root of a nested router has no name of its own.
        if route != "/" && !text.contains(&format!("{route}`")) {
            missing.push(route);
        }
    }
    assert!(seen > 20, "the routes were not found");
    assert!(missing.is_empty(), "no document holds {missing:?}");
}

#[test]
fn every_golden_names_its_source() {
    let goldens = files("tests/golden", ".json");
    for path in &goldens {
        let golden: Value = serde_json::from_str(&read(path)).expect("JSON");
        let source = golden["source"].as_str().unwrap_or_default();
        assert!(!source.trim().is_empty(), "{path} names no source");
    }
    for vendor in offpush::vendor::ALL {
        let name = vendor.profile().name;
        for kind in ["request", "reply"] {
            let start = format!("tests/golden/{name}/{kind}_");
            assert!(goldens.iter().any(|path| path.starts_with(&start)), "no {start}*.json");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for rest in read(&document).split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = tidied(&format!("{folder}/{target}"));
            if !root().join(&path).exists() && !EXPECTED.contains(&path.as_str()) {
                wrong.push(format!("{document} links to {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A path without `.` and `..`.
fn tidied(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
