//! Keys kept in files: the admin key, and the key that encrypts credentials at rest.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Bytes of the key that encrypts credentials.
pub const SECRET_KEY_BYTES: usize = 32;
/// Largest key file read: anything longer is another file by mistake.
const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// Reads the admin key: the file's text without the white space around it.
///
/// # Errors
/// When the file cannot be read, is empty, is not text or holds more than one line.
pub fn admin_key(path: &Path) -> io::Result<SecretString> {
    let bytes = read_small(path)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| invalid("the admin key is not text"))?.trim();
    if text.is_empty() {
        return Err(invalid("the file is empty"));
    }
    if text.chars().any(char::is_whitespace) {
        return Err(invalid("the admin key must be one word on one line"));
    }
    Ok(SecretString::from(text))
}

/// The 32 bytes that encrypt credentials, read from `path`: raw, as hex or as base64.
///
/// When the file does not exist it is made with a new random key, mode 0600, together with the
/// directories above it. The key is on disk when this returns: losing it loses every credential.
///
/// # Errors
/// When the file cannot be read or made, or does not hold exactly 32 bytes in one of the forms.
pub fn secret_key(path: &Path) -> io::Result<[u8; SECRET_KEY_BYTES]> {
    match read_secret_key(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(path)?;
            // Read back: when two starts race, both use the key that won.
            read_secret_key(path)
        }
        read => read,
    }
}

/// The same without making it: `NotFound` when it is absent.
///
/// # Errors
/// As [`secret_key`].
pub fn read_secret_key(path: &Path) -> io::Result<[u8; SECRET_KEY_BYTES]> {
    let bytes = read_small(path)?;
    parse_secret_key(&bytes)
}

/// A secret key from a file's or a variable's content.
///
/// # Errors
/// When it is not 32 bytes, raw, as hex or as base64.
pub fn parse_secret_key(bytes: &[u8]) -> io::Result<[u8; SECRET_KEY_BYTES]> {
    parse(bytes).ok_or_else(|| invalid("must hold 32 bytes, raw, as hex or as base64"))
}

/// Says that the key at `path` is gone, and what to do about it.
pub(in crate::config) fn lost(path: &Path) -> io::Error {
    let path = path.display();
    let text = format!(
        "the secret key {path} is not there, and nothing sealed can be opened without it: restore \
         the file (or name it in secrets.key_file); to start empty instead, choose another data_dir"
    );
    io::Error::new(ErrorKind::NotFound, text)
}

fn read_small(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    if fs::metadata(path)?.len() > KEY_FILE_BYTES_MAX {
        return Err(invalid("the file is too large for a key"));
    }
    fs::read(path).map(Zeroizing::new)
}

/// A key from a file's content. Exactly 32 bytes are always taken as they are.
fn parse(bytes: &[u8]) -> Option<[u8; SECRET_KEY_BYTES]> {
    if let Ok(raw) = <[u8; SECRET_KEY_BYTES]>::try_from(bytes) {
        return Some(raw);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let decoded = [
        hex::decode(text).ok(),
        STANDARD.decode(text).ok(),
        STANDARD_NO_PAD.decode(text).ok(),
        URL_SAFE.decode(text).ok(),
        URL_SAFE_NO_PAD.decode(text).ok(),
    ];
    decoded
        .into_iter()
        .flatten()
        .map(Zeroizing::new)
        .find_map(|key| <[u8; SECRET_KEY_BYTES]>::try_from(key.as_slice()).ok())
}

/// Writes a new key beside `path` and moves it into place, unless someone else was faster.
fn create(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    let mut key = Zeroizing::new([0u8; SECRET_KEY_BYTES]);
    SystemRandom::new()
        .fill(key.as_mut_slice())
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    // A temporary file is made with mode 0600 and keeps it when it is renamed.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let text = Zeroizing::new(hex::encode(key.as_slice()));
    writeln!(file, "{}", text.as_str())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(directory)?.sync_all(),
        Err(lost) if lost.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(lost) => Err(lost.error),
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_raw_as_hex_and_as_base64() {
        let key = [0xA7u8; 32];
        let hex = format!("{}\n", hex::encode(key));
        let forms: [&[u8]; 4] = [
            &key,
            hex.as_bytes(),
            STANDARD.encode(key).leak().as_bytes(),
            URL_SAFE_NO_PAD.encode(key).leak().as_bytes(),
        ];
        for form in forms {
            assert_eq!(parse(form), Some(key), "{form:?}");
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert_eq!(parse(&[1; 31]), None);
        assert_eq!(parse(hex::encode([1; 33]).as_bytes()), None);
        assert_eq!(parse(b""), None);
    }

    #[cfg(unix)]
    #[test]
    fn an_absent_key_is_made_once_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/secret.key");
        let first = secret_key(&path).expect("made");
        assert_eq!(secret_key(&path).expect("read"), first);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(first, [0; 32]);
    }

    #[test]
    fn an_unusable_file_is_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret.key");
        fs::write(&path, "short").expect("written");
        assert!(secret_key(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "short");
    }

    #[test]
    fn an_admin_key_is_one_word() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.key");
        for (text, good) in [("k3y\n", true), ("\n", false), ("two words", false)] {
            fs::write(&path, text).expect("written");
            assert_eq!(admin_key(&path).is_ok(), good, "{text:?}");
        }
    }
}
