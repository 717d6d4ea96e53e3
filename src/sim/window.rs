//! The stream window of a simulated APNs connection.
//!
//! APNs lets a fresh connection open one stream, widens the window after the first accepted
//! request and may narrow it again after a refusal (vendors-apns-fcm.md, A.10). hyper cannot
//! change `MAX_CONCURRENT_STREAMS` once a connection runs, so [`Windowed`] sits below it and edits
//! the frames: the number in hyper's own SETTINGS frame, further SETTINGS frames written between
//! two others, and the acknowledgements of those, which hyper must not see. Not simulated: a
//! stream opened above the window is served, where Apple would refuse it.
//!
//! Fault rules use the same place: they limit the window, and have a connection leave with a GOAWAY
//! that names fewer streams than the client has begun, which hyper never sends by itself.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Streams of a connection that has proved itself (A.10: 1000 is typical).
pub const STREAMS_OPEN: u32 = 1_000;
/// Octets of a frame header (RFC 9113, 4.1).
const HEADER: usize = 9;
/// Octets of the client's preface (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// Octets of one setting.
const SETTING: usize = 6;
/// Frame type SETTINGS.
const TYPE_SETTINGS: u8 = 4;
/// Frame type HEADERS.
const TYPE_HEADERS: u8 = 1;
/// Frame type GOAWAY.
const TYPE_GOAWAY: u8 = 7;
/// Octets of a GOAWAY before its debug data.
const GOAWAY_FIXED: usize = 8;
/// The bits of a stream's number.
const STREAM_BITS: u32 = 0x7fff_ffff;
/// Flag ACK of a SETTINGS frame.
const FLAG_ACK: u8 = 1;
/// The setting `MAX_CONCURRENT_STREAMS`.
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
/// Octets read at once.
const READ: usize = 16 * 1024;

/// How many streams the client may have open; shared by the answering side and the socket.
#[derive(Debug)]
pub struct Window {
    streams: AtomicU32,
    limit: AtomicU32,
    leaving: AtomicBool,
    last_words: Mutex<String>,
}

impl Window {
    /// A window of so many streams.
    pub fn new(streams: u32) -> Arc<Self> {
        Arc::new(Window {
            streams: AtomicU32::new(streams),
            limit: AtomicU32::new(u32::MAX),
            leaving: AtomicBool::new(false),
            last_words: Mutex::default(),
        })
    }

    /// Announces another size with the next frame that is written, or when the connection is
    /// polled.
    pub fn set(&self, streams: u32) {
        self.streams.store(streams, Ordering::Release);
    }

    /// Allows no more than so many, whatever [`Window::set`] says.
    pub fn limit(&self, streams: u32) {
        self.limit.store(streams, Ordering::Release);
    }

    /// Meets the next stream that is begun with a GOAWAY, without processing it.
    pub fn leave(&self, debug: &str) {
        debug.clone_into(&mut lock(&self.last_words));
        self.leaving.store(true, Ordering::Release);
    }

    /// The size wanted now.
    pub fn get(&self) -> u32 {
        self.streams.load(Ordering::Acquire).min(self.limit.load(Ordering::Acquire))
    }
}

fn lock(words: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    words.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where in a sequence of frames a direction is.
#[derive(Debug, Default)]
struct Cursor {
    header: [u8; HEADER],
    have: usize,
    payload: usize,
}

impl Cursor {
    fn between_frames(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// Octets until the next boundary that can be told from what has been seen.
    fn until_boundary(&self) -> usize {
        if self.payload > 0 { self.payload } else { HEADER - self.have }
    }

    /// Takes one piece of `octets` that lies in a single header or payload; a header that is
    /// complete is returned.
    fn step<'a>(&mut self, octets: &'a [u8]) -> (&'a [u8], Option<[u8; HEADER]>) {
        let piece = &octets[..octets.len().min(self.until_boundary())];
        if self.payload > 0 {
            self.payload -= piece.len();
            return (piece, None);
        }
        self.header[self.have..self.have + piece.len()].copy_from_slice(piece);
        self.have += piece.len();
        if self.have < HEADER {
            return (piece, None);
        }
        self.have = 0;
        self.payload = payload_length(&self.header);
        (piece, Some(self.header))
    }

    fn advance(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let (piece, _) = self.step(octets);
            octets = &octets[piece.len()..];
        }
    }
}

fn payload_length(header: &[u8]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

/// How far the leaving of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Streams are processed.
    Not,
    /// A stream came that is not: the GOAWAY goes out at the next boundary.
    Due,
    /// It is on its way.
    Said,
}

