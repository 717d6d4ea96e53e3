//! What vendors send: replies to pushes (one answer per target, whatever arrives), replies to
//! sign-ins, and receipts. The first five bytes say which vendor, which status, how many targets
//! and which `retry-after` header; the rest is the body.
#![no_main]

use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use offpush::model::id::Token;
use offpush::model::time::UnixMs;
use offpush::transport::Reply;
use offpush::vendor::receipt::ReceiptPost;
use offpush::vendor::{self, Target};

const RETRY_AFTER: [&str; 4] = ["", "30", "Sun, 29 Nov 2026 12:00:00 GMT", "999999999999999999999"];

fuzz_target!(|input: (u8, u16, u8, u8, &[u8])| {
    let (which, status, targets, retry, body) = input;
    let vendor = vendor::ALL[usize::from(which) % vendor::ALL.len()];
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let target = |number| Target {
        token: Token(format!("token-{number}").into()),
        push_id: uuid::Uuid::nil(),
        badge: None,
    };
    let targets: Vec<Target> = (1..=targets.max(1)).map(target).collect();
    let mut headers = HeaderMap::new();
    let retry = RETRY_AFTER[usize::from(retry) % RETRY_AFTER.len()];
    if !retry.is_empty() {
        headers.insert("retry-after", HeaderValue::from_static(retry));
    }
    let _ = vendor.read_receipts(&ReceiptPost { headers: &headers, body });
    let reply = Reply { status, headers, body: bytes::Bytes::copy_from_slice(body) };
    let now = UnixMs::from_secs(1_795_000_000);
    let answers = vendor.decode(&reply, &targets, now);
    assert_eq!(answers.len(), targets.len());
    for answer in answers {
        let _ = vendor.advice(&answer.code, answer.verdict);
    }
    let _ = vendor.read_sign_in(&reply, now);
});
