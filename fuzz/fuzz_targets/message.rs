//! A message's JSON: whatever is posted is read or refused with a field, and what was accepted is
//! read back from the queue.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offpush::model::message::Message;

fuzz_target!(|json: &[u8]| {
    if let Ok(posted) = Message::parse_posted(json) {
        assert!(Message::parse_stored(&posted.content).is_ok(), "what was accepted is read back");
    }
});
