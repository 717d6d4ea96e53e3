//! Modules look down only, and no vendor has a name outside its own room.

use std::collections::BTreeSet;

use crate::tidy::source::{Source, read, sources};

/// The floors, top first. A module may use modules of lower floors.
const FLOORS: &[&[&str]] = &[
    &["cli", "bench"],
    &["app"],
    &["api", "config", "console", "sim"],
    &["dispatch", "push_tasks"],
    &["explain", "ingest", "outcome", "recall", "receipts"],
    &["digest", "plan", "results", "statistics"],
    &["facts"],
    &[
        "access",
        "account",
        "accounts_known",
        "api_keys",
        "apps",
        "credentials",
        "dedupe",
        "ledger",
        "members",
        "message_names",
        "policy",
        "preferences",
        "queue",
        "registry",
        "render",
        "seal",
        "trace",
        "usersig",
    ],
    &["store", "vendor"],
    &["transport"],
    &["telemetry", "clock", "turns"],
    &["model"],
];

/// Modules of one floor that know each other nevertheless, and why.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("access", "credentials", "a token is fetched with a certificate"),
    ("account", "preferences", "a user's row holds the preferences (decision 0009)"),
    ("accounts_known", "account", "who has a row of their own is known"),
    ("apps", "seal", "settings of an app hold secrets"),
    ("bench", "cli", "the load is made with the command line's client"),
    ("cli", "bench", "a command of its own"),
    ("credentials", "seal", "credentials are sealed at rest"),
    ("policy", "preferences", "a rule reads a receive option's number"),
    ("preferences", "account", "a user's row says whether options are stored (decision 0009)"),
    ("registry", "account", "a user's row holds the devices (decision 0009)"),
    ("trace", "policy", "a trace keeps the facts the rules saw (decision 0010)"),
];

/// Words that name a vendor. Names of vendors the relay does not serve yet are here too.
const VENDORS: &[&str] = &["apns", "fcm", "huawei", "xiaomi", "oppo", "vivo", "meizu", "honor"];

/// Rooms in which vendors have names.
const NAMED_IN: &[&str] = &["vendor", "sim", "config", "bench"];

/// Names of Tencent's message fields that contain a vendor's: they are the contract's.
const FIELDS: &[&str] = &["apns_info", "ApnsInfo"];

/// Files outside those rooms that name vendors, by how their paths begin, and why.
const NAMING_FILES: &[(&str, &str)] = &[
    ("src/cli/bench.rs", "the vendor to measure by default"),
    ("src/cli/demo/", "the demo plays with certificates and phones of every vendor"),
    ("src/model/push_info.rs", "Tencent's object has a field for each vendor's setting"),
    ("src/render/privacy.rs", "lets those fields through one by one, so that new ones stay hidden"),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Modules a file uses by `crate::module`.
fn used(source: &Source) -> BTreeSet<&str> {
    let after = source.bare.split("crate::").skip(1);
    let names = after.map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    names.filter(|name| *name != source.module()).collect()
}

/// Files of modules; the library's root and the program's only hold them together.
fn rooms() -> Vec<Source> {
    let mut all = sources("src");
    all.retain(|source| !matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs"));
    assert!(all.len() > 100, "the sources were not found");
    all
}

#[test]
fn modules_use_lower_floors_only() {
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    for source in rooms() {
        let from = source.module();
        let Some(here) = floor(from) else {
            wrong.push(format!("{from} stands on no floor: add it to FLOORS"));
            continue;
        };
        for to in used(&source) {
            let listed = NEIGHBOURS.iter().position(|(a, b, _)| (*a, *b) == (from, to));
            met.extend(listed);
            match floor(to) {
                Some(there) if there > here || listed.is_some() => {}
                Some(there) if there == here => {
                    wrong.push(format!("{} uses its neighbour {to}", source.path));
                }
                Some(_) => wrong.push(format!("{} looks up to {to}", source.path)),
                None => wrong.push(format!("{} uses {to}, which is on no floor", source.path)),
            }
        }
    }
    for (index, (from, to, _)) in NEIGHBOURS.iter().enumerate() {
        if !met.contains(&index) {
            wrong.push(format!("{from} does not use {to} any more: take it out of NEIGHBOURS"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_library_lists_its_modules_from_the_top_floor_down() {
    let lib = read("src/lib.rs");
    let listed: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let floors: Vec<_> = listed.iter().map(|module| (floor(module), *module)).collect();
    assert!(floors.iter().all(|(floor, _)| floor.is_some()), "{floors:#?}");
    assert!(floors.is_sorted_by_key(|(floor, _)| *floor), "{floors:#?}");
}

/// The words of a text: letters and digits, split also where `camelCase` goes on.
fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut before_is_lower = false;
    for c in text.chars().chain([' ']) {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && before_is_lower) {
            words.insert(std::mem::take(&mut word).to_ascii_lowercase());
        }
        if c.is_ascii_alphanumeric() {
            word.push(c);
        }
        before_is_lower = c.is_ascii_lowercase();
    }
    words
}

#[test]
fn a_word_ends_where_camel_case_goes_on() {
    let found = words("HuaweiImage opposite_word oppo_channel honour");
    assert!(found.contains("huawei") && found.contains("oppo") && found.contains("opposite"));
    assert!(!found.contains("honor"));
}

#[test]
fn no_vendor_is_named_outside_its_room() {
    for vendor in offpush::vendor::ALL {
        let name = vendor.profile().name;
        assert!(VENDORS.contains(&name) || name == "harmony", "{name} is missing in VENDORS");
    }
    let mut wrong = Vec::new();
    for source in rooms() {
        let excused = NAMING_FILES.iter().any(|(path, _)| source.path.starts_with(path));
        if NAMED_IN.contains(&source.module()) || excused {
            continue;
        }
        for (number, line) in source.code.lines().enumerate() {
            let line = FIELDS.iter().fold(line.to_owned(), |line, name| line.replace(name, ""));
            let words = words(&line);
            if let Some(name) = VENDORS.iter().find(|name| words.contains(**name)) {
                wrong.push(format!("{}:{} names {name}", source.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
