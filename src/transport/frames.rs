//! Notices that a peer has changed its settings.
//!
//! hyper drives an HTTP/2 connection in a task of its own and tells nobody when the peer allows
//! more or fewer streams. Who wants to know must see the SETTINGS frames go by.

use std::sync::Arc;

use tokio::sync::Notify;

/// Octets of a frame header (RFC 9113, 4.1).
const HEADER: usize = 9;
/// Frame type SETTINGS.
const TYPE_SETTINGS: u8 = 4;
/// Flag ACK of a SETTINGS frame.
const FLAG_ACK: u8 = 1;

/// Follows the frames that a peer sends.
pub struct Frames {
    header: [u8; HEADER],
    have: usize,
    payload: usize,
    changed: bool,
    tell: Arc<Notify>,
}

impl Frames {
    /// At the beginning of a connection; `tell` hears of each change.
    pub fn new(tell: Arc<Notify>) -> Self {
        Frames { header: [0; HEADER], have: 0, payload: 0, changed: false, tell }
    }

    /// More is wanted from the peer: what it sent before has been applied.
    pub fn wanted(&mut self) {
        if self.changed {
            self.changed = false;
            self.tell.notify_one();
        }
    }

    /// The peer has sent this.
    pub fn passed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let (taken, rest) = bytes.split_at(bytes.len().min(HEADER - self.have));
            self.header[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.changed |= kind == TYPE_SETTINGS && flags & FLAG_ACK == 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_noticed_however_the_bytes_are_cut() {
        let data = [0, 0, 3, 0, 0, 0, 0, 0, 1, 4, 4, 4];
        let settings = [0, 0, 6, TYPE_SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
        let ack = [0, 0, 0, TYPE_SETTINGS, FLAG_ACK, 0, 0, 0, 0];
        for cut in 1..40 {
            let mut frames = Frames::new(Arc::default());
            for piece in [&data[..], &ack, &data].concat().chunks(cut) {
                frames.passed(piece);
            }
            assert!(!frames.changed, "cut at {cut}");
            for piece in [&data[..], &settings, &data].concat().chunks(cut) {
                frames.passed(piece);
            }
            assert!(frames.changed, "cut at {cut}");
            frames.wanted();
            assert!(!frames.changed);
        }
    }
}