/// A socket whose HTTP/2 SETTINGS follow a [`Window`].
pub struct Windowed<S> {
    socket: S,
    window: Arc<Window>,
    announced: u32,
    /// hyper's first frame, while it is being gathered.
    opening: Option<Vec<u8>>,
    outbound: Cursor,
    /// Own octets that go out before anything of hyper's.
    own: Vec<u8>,
    own_sent: usize,
    inbound: Cursor,
    acknowledgements: u64,
    dropping: bool,
    /// The highest stream begun that hyper has seen.
    last_stream: u32,
    farewell: Farewell,
    scratch: Box<[u8]>,
    ready: Vec<u8>,
    ready_taken: usize,
}

impl<S> Windowed<S> {
    /// Wraps the server's side of a fresh connection.
    pub fn new(socket: S, window: Arc<Window>) -> Self {
        let announced = window.get();
        Windowed {
            socket,
            window,
            announced,
            opening: Some(Vec::new()),
            outbound: Cursor::default(),
            own: Vec::new(),
            own_sent: 0,
            inbound: Cursor { payload: PREFACE, ..Cursor::default() },
            acknowledgements: 0,
            dropping: false,
            last_stream: 0,
            farewell: Farewell::Not,
            scratch: vec![0; READ].into_boxed_slice(),
            ready: Vec::new(),
            ready_taken: 0,
        }
    }

    /// Gathers hyper's first frame and puts the opening window into it.
    fn gather_opening(&mut self, octets: &[u8]) -> usize {
        let Some(opening) = &mut self.opening else { return 0 };
        let wanted = match opening.len() {
            have @ 0..HEADER => HEADER - have,
            have => HEADER + payload_length(opening) - have,
        };
        let taken = wanted.min(octets.len());
        opening.extend_from_slice(&octets[..taken]);
        if opening.len() >= HEADER && opening.len() == HEADER + payload_length(opening) {
            for setting in opening[HEADER..].chunks_exact_mut(SETTING) {
                if setting[..2] == MAX_CONCURRENT_STREAMS {
                    setting[2..].copy_from_slice(&self.announced.to_be_bytes());
                }
            }
            self.own = self.opening.take().unwrap_or_default();
        }
        taken
    }

    fn announce(&mut self) {
        self.announced = self.window.get();
        self.own.extend_from_slice(&[0, 0, SETTING as u8, TYPE_SETTINGS, 0, 0, 0, 0, 0]);
        self.own.extend_from_slice(&MAX_CONCURRENT_STREAMS);
        self.own.extend_from_slice(&self.announced.to_be_bytes());
    }

    /// Own frames that are due, when a boundary is reached. Answers whether some still wait.
    fn poll_due(&mut self) -> bool {
        let due = self.window.get() != self.announced || self.farewell == Farewell::Due;
        if !due || !self.outbound.between_frames() {
            return due;
        }
        if self.window.get() != self.announced {
            self.announce();
        }
        if self.farewell == Farewell::Due {
            self.farewell = Farewell::Said;
            let debug = lock(&self.window.last_words).clone();
            let length = (GOAWAY_FIXED + debug.len()).to_be_bytes();
            self.own.extend_from_slice(&length[length.len() - 3..]);
            self.own.extend_from_slice(&[TYPE_GOAWAY, 0, 0, 0, 0, 0]);
            self.own.extend_from_slice(&self.last_stream.to_be_bytes());
            // NO_ERROR.
            self.own.extend_from_slice(&[0; 4]);
            self.own.extend_from_slice(debug.as_bytes());
        }
        false
    }

    /// Whether a frame is of a stream that the farewell declares unprocessed; begins the farewell
    /// with the first such stream.
    fn is_unprocessed(&mut self, header: &[u8; HEADER]) -> bool {
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & STREAM_BITS;
        if stream <= self.last_stream {
            return false;
        }
        if header[3] == TYPE_HEADERS && self.farewell == Farewell::Not {
            if !self.window.leaving.load(Ordering::Acquire) {
                self.last_stream = stream;
                return false;
            }
            self.farewell = Farewell::Due;
        }
        self.farewell != Farewell::Not
    }

