//! Keys and rows of the store, as a damaged disk would give them. The first byte says how many
//! bytes of the rest are the key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offpush::store::keys::{Class, KeyBuilder, KeyReader, after_prefix, just_after};
use offpush::{dedupe, digest, queue, trace};

fuzz_target!(|input: (u8, &[u8])| {
    let (length, rest) = input;
    let (key, row) = rest.split_at(rest.len().min(usize::from(length)));
    let (key, row) = (offpush::store::Key::from(key), bytes::Bytes::copy_from_slice(row));
    let _ = (queue::due_of(&key), queue::id_of(&key), queue::certificate_of(&key));
    let _ = (dedupe::window_of(&key), trace::behind(&key));
    let _ = queue::read(key.clone(), row.clone());
    let _ = trace::read(vec![(key.clone(), row.clone())]);
    let _ = digest::read((key.clone(), row));
    if let Some(mut reader) = KeyReader::new(Class::User, &key) {
        let _ = (reader.u64(), reader.text(), reader.u128(), reader.u16(), reader.u32());
    }
    assert!(just_after(&key) > key);
    let end = after_prefix(&key);
    assert!(end.is_empty() || end > key);
    let built = KeyBuilder::new(Class::User).u64(7).finish();
    assert_eq!(KeyReader::new(Class::User, &built).and_then(|mut reader| reader.u64()), Some(7));
});
