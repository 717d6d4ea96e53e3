//! Rows of every kind that the store holds in binary form, as a damaged disk or an older version
//! would give them: read or refused, and what was read is written and read again the same. The first
//! byte says which kind, the rest is the row.
#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offpush::account::{self, Account};
use offpush::dedupe::SeenMark;
use offpush::digest::{self, Note};
use offpush::model::id::{AppId, MessageId, UserId};
use offpush::outcome::dead_letters::DeadLetter;
use offpush::push_tasks::Task;
use offpush::queue::{self, Parcel};
use offpush::registry::Owner;
use offpush::store::keys::{Class, KeyBuilder};
use offpush::trace::{self, Opening, Step};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn again<T: Serialize + DeserializeOwned + Debug>(row: &[u8]) {
    let Ok(read) = postcard::from_bytes::<T>(row) else { return };
    let written = postcard::to_allocvec(&read).expect("what was read is written");
    let reread: T = postcard::from_bytes(&written).expect("what was written is read");
    assert_eq!(format!("{read:?}"), format!("{reread:?}"));
}

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, row) = input;
    let bytes = Bytes::copy_from_slice(row);
    match kind % 9 {
        0 => {
            again::<Parcel>(row);
            let key = KeyBuilder::new(Class::Parcel).u32(1).u64(7).u128(7).u16(0).finish();
            let _ = queue::read(key, bytes);
        }
        1 => {
            again::<Opening>(row);
            let id = MessageId(7);
            let _ = trace::read_opening(id, row);
            let _ = trace::read(vec![(trace::opening_key(id), bytes)]);
        }
        2 => again::<Step>(row),
        3 => {
            let key = account::key_of(AppId(1), &UserId::from("mina"));
            let _ = account::decode(&key, row);
            again::<Account>(row);
        }
        4 => again::<SeenMark>(row),
        5 => {
            again::<Note>(row);
            let key = KeyBuilder::new(Class::Digest).u64(7).u64(1).text("mina").text("c2c:joon");
            let _ = digest::read((key.u128(7).finish(), bytes));
        }
        6 => again::<DeadLetter>(row),
        7 => again::<Task>(row),
        _ => again::<Owner>(row),
    }
});
