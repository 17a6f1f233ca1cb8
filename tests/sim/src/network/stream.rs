//! The two ends of a stream, and the listener that hands out the far ones.

use super::{End, Item, Network, Queue, WINDOW};
use net::BoxFuture;
use net::transport::{Listen, Stream};
use std::future::poll_fn;
use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use types::Result;

pub(super) struct Listener {
    pub(super) network: Network,
    pub(super) addr: SocketAddr,
    pub(super) queue: Arc<Mutex<Queue>>,
}

impl Listen for Listener {
    fn accept(&mut self) -> BoxFuture<'_, Result<Stream>> {
        Box::pin(poll_fn(|context| {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            match queue.streams.pop_front() {
                Some(stream) => Poll::Ready(Ok(stream)),
                None => {
                    queue.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.network.state();
        // A later process of the host may listen there by now.
        if state.listeners.get(&self.addr).is_some_and(|queue| Arc::ptr_eq(queue, &self.queue)) {
            state.listeners.remove(&self.addr);
        }
    }
}

pub(super) struct Reader {
    pub(super) network: Network,
    pub(super) pipe: u64,
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        let writer = {
            let mut state = self.network.state();
            let Some(pipe) = state.pipes.get_mut(&self.pipe) else {
                return Poll::Ready(Err(IoError::from(ErrorKind::ConnectionReset)));
            };
            if pipe.arrived.is_empty() {
                return match pipe.end {
                    Some(End::Fin) => Poll::Ready(Ok(())),
                    Some(End::Reset) => Poll::Ready(Err(IoError::from(ErrorKind::ConnectionReset))),
                    None => {
                        pipe.reader = Some(context.waker().clone());
                        Poll::Pending
                    }
                };
            }
            let (first, _) = pipe.arrived.as_slices();
            let len = first.len().min(into.remaining());
            into.put_slice(&first[..len]);
            pipe.arrived.drain(..len);
            pipe.bytes -= len.min(pipe.bytes);
            pipe.writer.take()
        };
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(pipe) = self.network.state().pipes.get_mut(&self.pipe) {
            pipe.reader_gone = true;
            pipe.arrived.clear();
        }
    }
}

pub(super) struct Writer {
    pub(super) network: Network,
    pub(super) pipe: u64,
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<IoResult<usize>> {
        let mut state = self.network.state();
        let Some(pipe) = state.pipes.get_mut(&self.pipe) else {
            return Poll::Ready(Err(IoError::from(ErrorKind::BrokenPipe)));
        };
        let from = pipe.from;
        if state.is_mute(from) {
            // Its host has stopped: this is never sent, and what says so goes on for a moment only.
            return Poll::Ready(Ok(data.len()));
        }
        let Some(pipe) = state.pipes.get_mut(&self.pipe) else { return Poll::Ready(Ok(data.len())) };
        let back = pipe.back;
        // A reset that has come is seen by the writer, too.
        let is_reset = state.pipes.get(&back).is_none_or(|back| back.end == Some(End::Reset));
        let Some(pipe) = state.pipes.get_mut(&self.pipe) else { return Poll::Ready(Ok(data.len())) };
        if is_reset || pipe.writer_gone {
            return Poll::Ready(Err(IoError::from(ErrorKind::BrokenPipe)));
        }
        if pipe.bytes >= WINDOW {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = data.len().min(WINDOW - pipe.bytes);
        state.send(self.pipe, Item::Data(data[..len].to_vec()));
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Writer {
    fn finish(&self) {
        let mut state = self.network.state();
        let Some(pipe) = state.pipes.get_mut(&self.pipe) else { return };
        if !std::mem::replace(&mut pipe.writer_gone, true) {
            let from = pipe.from;
            if !state.is_mute(from) {
                state.send(self.pipe, Item::Fin);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}
