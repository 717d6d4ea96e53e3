//! A TCP stream that misbehaves on order: it ends with a reset, falls silent in one direction, or
//! is read no more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a stream was told. Whoever gives an order must have the stream polled after it.
#[derive(Debug, Default)]
pub struct Orders {
    /// Close with a reset instead of an orderly end.
    pub reset: AtomicBool,
    /// End our direction now and go on reading; what is written from now on is dropped.
    pub half_close: AtomicBool,
    /// Read nothing any more.
    pub deaf: AtomicBool,
}

/// The stream.
pub struct Socket {
    tcp: TcpStream,
    orders: Arc<Orders>,
    ended: bool,
}

impl Socket {
    /// A stream that behaves.
    pub fn new(tcp: TcpStream) -> Self {
        Socket { tcp, orders: Arc::default(), ended: false }
    }

    /// Its orders.
    pub fn orders(&self) -> Arc<Orders> {
        Arc::clone(&self.orders)
    }

    /// Ends our direction when told to. Answers whether it is over.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ended && self.orders.half_close.load(Ordering::Acquire) {
            // A TCP stream's write side ends without waiting.
            let _ = Pin::new(&mut self.tcp).poll_shutdown(cx);
            self.ended = true;
        }
        self.ended
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.orders.reset.load(Ordering::Acquire) {
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_ended(cx);
        if self.orders.deaf.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.poll_ended(cx) {
            return Poll::Ready(Ok(octets.len()));
        }
        Pin::new(&mut self.tcp).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_ended(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.poll_ended(cx) {
            return Poll::Ready(Ok(octets.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.tcp).poll_write_vectored(cx, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}
