//! Building and reading keys: a class byte, then fields whose byte order is their order.

use std::ops::Range;

use crate::store::{Key, StoreError};

/// What kind of row a key names. The first byte of every key; never reused for another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// An app: `A app`.
    App = b'A',
    /// A certificate: `B app cert`.
    Certificate = b'B',
    /// A device listed under its certificate: `C app cert user device`.
    DeviceByCertificate = b'C',
    /// Push results waiting to be posted to a chat server: `E app due id`.
    Event = b'E',
    /// A dead letter: `D app message parcel`.
    DeadLetter = b'D',
    /// The highest certificate number given by anyone when the app last deleted one: `F app`.
    CertificateNumber = b'F',
    /// A group's member: `G app group user`.
    Member = b'G',
    /// A message to be summed up after a do-not-disturb window: `H due app user place message`.
    Digest = b'H',
    /// The badge of one device, a counter: `I app user device`.
    Badge = b'I',
    /// An account the chat server imported: `J app user`.
    KnownAccount = b'J',
    /// An API key: `K hash`.
    ApiKey = b'K',
    /// A counter of the ledger: `L app slot`.
    Ledger = b'L',
    /// Who owns a token: `N app cert token`.
    Owner = b'N',
    /// A receive option of one conversation: `O app user conversation`.
    ReceiveOption = b'O',
    /// A push to all members: `P app task`.
    PushTask = b'P',
    /// A parcel of the queue: `Q cert due message parcel`. [Written once](Class::is_written_once).
    Parcel = b'Q',
    /// A seen mark of dedupe: `S window bucket digest`.
    Seen = b'S',
    /// A counter of the statistics: `Y day app vendor count`.
    Statistic = b'Y',
    /// A step of a message's trace: `T message step`.
    Trace = b'T',
    /// All that is known of one user: `U app user`.
    User = b'U',
    /// The store's own format version: `V`.
    Version = b'V',
    /// A withdrawn message: `W message`.
    Withdrawn = b'W',
    /// A message found by the name its producer gave it: `X day app digest message`.
    MessageName = b'X',
}

impl Class {
    /// Whether no row of the class that has this byte is ever put over one that exists. Then what
    /// is written and deleted between two looks at it was never there.
    pub fn is_written_once(class: u8) -> bool {
        class == Class::Parcel as u8
    }
}

/// Builds one key, field by field.
#[derive(Clone, Debug)]
pub struct KeyBuilder(Key);

impl KeyBuilder {
    /// Starts a key of this class.
    pub fn new(class: Class) -> Self {
        KeyBuilder(Key::default()).bytes(&[class as u8])
    }

    /// Appends two bytes.
    pub fn u16(self, number: u16) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends sixteen bytes.
    pub fn u128(self, number: u128) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends text and a zero byte, so that no text is a prefix of another. Ids hold no control
    /// characters, so the zero cannot occur inside.
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).bytes(&[0])
    }

    /// Appends bytes whose number is the same in every key of the class.
    #[inline]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.push(bytes);
        self
    }

    /// The finished key.
    pub fn finish(self) -> Key {
        self.0
    }

    /// The range of every key that begins with what was built so far.
    pub fn prefix(self) -> Range<Key> {
        let start = self.finish();
        let end = after_prefix(&start);
        start..end
    }
}

/// The first key behind all keys that begin with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Key {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX);
    let Some(last) = last else { return Key::default() };
    let mut end = Key::from(&prefix[..last]);
    end.push(&[prefix[last] + 1]);
    end
}

/// The first key that sorts behind `key`.
pub fn just_after(key: &[u8]) -> Key {
    let mut next = Key::from(key);
    next.push(&[0]);
    next
}

/// Why a page of rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The cursor is none, or one of another list.
    #[error("the cursor is not one of this list")]
    Cursor,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What of `range` lies behind a page whose last key, in hex, is `cursor`; all of it without one.
///
/// # Errors
/// [`PageError::Cursor`]: whoever reads from the start again would do so without end.
pub fn behind(range: Range<Key>, cursor: Option<&str>) -> Result<Range<Key>, PageError> {
    let Some(cursor) = cursor else { return Ok(range) };
    let last = hex::decode(cursor).map_err(|_| PageError::Cursor)?;
    if !range.contains(&Key::from(last.as_slice())) {
        return Err(PageError::Cursor);
    }
    Ok(just_after(&last)..range.end)
}

/// Reads the fields of a key in the order they were built. `None` means the key is damaged.
#[derive(Clone, Copy, Debug)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// Starts behind the class byte; `None` when the key is of another class.
    pub fn new(class: Class, key: &'a [u8]) -> Option<Self> {
        let (first, rest) = key.split_first()?;
        (*first == class as u8).then_some(KeyReader(rest))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    /// Reads two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads sixteen bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    /// Reads text up to its zero byte.
    pub fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_went_in() {
        let key = KeyBuilder::new(Class::User).u64(7).text("mina").u16(3).u32(9).u128(11).finish();
        let mut reader = KeyReader::new(Class::User, &key).expect("its own class");
        assert_eq!(reader.u64(), Some(7));
        assert_eq!(reader.text(), Some("mina"));
        assert_eq!((reader.u16(), reader.u32(), reader.u128()), (Some(3), Some(9), Some(11)));
        assert_eq!(reader.u16(), None);
        assert!(KeyReader::new(Class::App, &key).is_none());
    }

    #[test]
    fn a_prefix_ends_before_its_sibling() {
        let range = KeyBuilder::new(Class::User).u64(7).text("a").prefix();
        let inside = KeyBuilder::new(Class::User).u64(7).text("a").text("b").finish();
        let sibling = KeyBuilder::new(Class::User).u64(7).text("ab").finish();
        assert!(range.contains(&inside));
        assert!(!range.contains(&sibling));
        assert_eq!(after_prefix(&[1, 0xFF]).as_ref(), &[2]);
    }

    #[test]
    fn a_page_begins_behind_its_cursor_and_a_cursor_of_elsewhere_is_refused() {
        let range = KeyBuilder::new(Class::User).u64(7).prefix();
        let last = KeyBuilder::new(Class::User).u64(7).text("a").finish();
        let rest = behind(range.clone(), Some(&hex::encode(&last))).expect("its own cursor");
        assert_eq!(rest, just_after(&last)..range.end.clone());
        assert_eq!(behind(range.clone(), None).expect("no cursor"), range);
        let other = KeyBuilder::new(Class::User).u64(8).text("a").finish();
        for cursor in [hex::encode(other), "00".into(), "ffff".into(), "x".into(), String::new()] {
            let refused = behind(range.clone(), Some(&cursor));
            assert!(matches!(refused, Err(PageError::Cursor)), "{cursor}: {refused:?}");
        }
    }

    #[test]
    fn just_after_is_the_next_key() {
        assert_eq!(just_after(b"ab").as_ref(), b"ab\0");
    }
}
