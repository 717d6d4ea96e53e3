//! What a vendor's server remembers between requests: the access tokens it issued, and which
//! message ids each phone has already seen. Both are bounded; the least recently used goes first.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::model::time::UnixMs;

/// Most access tokens remembered by one simulator.
pub const ACCESS_TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// Most pairs of phone and message id remembered by one simulator.
pub const SEEN_MAX: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");

/// What an access token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was issued to this account and is young enough.
    Valid {
        /// The account, in the vendor's words: a client id or an app key.
        account: String,
    },
    /// It was issued here, too long ago.
    Expired,
    /// It was never issued here, or was revoked.
    Unknown,
}

struct Issued {
    account: String,
    at: UnixMs,
}

/// The access tokens of one vendor; older ones stay valid when a new one is issued.
pub struct AccessTokens {
    life: Duration,
    issued: LruCache<String, Issued>,
}

impl AccessTokens {
    /// No tokens yet; each will live for `life`.
    pub fn living(life: Duration) -> Self {
        AccessTokens { life, issued: LruCache::new(ACCESS_TOKENS_MAX) }
    }

    /// Remembers `token` as issued to `account` at `now`.
    pub fn issue(&mut self, token: String, account: &str, now: UnixMs) {
        self.issued.put(token, Issued { account: account.to_owned(), at: now });
    }

    /// What `token` is worth at `now`.
    pub fn standing(&mut self, token: &str, now: UnixMs) -> Standing {
        match self.issued.get(token) {
            None => Standing::Unknown,
            Some(issued) if now.since(issued.at) >= self.life => Standing::Expired,
            Some(issued) => Standing::Valid { account: issued.account.clone() },
        }
    }

    /// The account's youngest token that is valid at `now`, and when it was issued.
    pub fn newest(&self, account: &str, now: UnixMs) -> Option<(String, UnixMs)> {
        let valid = self
            .issued
            .iter()
            .filter(|(_, issued)| issued.account == account && now.since(issued.at) < self.life);
        let (token, issued) = valid.max_by_key(|(_, issued)| issued.at)?;
        Some((token.clone(), issued.at))
    }

    /// Forgets every token, so that each becomes unknown before its time.
    pub fn revoke_all(&mut self) {
        self.issued.clear();
    }
}

/// Which message ids a phone has already seen.
pub struct Seen(LruCache<(String, String), ()>);

impl Default for Seen {
    fn default() -> Self {
        Seen(LruCache::new(SEEN_MAX))
    }
}

impl Seen {
    /// Records that the phone `token` gets the message `id`; whether it is the first time.
    pub fn first_time(&mut self, token: &str, id: &str) -> bool {
        self.0.put((token.to_owned(), id.to_owned()), ()).is_none()
    }
}

/// Random lower-case hex of `bytes` bytes, for ids and opaque tokens.
pub fn random_hex(bytes: usize) -> String {
    hex::encode(std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_expires_at_the_end_of_its_life_and_not_before() {
        let mut tokens = AccessTokens::living(Duration::from_secs(10));
        tokens.issue("t".to_owned(), "a", UnixMs(1_000));
        let valid = Standing::Valid { account: "a".to_owned() };
        assert_eq!(tokens.standing("t", UnixMs(10_999)), valid);
        assert_eq!(tokens.standing("t", UnixMs(11_000)), Standing::Expired);
        assert_eq!(tokens.standing("u", UnixMs(1_000)), Standing::Unknown);
        tokens.revoke_all();
        assert_eq!(tokens.standing("t", UnixMs(1_000)), Standing::Unknown);
    }

    #[test]
    fn a_message_is_new_once_for_each_phone() {
        let mut seen = Seen::default();
        assert!(seen.first_time("phone", "m1"));
        assert!(!seen.first_time("phone", "m1"));
        assert!(seen.first_time("phone", "m2"));
        assert!(seen.first_time("other", "m1"));
    }
}
