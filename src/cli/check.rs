//! `offpush check`: everything a start would stumble over, found without starting.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::Args;
use secrecy::ExposeSecret;

use crate::cli::local::ConfigFlags;
use crate::cli::output::Answer;
use crate::config::sections::Engine;
use crate::config::{SECRET_KEY_VARIABLE, Settings, secret};

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
    pub fn run(self) -> anyhow::Result<Answer> {
        let settings = self.config.load()?;
        Ok(render(&inspect(&settings)))
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
    let secret_key = match &settings.secrets.key {
        Some(_) => Finding::Good(format!("from {SECRET_KEY_VARIABLE}")),
        None => secret_key(&settings.secret_key_file()),
    };
    findings.push(("secret key", secret_key));
    findings.push(("admin key", admin_key(settings)));
    findings.push(("certs_dir", certs_dir(&settings.certs_dir)));
    let files = [
        ("tls.cert_file", &settings.tls.cert_file),
        ("tls.key_file", &settings.tls.key_file),
        ("vendors.ca_file", &settings.vendors.ca_file),
    ];
    for (key, file) in files {
        if let Some(path) = file {
            findings.push((key, readable(path)));
        }
    }
    findings
}

/// Whether the data directory is there, or can be made, and takes files.
fn store(settings: &Settings) -> Finding {
    let engine = settings.store.engine;
    if engine == Engine::Memory {
        return Finding::Odd("memory: nothing survives a restart".to_owned());
    }
    let wanted = &settings.data_dir;
    // The directory itself is made on first start: its nearest parent that exists decides.
    let existing = wanted.ancestors().find(|path| path.exists());
    let directory = match existing {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Finding::Bad(format!("{}: not a directory", directory.display()));
    }
    // A probe with a random name that is removed again.
    match tempfile::NamedTempFile::new_in(directory) {
        Err(error) => Finding::Bad(format!("{}: not writable: {error}", directory.display())),
        Ok(_) if directory == wanted.as_path() => {
            Finding::Good(format!("{} in {}", engine.as_str(), wanted.display()))
        }
        Ok(_) => Finding::Good(format!(
            "{} in {}, which is made on first start",
            engine.as_str(),
            wanted.display()
        )),
    }
}

fn secret_key(path: &Path) -> Finding {
    match secret::read_secret_key(path) {
        Ok(_) if open_to_others(path) => {
            Finding::Odd(format!("{}: others can read it, chmod 600 it", path.display()))
        }
        Ok(_) => Finding::Good(path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::Good(format!("{} is made on first start", path.display()))
        }
        Err(error) => Finding::Bad(format!("{}: {error}", path.display())),
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

fn readable(path: &Path) -> Finding {
    match fs::File::open(path) {
        Ok(_) => Finding::Good(path.display().to_string()),
        Err(error) => Finding::Bad(format!("{}: {error}", path.display())),
    }
}

fn render(findings: &[(&'static str, Finding)]) -> Answer {
    let mut text = String::new();
    let mut failed = false;
    for (what, finding) in findings {
        let (mark, words) = match finding {
            Finding::Good(words) => ("ok  ", words),
            Finding::Odd(words) => ("odd ", words),
            Finding::Bad(words) => ("BAD ", words),
        };
        failed |= matches!(finding, Finding::Bad(_));
        text.push_str(&format!("{mark} {what}: {words}\n"));
    }
    Answer { text, failed }
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
        assert!(!render(&findings).failed, "{findings:?}");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn a_file_in_place_of_the_data_directory_is_bad() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("data"), "").expect("written");
        let findings = inspect(&settings_in(directory.path()));
        assert!(matches!(finding(&findings, "store"), Finding::Bad(_)), "{findings:?}");
        assert!(render(&findings).failed);
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
        secret::secret_key(&path).expect("made");
        assert!(matches!(secret_key(&path), Finding::Good(_)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(secret_key(&path), Finding::Odd(_)));
    }
}
