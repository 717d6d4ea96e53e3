//! Keys and rows of the store, as a damaged disk would give them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offpush::store::keys::{Class, KeyBuilder, KeyReader, after_prefix, just_after};
use offpush::{dedupe, queue, trace};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (key, row) = (bytes::Bytes::from(input.0), bytes::Bytes::from(input.1));
    let _ = (queue::due_of(&key), queue::id_of(&key), queue::certificate_of(&key));
    let _ = (dedupe::window_of(&key), trace::behind(&key));
    let _ = queue::read(key.clone(), row.clone());
    let _ = trace::read(vec![(key.clone(), row)]);
    if let Some(mut reader) = KeyReader::new(Class::User, &key) {
        let _ = (reader.u64(), reader.text(), reader.u128(), reader.u16(), reader.u32());
    }
    assert!(just_after(&key) > key);
    let end = after_prefix(&key);
    assert!(end.is_empty() || end > key);
    let built = KeyBuilder::new(Class::User).u64(7).finish();
    assert_eq!(KeyReader::new(Class::User, &built).and_then(|mut reader| reader.u64()), Some(7));
});
