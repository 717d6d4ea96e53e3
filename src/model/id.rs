//! Identifiers. Each is its own type, so that a token can never be passed for a user.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::BufMut;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::model::time::UnixMs;

/// Longest user, group or device id accepted, in bytes.
///
/// Tencent's user ids are at most 32 bytes (product/269, account naming); group ids and device ids
/// of other producers are longer, so the limit here is generous.
pub const ID_BYTES_MAX: usize = 128;

/// Longest device token accepted, in bytes (Tencent error 22004).
pub const TOKEN_BYTES_MAX: usize = 256;

/// A tenant: Tencent's SDKAppID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppId(pub u64);

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of one uploaded vendor credential. Never changes when its secret is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertId(pub u32);

impl fmt::Display for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_id! {
    /// A user of one app: Tencent's UserID / `*_Account`.
    UserId
}
text_id! {
    /// One installation of the app on one device, named by the client.
    DeviceId
}
text_id! {
    /// A group conversation.
    GroupId
}

/// A device token as a vendor issued it, already normalised by that vendor's shape check.
///
/// `Debug` and `Display` show only a short hash: a token is never written to a log or a trace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub Arc<str>);

impl Token {
    /// The token itself, for the vendor and nobody else.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hex digits of its SHA-256: enough to recognise, useless to send to.
    pub fn short_hash(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.as_bytes());
        // Runs for every device of every message; the `hex` crate's formatting is slower.
        let mut text = [0u8; 12];
        hex::encode_to_slice(&digest.as_ref()[..6], &mut text).expect("two digits per byte");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(#{})", self.short_hash())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.short_hash())
    }
}

/// How many partitions there are. Fixed forever: stored message ids carry a partition.
pub const PARTITIONS: u16 = 1_024;

/// One of [`PARTITIONS`] places a row can live in; a commit touches exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

impl Partition {
    /// The partition of a hash.
    pub const fn of_hash(hash: u64) -> Self {
        Partition((hash % PARTITIONS as u64) as u16)
    }

    /// The partition of a name, by a hash that never changes between versions.
    pub fn of(parts: &[&[u8]]) -> Self {
        Partition::of_hash(u64::from(joined(parts, crc32fast::hash)))
    }

    /// The partition of what an app has as a whole: its settings, keys and certificates.
    pub fn of_app(app: AppId) -> Self {
        Partition::of(&[b"app", &app.0.to_be_bytes()])
    }

    /// Its number, below [`PARTITIONS`].
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Every partition, in order.
    pub fn all() -> impl Iterator<Item = Partition> {
        (0..PARTITIONS).map(Partition)
    }
}

/// Hands on the parts one behind the other, each after its length. Hashing them in one go costs
/// less than beginning anew for every few bytes; what is hashed is seldom long.
fn joined<R>(parts: &[&[u8]], hash: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0u8; 512];
    let mut long = Vec::new();
    let length = parts.iter().map(|part| size_of::<u32>() + part.len()).sum();
    let bytes = if length <= short.len() {
        &mut short[..length]
    } else {
        long.resize(length, 0);
        &mut long
    };
    let mut rest = &mut *bytes;
    for part in parts {
        rest.put_u32(part.len() as u32);
        rest.put_slice(part);
    }
    hash(bytes)
}

/// The first 128 bits of the SHA-256 of length-prefixed parts: stable between versions, and no
/// two different lists of parts run together.
pub fn digest128(parts: &[&[u8]]) -> u128 {
    let digest = joined(parts, |bytes| ring::digest::digest(&ring::digest::SHA256, bytes));
    let mut first = [0u8; 16];
    first.copy_from_slice(&digest.as_ref()[..16]);
    u128::from_be_bytes(first)
}

/// The relay's name for one accepted message.
///
/// 48 bits of milliseconds, 10 bits of partition, 6 bits of zero, 64 random bits: sorting by id is
/// sorting by time of acceptance, and whoever holds an id knows where its rows live.
/// Written as a 26-character ULID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

impl MessageId {
    /// A new id accepted at `at` in `partition`; `random` makes it unique.
    pub fn new(at: UnixMs, partition: Partition, random: u64) -> Self {
        let time = u128::from(at.0 & 0xFFFF_FFFF_FFFF) << 80;
        let place = u128::from(partition.number()) << 70;
        MessageId(time | place | u128::from(random))
    }

    /// When the message was accepted.
    pub fn accepted_at(self) -> UnixMs {
        UnixMs((self.0 >> 80) as u64)
    }

    /// Where its rows live.
    pub fn partition(self) -> Partition {
        Partition(((self.0 >> 70) & 0x3FF) as u16)
    }

    /// Big-endian bytes: byte order is time order.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id whose big-endian bytes these are.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        MessageId(u128::from_be_bytes(bytes))
    }

    /// The id under which a vendor knows one delivery of this message: the same on every attempt.
    pub fn push_id(self, delivery: u16) -> uuid::Uuid {
        let digest = digest128(&[b"push", &self.to_bytes(), &delivery.to_be_bytes()]);
        uuid::Builder::from_custom_bytes(digest.to_be_bytes()).into_uuid()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0u8; ulid::ULID_LEN];
        f.write_str(ulid::Ulid(self.0).array_to_str(&mut buffer))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match ulid::Ulid::from_string(text) {
            Ok(ulid) => Ok(MessageId(ulid.0)),
            Err(_) => Err("a message_id is 26 characters of Crockford base 32".to_owned()),
        }
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Ok(MessageId::from_bytes(<[u8; 16]>::deserialize(deserializer)?))
        }
    }
}

/// Where a message was said, as a receiver names it: the peer of a one-to-one chat, or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Conversation {
    /// One-to-one with this peer (the sender, seen from the receiver).
    C2c(UserId),
    /// In this group.
    Group(GroupId),
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conversation::C2c(peer) => write!(f, "c2c:{peer}"),
            Conversation::Group(group) => write!(f, "group:{group}"),
        }
    }
}

impl FromStr for Conversation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("c2c", peer)) if !peer.is_empty() => Ok(Conversation::C2c(peer.into())),
            Some(("group", group)) if !group.is_empty() => Ok(Conversation::Group(group.into())),
            _ => Err("a conversation is written c2c:<peer> or group:<id>".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_carries_its_time_and_partition() {
        let at = UnixMs(1_760_000_000_123);
        let partition = Partition::of_hash(777);
        let id = MessageId::new(at, partition, u64::MAX);
        assert_eq!(id.accepted_at(), at);
        assert_eq!(id.partition(), partition);
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(text.parse::<MessageId>().expect("its own text"), id);
    }

    #[test]
    fn later_ids_sort_later() {
        let early = MessageId::new(UnixMs(1), Partition::of_hash(1023), u64::MAX);
        let late = MessageId::new(UnixMs(2), Partition::of_hash(0), 0);
        assert!(early.to_bytes() < late.to_bytes());
    }

    #[test]
    fn a_push_id_is_a_uuid_and_stable() {
        let id = MessageId::new(UnixMs(5), Partition::of_hash(9), 42);
        assert_eq!(id.push_id(3), id.push_id(3));
        assert_ne!(id.push_id(3), id.push_id(4));
        assert_eq!(id.push_id(0).to_string().len(), 36);
    }

    #[test]
    fn a_token_never_prints_itself() {
        let token = Token("secret-token".into());
        assert!(!format!("{token:?} {token}").contains("secret"));
    }

    #[test]
    fn the_parts_of_a_digest_do_not_run_together() {
        assert_ne!(digest128(&[b"ab", b"c"]), digest128(&[b"a", b"bc"]));
    }
}
