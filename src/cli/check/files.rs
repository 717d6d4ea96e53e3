//! Files of TLS: whether they can be read, hold what they should and belong together.

use std::path::{Path, PathBuf};

use crate::app::front::tls;
use crate::app::roots_in;
use crate::cli::check::Finding;
use crate::config::Settings;

/// Looks at every file that is set.
pub fn inspect(settings: &Settings) -> Vec<(&'static str, Finding)> {
    let chain = read(&settings.tls.cert_file, |path| tls::chain(path).map(drop));
    let key = read(&settings.tls.key_file, |path| tls::key(path).map(drop));
    let roots = read(&settings.vendors.ca_file, |path| roots_in(path).map(drop));
    let both_good = [&chain, &key].iter().all(|one| matches!(one, Some(Finding::Good(_))));
    let pair = both_good.then(|| match tls::acceptor(settings) {
        Ok(_) => Finding::Good("key and certificate belong together".to_owned()),
        Err(error) => Finding::Bad(format!("{error:#}")),
    });
    let findings = [
        ("tls.cert_file", chain),
        ("tls.key_file", key),
        ("tls", pair),
        ("vendors.ca_file", roots),
    ];
    findings.into_iter().filter_map(|(what, finding)| Some((what, finding?))).collect()
}

fn read(
    file: &Option<PathBuf>,
    content: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> Option<Finding> {
    let path = file.as_ref()?;
    Some(match content(path) {
        Ok(()) => Finding::Good(path.display().to_string()),
        Err(error) => Finding::Bad(format!("{}: {error:#}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn bad(findings: &[(&'static str, Finding)]) -> Vec<&'static str> {
        let bad = findings.iter().filter(|(_, finding)| matches!(finding, Finding::Bad(_)));
        bad.map(|(what, _)| *what).collect()
    }

    #[test]
    fn files_that_are_absent_garbage_or_of_another_pair_are_bad() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = || rcgen::generate_simple_self_signed(["h".to_owned()]).expect("made");
        let (one, other) = (made(), made());
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            Some(path)
        };
        let mut settings = Settings::default();
        assert_eq!(inspect(&settings), []);
        settings.tls.cert_file = write("cert.pem", &one.cert.pem());
        settings.tls.key_file = write("key.pem", &one.signing_key.serialize_pem());
        settings.vendors.ca_file = write("ca.pem", &one.cert.pem());
        assert_eq!(bad(&inspect(&settings)), [""; 0]);
        assert_eq!(inspect(&settings).len(), 4);
        settings.tls.key_file = write("other.pem", &other.signing_key.serialize_pem());
        assert_eq!(bad(&inspect(&settings)), ["tls"]);
        let all = ["tls.cert_file", "tls.key_file", "vendors.ca_file"];
        let files = [&mut settings.tls.cert_file, &mut settings.tls.key_file];
        for file in files.into_iter().chain([&mut settings.vendors.ca_file]) {
            *file = write("garbage.pem", "garbage");
        }
        assert_eq!(bad(&inspect(&settings)), all);
        fs::remove_file(directory.path().join("garbage.pem")).expect("removed");
        assert_eq!(bad(&inspect(&settings)), all);
    }
}
