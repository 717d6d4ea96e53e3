//! UserSigs: compressed JSON from strangers; none but ours verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offpush::model::id::AppId;
use offpush::model::time::UnixMs;
use offpush::usersig;

fuzz_target!(|sig: &str| {
    let keys = ["a key that nobody knows".to_owned()];
    let now = UnixMs::from_secs(1_795_000_000);
    assert!(usersig::verify(sig, &keys, AppId(1), "mina", now).is_err());
});
