//! Settings from the outside: files, variables and flags on top of each other, every mistake
//! reported at once, and an example file that documents all of it.

use std::fs;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use offpush::config::mistake::Mistakes;
use offpush::config::sections::Engine;
use offpush::config::{Override, Overrides, Settings};
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;

fn written(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("offpush.toml");
    fs::write(&path, text).expect("written");
    (directory, path)
}

fn dev() -> Overrides {
    Overrides { dev: true, set: Vec::new() }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(text: &str, env: &[(&str, &str)], overrides: &Overrides) -> Result<Settings, Mistakes> {
    let (_directory, path) = written(text);
    Settings::load(Some(&path), variables(env), overrides)
}

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = r#"
        listen = "nowhere"
        [store]
        engine = "mysql"
        cahce_mb = 3
        [http]
        body_bytes_max = 12
        [queue]
        lease_s = "long"
        [vendors]
        proxy = "socks5://proxy:1"
        [colours]
        sky = "blue"
        [log]
        level = "no=such=level"
    "#;
    let mistakes = load(text, &[], &Overrides::default()).expect_err("mistakes");
    let keys: Vec<&str> = mistakes.0.iter().map(|mistake| mistake.key.as_str()).collect();
    let expected = [
        "auth.admin_key_file",
        "colours.sky",
        "http.body_bytes_max",
        "listen",
        "log.level",
        "queue.lease_s",
        "store.cahce_mb",
        "store.engine",
        "vendors.proxy",
    ];
    assert_eq!(keys, expected, "{mistakes}");
}

