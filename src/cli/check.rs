//! `offpush check`: everything a start would stumble over, found without starting.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::ensure;
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::cli::local::ConfigFlags;
use crate::cli::output::{Answer, Format};
use crate::config::sections::Engine;
use crate::config::{SECRET_KEY_VARIABLE, Settings};
use crate::store::directory::ENGINE_FILE;

mod files;

/// An admin key shorter than this can be guessed by trying.
const ADMIN_KEY_CHARS_SHOULD: usize = 24;

/// `offpush check`.
#[derive(Args)]
pub struct Check {
    /// Settings.
    #[command(flatten)]
    pub config: ConfigFlags,
}

impl Check {
    /// Reads the settings and looks at what they point to. Changes nothing that outlives it.
    ///
    /// # Errors
    /// Every mistake of the settings.
    pub fn run(self, format: Format) -> anyhow::Result<Answer> {
        let settings = self.config.load()?;
        Ok(render(&inspect(&settings), format))
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Fine.
    Good(String),
    /// Would start, but is probably not what you want.
    Odd(String),
    /// Would not start, or not work.
    Bad(String),
}

/// Looks at everything the settings point to.
pub fn inspect(settings: &Settings) -> Vec<(&'static str, Finding)> {
    let mut findings = vec![("settings", Finding::Good("every key is right".to_owned()))];
    findings.push(("store", store(settings)));
    findings.push(("secret key", secret_key(settings)));
    findings.push(("admin key", admin_key(settings)));
    findings.push(("certs_dir", certs_dir(&settings.certs_dir)));
    findings.extend(files::inspect(settings));
    findings
}

/// Refuses what would not start, or not work: all of it at once.
///
/// # Errors
/// Everything that is bad.
pub fn refuse_bad(settings: &Settings) -> anyhow::Result<()> {
    let mut text = String::new();
    for (what, finding) in inspect(settings) {
        if let Finding::Bad(words) = finding {
            text.push_str(&format!("\n  {what}: {words}"));
        }
    }
    ensure!(text.is_empty(), "the settings are right, but what they point to is not:{text}");
    Ok(())
}

/// Whether the store's directory is there, or can be made, takes files, and is of this engine.
fn store(settings: &Settings) -> Finding {
    let engine = settings.store.engine;
    if engine == Engine::Memory {
        return Finding::Odd("memory: nothing survives a restart".to_owned());
    }
    let store_dir = settings.store_dir();
    // Directories are made on first start: the nearest parent that exists decides.
    let existing = store_dir.ancestors().find(|path| path.exists());
    let directory = match existing {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Finding::Bad(format!("{}: not a directory", directory.display()));
    }
    // A probe with a random name that is removed again.
    if let Err(error) = tempfile::NamedTempFile::new_in(directory) {
        return Finding::Bad(format!("{}: not writable: {error}", directory.display()));
    }
    let said = format!("{} in {}", engine.as_str(), settings.data_dir.display());
    let marker = store_dir.join(ENGINE_FILE);
    match fs::read_to_string(&marker) {
        Ok(found) if found.trim() == engine.as_str() => Finding::Good(said),
        Ok(found) => Finding::Bad(format!(
            "{}: belongs to the engine {}: set store.engine to it, or choose another data_dir",
            store_dir.display(),
            found.trim()
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::Good(format!("{said}, which is made on first start"))
        }
        Err(error) => Finding::Bad(format!("{}: {error}", marker.display())),
    }
}

fn secret_key(settings: &Settings) -> Finding {
    if settings.secrets.key.is_some() {
        return Finding::Good(format!("from {SECRET_KEY_VARIABLE}"));
    }
    let path = settings.secret_key_file();
    match settings.existing_secret_key() {
        Ok(_) if open_to_others(&path) => {
            Finding::Odd(format!("{}: others can read it, chmod 600 it", path.display()))
        }
        Ok(_) => Finding::Good(path.display().to_string()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Finding::Bad(format!("{}: {error}", path.display()))
        }
        Err(lost) if settings.has_store() => Finding::Bad(lost.to_string()),
        Err(_) => Finding::Good(format!("{} is made on first start", path.display())),
    }
}

#[cfg(unix)]
fn open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn open_to_others(_path: &Path) -> bool {
    false
}

fn admin_key(settings: &Settings) -> Finding {
    match &settings.auth.admin_key {
        Some(key) if key.expose_secret().chars().count() < ADMIN_KEY_CHARS_SHOULD => Finding::Odd(
            format!("shorter than {ADMIN_KEY_CHARS_SHOULD} characters: `openssl rand -hex 32`"),
        ),
        Some(_) => Finding::Good("there is one".to_owned()),
        None => Finding::Odd("none, as --dev allows: anybody may do everything".to_owned()),
    }
}

fn certs_dir(path: &Path) -> Finding {
    match fs::read_dir(path) {
        Ok(entries) => match entries.filter(Result::is_ok).count() {
            1 => Finding::Good(format!("{}: 1 entry", path.display())),
            count => Finding::Good(format!("{}: {count} entries", path.display())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::Good(format!("{} does not exist, nothing is loaded", path.display()))
        }
        Err(error) => Finding::Bad(format!("{}: {error}", path.display())),
    }
}

impl Finding {
    /// Its name in JSON, its mark for people, and its words.
    fn parts(&self) -> (&'static str, &'static str, &str) {
        match self {
            Finding::Good(words) => ("ok", "ok  ", words),
            Finding::Odd(words) => ("odd", "odd ", words),
            Finding::Bad(words) => ("bad", "BAD ", words),
        }
    }
}

fn render(findings: &[(&'static str, Finding)], format: Format) -> Answer {
    let failed = findings.iter().any(|(_, finding)| matches!(finding, Finding::Bad(_)));
    let list: Vec<_> = findings
        .iter()
        .map(|(what, finding)| {
            let (state, _, words) = finding.parts();
            json!({ "what": what, "state": state, "message": words })
        })
        .collect();
    let answer = json!({ "ok": !failed, "findings": list });
    let lines = findings.iter().map(|(what, finding)| {
        let (_, mark, words) = finding.parts();
        format!("{mark} {what}: {words}\n")
    });
    Answer { failed, ..Answer::of(&answer, format, |_| lines.collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding<'a>(findings: &'a [(&'static str, Finding)], what: &str) -> &'a Finding {
        &findings.iter().find(|(name, _)| *name == what).expect("looked at").1
    }

    fn settings_in(directory: &Path) -> Settings {
        let data_dir = directory.join("data");
        let certs_dir = directory.join("certs");
        Settings { data_dir, certs_dir, ..Settings::default() }
    }

    #[test]
    fn a_fresh_machine_is_fine_and_stays_untouched() {
        let directory = tempfile::tempdir().expect("a directory");
        let findings = inspect(&settings_in(directory.path()));
        assert!(!render(&findings, Format::Table).failed, "{findings:?}");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn a_file_in_place_of_the_data_directory_is_bad() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("data"), "").expect("written");
        let findings = inspect(&settings_in(directory.path()));
        assert!(matches!(finding(&findings, "store"), Finding::Bad(_)), "{findings:?}");
        assert!(render(&findings, Format::Table).failed);
    }

    #[test]
    fn a_store_of_the_other_engine_and_a_lost_key_are_bad_and_stay_untouched() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings_in(directory.path());
        fs::create_dir_all(settings.store_dir()).expect("made");
        fs::write(settings.store_dir().join(ENGINE_FILE), "sled\n").expect("written");
        let findings = inspect(&settings);
        for (what, words) in [("store", "the engine sled"), ("secret key", "restore the file")] {
            let Finding::Bad(text) = finding(&findings, what) else { panic!("{findings:?}") };
            assert!(text.contains(words), "{text}");
        }
        let refused = refuse_bad(&settings).expect_err("two are bad").to_string();
        assert_eq!(refused.lines().count(), 3, "{refused}");
        assert!(!settings.secret_key_file().exists());
    }

    #[test]
    fn findings_in_json_have_a_state_and_words() {
        let bad = [("store", Finding::Bad("gone".to_owned()))];
        let answer = render(&bad, Format::Json);
        let told: serde_json::Value = serde_json::from_str(&answer.text).expect("JSON");
        let one = json!({ "what": "store", "state": "bad", "message": "gone" });
        assert_eq!(told, json!({ "ok": false, "findings": [one] }));
        assert!(answer.failed);
    }

    #[test]
    fn a_secret_key_of_the_wrong_size_is_bad() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings_in(directory.path());
        fs::create_dir(&settings.data_dir).expect("made");
        fs::write(settings.secret_key_file(), "too short").expect("written");
        let findings = inspect(&settings);
        assert!(matches!(finding(&findings, "secret key"), Finding::Bad(_)), "{findings:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_key_that_others_can_read_is_odd() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings_in(directory.path());
        let path = settings.secret_key_file();
        settings.secret_key().expect("made");
        assert!(matches!(secret_key(&settings), Finding::Good(_)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(secret_key(&settings), Finding::Odd(_)));
    }
}