    /// Moves what was read to hyper, without the acknowledgements of our own frames.
    fn filter(&mut self, read: usize) {
        let mut start = 0;
        while start < read {
            let (piece, header) = self.inbound.step(&self.scratch[start..read]);
            start += piece.len();
            match header {
                Some(header) => {
                    let ack = header[3] == TYPE_SETTINGS && header[4] & FLAG_ACK != 0;
                    self.acknowledgements += u64::from(ack);
                    let ours = ack && self.acknowledgements > 1;
                    self.dropping = ours || self.is_unprocessed(&header);
                    if !self.dropping {
                        self.ready.extend_from_slice(&header);
                    }
                }
                None if self.inbound.have > 0 || self.dropping => {}
                None => self.ready.extend_from_slice(piece),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Windowed<S> {
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own_sent < self.own.len() {
            let rest = &self.own[self.own_sent..];
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.own_sent += sent,
            }
        }
        self.own.clear();
        self.own_sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Windowed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own(cx))?;
        if this.opening.is_some() {
            return Poll::Ready(Ok(this.gather_opening(octets)));
        }
        let mut limit = octets.len();
        if this.poll_due() {
            limit = limit.min(this.outbound.until_boundary());
        }
        ready!(this.poll_own(cx))?;
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, &octets[..limit]))?;
        this.outbound.advance(&octets[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.opening.is_none() {
            this.poll_due();
        }
        ready!(this.poll_own(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_own(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Windowed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let rest = &this.ready[this.ready_taken..];
            if !rest.is_empty() {
                let taken = rest.len().min(buffer.remaining());
                buffer.put_slice(&rest[..taken]);
                this.ready_taken += taken;
                return Poll::Ready(Ok(()));
            }
            this.ready.clear();
            this.ready_taken = 0;
            let mut scratch = ReadBuf::new(&mut this.scratch);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut scratch))?;
            match scratch.filled().len() {
                0 => return Poll::Ready(Ok(())),
                read => this.filter(read),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ACK: [u8; HEADER] = [0, 0, 0, TYPE_SETTINGS, FLAG_ACK, 0, 0, 0, 0];

    fn settings(streams: u32) -> Vec<u8> {
        let mut frame = vec![0, 0, 6, TYPE_SETTINGS, 0, 0, 0, 0, 0, 0, 3];
        frame.extend_from_slice(&streams.to_be_bytes());
        frame
    }

    #[tokio::test]
    async fn the_window_is_announced_between_frames_only() {
        let (near, mut far) = tokio::io::duplex(4096);
        let window = Window::new(1);
        let mut socket = Windowed::new(near, Arc::clone(&window));
        socket.write_all(&settings(1_000)).await.unwrap();
        let frame = [0, 0, 2, 0, 0, 0, 0, 0, 1, 7, 8];
        socket.write_all(&frame[..5]).await.unwrap();
        window.set(1_000);
        socket.write_all(&frame[5..]).await.unwrap();
        socket.write_all(&frame).await.unwrap();
        drop(socket);
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        let wanted = [settings(1), frame.to_vec(), settings(1_000), frame.to_vec()].concat();
        assert_eq!(seen, wanted);
    }

    #[tokio::test]
    async fn a_stream_after_the_order_to_leave_is_met_with_a_goaway_and_not_seen() {
        let head = |stream: u8| vec![0, 0, 2, TYPE_HEADERS, 5, 0, 0, 0, stream, 7, 8];
        let (near, mut far) = tokio::io::duplex(4096);
        let window = Window::new(1_000);
        let mut socket = Windowed::new(near, Arc::clone(&window));
        socket.write_all(&settings(1_000)).await.unwrap();
        far.write_all(&[&[b'p'; PREFACE][..], &head(1)].concat()).await.unwrap();
        let mut seen = vec![0; PREFACE + head(1).len()];
        socket.read_exact(&mut seen).await.unwrap();
        window.leave("bye");
        // Another frame of a stream that was begun is seen, streams begun later are not.
        let data = vec![0, 0, 1, 0, 1, 0, 0, 0, 1, 9];
        far.write_all(&[head(3), data.clone(), head(5)].concat()).await.unwrap();
        far.shutdown().await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, data);
        socket.flush().await.unwrap();
        drop(socket);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        let goaway = [&[0, 0, 11, TYPE_GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], b"bye"];
        assert_eq!(sent, [settings(1_000), goaway.concat()].concat());
    }

    #[tokio::test]
    async fn only_the_first_acknowledgement_reaches_hyper_however_it_is_cut() {
        for cut in 1..60 {
            let (near, mut far) = tokio::io::duplex(4096);
            let mut socket = Windowed::new(near, Window::new(1));
            let frame = [0, 0, 2, 0, 0, 0, 0, 0, 1, 7, 8];
            let sent = [&[b'p'; PREFACE][..], &ACK, &frame, &ACK, &frame].concat();
            let sending = async {
                for piece in sent.chunks(cut) {
                    far.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(far);
            };
            let mut seen = Vec::new();
            let (_, read) = tokio::join!(sending, socket.read_to_end(&mut seen));
            read.unwrap();
            assert_eq!(seen, [&[b'p'; PREFACE][..], &ACK, &frame, &frame].concat());
        }
    }
}
