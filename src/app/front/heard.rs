//! A stream that ends when its peer takes nothing of what is written for too long. Whoever asks and
//! never reads would keep a connection, and its answers in memory, for ever: once the first
//! answers fill the system's buffers, no other timeout runs.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What can be closed without waiting for the peer to take what was written.
pub trait Discard {
    /// Closing will throw away what the peer has not taken.
    fn discard(&self);
}

impl Discard for TcpStream {
    fn discard(&self) {
        // Else the system would go on offering it to the peer after the connection is gone here.
        let _ = self.set_zero_linger();
    }
}

/// See the module. Belongs below TLS, where octets that were written have left.
pub struct Heard<S> {
    stream: S,
    longest: Duration,
    /// Runs while the peer takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S: Discard> Heard<S> {
    /// Ends when the peer takes nothing for `longest`.
    pub fn new(stream: S, longest: Duration) -> Self {
        Heard { stream, longest, stuck: None }
    }

    /// What a write came to, or its end when none came to anything for too long.
    fn or_end<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let longest = self.longest;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(longest)));
        if stuck.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.stream.discard();
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Discard + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.or_end(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.or_end(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    impl Discard for DuplexStream {
        fn discard(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_ends_the_stream() {
        let (near, _far) = duplex(16);
        let mut near = Heard::new(near, LONGEST);
        let began = Instant::now();
        let error = near.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LONGEST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_in_time_is_served_to_the_end() {
        let (near, mut far) = duplex(16);
        let mut near = Heard::new(near, LONGEST);
        let began = Instant::now();
        let slow = async {
            for _ in 0..4 {
                tokio::time::advance(LONGEST - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 16]).await.expect("read");
            }
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 64]), slow);
        written.expect("all of it");
        assert!(began.elapsed() > LONGEST * 3, "each step has a time of its own");
    }
}
