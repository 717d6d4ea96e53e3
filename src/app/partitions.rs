//! Where rows are kept, told by their keys: for what reads rows of all partitions and changes them.
//!
//! A commit touches one partition, so what a scan over all of them found is parted before it is
//! written or removed.

use crate::account;
use crate::members;
use crate::model::id::{AppId, CertId, GroupId, MessageId, Partition, Token, UserId};
use crate::registry;
use crate::store::keys::{Class, KeyReader};
use crate::store::{Key, Row};

/// Rows of an app as a whole: the key goes on with the app.
const OF_APP: &[Class] = &[Class::App, Class::Certificate, Class::CertificateNumber];

/// Rows of one user: the key goes on with app and user.
const OF_USER: &[Class] = &[Class::User, Class::KnownAccount, Class::Badge, Class::ReceiveOption];

/// The partition of a row of one of the classes above and below; `None` where the key does not
/// tell it:
///
/// - an API key's is that of its app, and the key holds a hash;
/// - a seen mark's is that of its message, and the key holds a digest;
/// - a counter of the statistics lies in every partition that counted.
pub fn of_key(key: &Key) -> Option<Partition> {
    of_app(key)
        .or_else(|| of_user(key))
        .or_else(|| of_listed(key))
        .or_else(|| of_owner(key))
        .or_else(|| of_member(key))
        .or_else(|| of_message(key))
}

fn reader<'a>(classes: &[Class], key: &'a Key) -> Option<KeyReader<'a>> {
    classes.iter().find_map(|class| KeyReader::new(*class, key))
}

fn of_app(key: &Key) -> Option<Partition> {
    Some(Partition::of_app(AppId(reader(OF_APP, key)?.u64()?)))
}

fn of_user(key: &Key) -> Option<Partition> {
    let mut reader = reader(OF_USER, key)?;
    let app = AppId(reader.u64()?);
    Some(account::partition_of(app, &UserId::from(reader.text()?)))
}

/// Listed under a certificate, a device lies with its user all the same.
fn of_listed(key: &Key) -> Option<Partition> {
    let mut reader = reader(&[Class::DeviceByCertificate], key)?;
    let app = AppId(reader.u64()?);
    reader.u32()?;
    Some(account::partition_of(app, &UserId::from(reader.text()?)))
}

fn of_owner(key: &Key) -> Option<Partition> {
    let mut reader = reader(&[Class::Owner], key)?;
    let (app, cert_id) = (AppId(reader.u64()?), CertId(reader.u32()?));
    let token = Token(reader.text()?.into());
    Some(registry::owner_row(app, (cert_id, &token)).0)
}

fn of_member(key: &Key) -> Option<Partition> {
    let mut reader = reader(&[Class::Member], key)?;
    let app = AppId(reader.u64()?);
    Some(members::partition_of(app, &GroupId::from(reader.text()?)))
}

fn of_message(key: &Key) -> Option<Partition> {
    let id = if let Some(mut trace) = reader(&[Class::Trace], key) {
        trace.u128()?
    } else if let Some(mut letter) = reader(&[Class::DeadLetter], key) {
        letter.u64()?;
        letter.u128()?
    } else {
        let mut name = reader(&[Class::MessageName], key)?;
        name.u32()?;
        name.u64()?;
        name.u128()?;
        name.u128()?
    };
    Some(MessageId(id).partition())
}

/// Rows by partition, at most so many together. Those whose key does not tell it go to the first,
/// which every store of today takes, for its keys are unique as a whole.
pub fn parted(rows: Vec<Row>, most: usize) -> Vec<(Partition, Vec<Row>)> {
    let place = |row: &Row| of_key(&row.0).unwrap_or(Partition::of_hash(0));
    let mut placed: Vec<(Partition, Row)> =
        rows.into_iter().map(|row| (place(&row), row)).collect();
    placed.sort_by_key(|(partition, _)| *partition);
    let mut parts: Vec<(Partition, Vec<Row>)> = Vec::new();
    for (partition, row) in placed {
        match parts.last_mut() {
            Some((last, rows)) if *last == partition && rows.len() < most => rows.push(row),
            _ => parts.push((partition, vec![row])),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::time::UnixMs;
    use crate::store::keys::KeyBuilder;

    fn step(partition: u64, message: u64, step: u16) -> Row {
        let id = MessageId::new(UnixMs(message), Partition::of_hash(partition), message);
        (KeyBuilder::new(Class::Trace).u128(id.0).u16(step).finish(), Bytes::new())
    }

    #[test]
    fn rows_are_parted_by_partition_and_no_part_is_too_large() {
        let rows = vec![step(9, 1, 0), step(9, 1, 1), step(4, 2, 0), step(9, 3, 0)];
        let sizes = |most| -> Vec<(u16, usize)> {
            let parts = parted(rows.clone(), most).into_iter();
            parts.map(|(partition, rows)| (partition.number(), rows.len())).collect()
        };
        assert_eq!(sizes(64), [(4, 1), (9, 3)]);
        assert_eq!(sizes(2), [(4, 1), (9, 2), (9, 1)]);
        assert_eq!(parted(Vec::new(), 64), []);
    }

    #[test]
    fn a_dead_letter_lies_with_its_message() {
        let id = MessageId::new(UnixMs(5), Partition::of_hash(9), 1);
        let key = KeyBuilder::new(Class::DeadLetter).u64(1).u128(id.0).u16(3).finish();
        assert_eq!(of_key(&key), Some(id.partition()));
    }

    #[test]
    fn what_no_key_tells_goes_to_the_first_and_a_damaged_key_too() {
        let hash = KeyBuilder::new(Class::ApiKey).bytes(&[7; 32]).finish();
        let seen = KeyBuilder::new(Class::Seen).u32(120).u64(1).u128(2).finish();
        let counter = KeyBuilder::new(Class::Statistic).u32(1).u64(1).text("v").u16(0).finish();
        let cut = KeyBuilder::new(Class::User).u32(1).finish();
        for key in [hash, seen, counter, cut, Key::default()] {
            assert_eq!(of_key(&key), None, "{key:?}");
            let parts = parted(vec![(key, Bytes::new())], 64);
            assert_eq!(parts[0].0, Partition::of_hash(0));
        }
    }
}