#[test]
fn a_mistake_says_what_is_wrong_and_where_it_came_from() {
    let env = [("OFFPUSH__STORE__ENGINE", "mysql"), ("OFFPUSH__STORE__ENGIN", "sled")];
    let set = |key: &str, value: &str| Override {
        flag: "--set".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let overrides = Overrides { dev: true, set: vec![set("lanes.in_flight_max", "0")] };
    let (_directory, path) = written("[trace]\nkeep_h = -1\n");
    let mistakes = Settings::load(Some(&path), variables(&env), &overrides).expect_err("mistakes");
    let expected = format!(
        "4 mistakes in the settings:
  lanes.in_flight_max: must be between 1 and 100000, not 0 [--set]
  store.engin: there is no such setting in [store], did you mean `engine` \
[variable OFFPUSH__STORE__ENGIN]
  store.engine: must be one of sled, redb, memory, not `mysql` [variable OFFPUSH__STORE__ENGINE]
  trace.keep_h: must be a whole number, not signed int `-1` [{}]",
        path.display()
    );
    assert_eq!(mistakes.to_string(), expected);
}

#[test]
fn variables_beat_the_file_and_flags_beat_both() {
    let text = "listen = \"127.0.0.1:1\"\n[store]\nengine = \"sled\"\ncache_mb = 1\n";
    let env = [
        ("OFFPUSH__STORE__ENGINE", "redb"),
        ("OFFPUSH__STORE__CACHE_MB", "2"),
        ("OFFPUSH__TRACE__INCLUDE_TEXT", "true"),
        ("OFFPUSH__DATA_DIR", "2026"),
        ("OFFPUSH__CERTS_DIR", ""),
        ("PATH", "/bin"),
    ];
    let flag = Override {
        flag: "--set".to_owned(),
        key: "store.cache_mb".to_owned(),
        value: "3".to_owned(),
    };
    let settings =
        load(text, &env, &Overrides { dev: true, set: vec![flag] }).expect("good settings");
    assert_eq!(settings.listen.port(), 1);
    assert_eq!(settings.store.engine, Engine::Redb);
    assert_eq!(settings.store.cache_mb, 3);
    assert!(settings.trace.include_text);
    assert_eq!(settings.data_dir, Path::new("2026"), "a number is a fine name");
    assert_eq!(settings.certs_dir, Path::new("certs"), "an empty variable sets nothing");
}

#[test]
fn an_admin_key_comes_from_its_variable_or_its_file() {
    let from_variable =
        load("", &[("OFFPUSH_ADMIN_KEY", " k1 ")], &Overrides::default()).expect("good settings");
    let key = from_variable.auth.admin_key.expect("a key");
    assert_eq!(key.expose_secret(), "k1");

    let (directory, path) = written("");
    let key_file = directory.path().join("admin.key");
    fs::write(&key_file, "k2\n").expect("written");
    let env = [("OFFPUSH__AUTH__ADMIN_KEY_FILE", key_file.to_str().expect("text"))];
    let from_file =
        Settings::load(Some(&path), variables(&env), &Overrides::default()).expect("good");
    assert_eq!(from_file.auth.admin_key.expect("a key").expose_secret(), "k2");
}

#[test]
fn a_secret_key_from_its_variable_needs_no_file() {
    let good = "a7".repeat(32);
    let settings = load("", &[("OFFPUSH_SECRET_KEY", &good)], &dev()).expect("good settings");
    assert_eq!(settings.secret_key().expect("a key"), [0xA7; 32]);
    let mistakes = load("", &[("OFFPUSH_SECRET_KEY", "a7a7")], &dev()).expect_err("too short");
    assert_eq!(mistakes.0[0].origin, "variable OFFPUSH_SECRET_KEY");
    assert!(!mistakes.to_string().contains("a7a7"), "{mistakes}");
}

#[test]
fn without_an_admin_key_only_development_starts() {
    let mistakes = load("", &[], &Overrides::default()).expect_err("no key");
    assert!(mistakes.names("auth.admin_key_file"), "{mistakes}");
    assert!(load("", &[], &dev()).expect("development").auth.admin_key.is_none());
}

#[test]
fn an_absent_file_and_a_broken_file_are_mistakes_beside_others() {
    let env = [("OFFPUSH__STORE__CACHE_MB", "none")];
    let absent = Settings::load(Some(Path::new("/nowhere/a.toml")), variables(&env), &dev());
    let absent = absent.expect_err("mistakes");
    assert_eq!(absent.0.len(), 2, "{absent}");
    assert!(absent.to_string().contains("the file does not exist [/nowhere/a.toml]"), "{absent}");
    let broken = load("[store\n", &env, &dev()).expect_err("mistakes");
    assert_eq!(broken.0.len(), 2, "{broken}");
}

#[test]
fn a_section_in_place_of_a_value_is_a_mistake_and_not_a_panic() {
    let mistakes = load("store = 5\n[listen]\nport = 1\n", &[], &dev()).expect_err("mistakes");
    assert!(mistakes.names("store") && mistakes.names("listen.port"), "{mistakes}");
}

#[test]
fn the_admin_key_is_never_printed() {
    let settings =
        load("", &[("OFFPUSH_ADMIN_KEY", "s3cret-word")], &Overrides::default()).expect("good");
    assert!(!format!("{settings:?}").contains("s3cret-word"));
    assert!(!serde_json::to_string(&settings).expect("JSON").contains("s3cret-word"));
}

#[test]
fn the_example_file_shows_the_defaults() {
    let example = Settings::load(Some(&asset("offpush.example.toml")), [], &dev()).expect("good");
    let example = serde_json::to_value(example).expect("JSON");
    assert_eq!(example, serde_json::to_value(Settings::default()).expect("JSON"));
}

#[test]
fn the_example_file_has_every_setting() {
    let text = fs::read_to_string(asset("offpush.example.toml")).expect("the example");
    let all = with_optional_lines(&text);
    let given: Value = Figment::from(Toml::string(&all)).extract().expect("TOML");
    let defaults = serde_json::to_value(Settings::default()).expect("JSON");
    let mut absent = Vec::new();
    for (section, value) in defaults.as_object().expect("an object") {
        for field in value.as_object().map_or(vec![], |fields| fields.keys().collect()) {
            if given[section].get(field).is_none() {
                absent.push(format!("{section}.{field}"));
            }
        }
        if given.get(section).is_none() {
            absent.push(section.clone());
        }
    }
    assert_eq!(absent, Vec::<String>::new());
    // And nothing that is not a setting.
    let defaults = Figment::from(Serialized::defaults(Settings::default()));
    defaults.merge(Toml::string(&all)).extract::<Settings>().expect("only known settings");
}

#[test]
fn the_example_file_shows_every_vendors_endpoints() {
    let text = fs::read_to_string(asset("offpush.example.toml")).expect("the example");
    let given: Value =
        Figment::from(Toml::string(&with_optional_lines(&text))).extract().expect("TOML");
    for vendor in offpush::vendor::ALL {
        let profile = vendor.profile();
        for (name, url) in profile.endpoints {
            assert_eq!(given["vendors"][profile.name][*name], *url, "{}.{name}", profile.name);
        }
    }
}

/// The example with its optional lines (`#key = …` and `#[section]`) switched on.
fn with_optional_lines(text: &str) -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    text.lines().map(switched_on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_demo_file_is_right() {
    let demo = Settings::load(Some(&asset("demo.toml")), [], &dev()).expect("good settings");
    assert_eq!(demo.store.engine, Engine::Memory);
}
