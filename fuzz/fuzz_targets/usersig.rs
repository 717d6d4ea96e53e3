//! UserSigs: compressed JSON from strangers; none but ours verifies. The input is tried as a UserSig
//! and as the JSON inside one, since a fuzzer hardly ever compresses by chance.
#![no_main]

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use offpush::model::id::AppId;
use offpush::model::time::UnixMs;
use offpush::usersig;

/// The JSON as a UserSig carries it, without squeezing it.
fn enclosed(json: &[u8]) -> String {
    let mut compressed = Vec::new();
    let mut encoder = ZlibEncoder::new(json, Compression::none());
    encoder.read_to_end(&mut compressed).expect("memory to memory");
    STANDARD.encode(compressed).replace('+', "*").replace('/', "-").replace('=', "_")
}

fuzz_target!(|input: &[u8]| {
    let keys = ["a key that nobody knows".to_owned()];
    let now = UnixMs::from_secs(1_795_000_000);
    let strange = |sig: &str| usersig::verify(sig, &keys, AppId(1), "mina", now).is_err();
    assert!(strange(&String::from_utf8_lossy(input)));
    assert!(strange(&enclosed(input)));
});
