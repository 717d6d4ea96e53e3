//! Encryption at rest: ChaCha20-Poly1305 under one 32-byte key of the operator.
//!
//! A sealed value is bound to its place by a context (such as "certificate 7"), so that it cannot
//! be moved to another row unnoticed.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// First byte of every sealed value.
const FORMAT: u8 = 1;

/// The value cannot be opened: another key sealed it, or it was changed or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value cannot be opened: secrets.key_file is not the key it was sealed with")]
pub struct SealError;

/// Seals and opens. The key never leaves it.
pub struct Seal {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Seal {
    /// A seal under `key`.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has its length");
        Seal { key: LessSafeKey::new(key), random: SystemRandom::new() }
    }

    /// Seals `plain` for `context`.
    ///
    /// # Errors
    /// Only when the system has no randomness.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError)?;
        let mut sealed = Zeroizing::new(plain.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealError)?;
        let mut out = Vec::with_capacity(1 + NONCE_LEN + sealed.len() + tag.as_ref().len());
        out.push(FORMAT);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens what [`Seal::seal`] made for the same context.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (format, rest) = sealed.split_first().ok_or(SealError)?;
        if *format != FORMAT || rest.len() < NONCE_LEN {
            return Err(SealError);
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| SealError)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_context_open_a_value() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal("certificate 7", b"secret").expect("sealed");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(seal.open("certificate 7", &sealed).expect("opened").as_slice(), b"secret");
        assert_eq!(seal.open("certificate 8", &sealed).err(), Some(SealError));
        assert_eq!(Seal::new(&[8; 32]).open("certificate 7", &sealed).err(), Some(SealError));
        let mut damaged = sealed.clone();
        damaged[20] ^= 1;
        assert_eq!(seal.open("certificate 7", &damaged).err(), Some(SealError));
        assert_eq!(seal.open("certificate 7", &[]).err(), Some(SealError));
    }
}
