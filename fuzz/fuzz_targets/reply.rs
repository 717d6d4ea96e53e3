//! Vendors' replies: one answer per target, whatever arrives.
#![no_main]

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use offpush::model::id::Token;
use offpush::model::time::UnixMs;
use offpush::transport::Reply;
use offpush::vendor::{self, Target};

fuzz_target!(|input: (u8, u16, u8, Vec<u8>)| {
    let (which, status, targets, body) = input;
    let vendor = vendor::ALL[usize::from(which) % vendor::ALL.len()];
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let target = |number| Target {
        token: Token(format!("token-{number}").into()),
        push_id: uuid::Uuid::nil(),
        badge: None,
    };
    let targets: Vec<Target> = (1..=targets.max(1)).map(target).collect();
    let reply = Reply { status, headers: HeaderMap::new(), body: body.into() };
    let now = UnixMs::from_secs(1_795_000_000);
    assert_eq!(vendor.decode(&reply, &targets, now).len(), targets.len());
    let _ = vendor.read_sign_in(&reply, now);
});
