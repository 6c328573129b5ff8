//! The sending side of a socket, for everybody who has something to send: the socket's own task, and the hub.
//!
//! Whoever sends writes to the socket directly, without waking its task. Only what the system does not take at once waits here,
//! and the task sends it on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use reachability_domain::identity::Identity;
use reachability_gateway::session::Cause;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::frames::Frame;

/// How much of what changed may wait for a client, in bytes. One that reads more slowly is cut off, and hears what it missed when
/// it is back.
const MAX_CHANGES: usize = 256 * 1024;

/// How much may wait for a client in all, in bytes: it may have asked for much at once. One for which more waits is cut off.
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// While more than this waits for a client, in bytes, nothing is read from it: its answers would wait too.
const MAX_WAITING_FOR_REQUEST: usize = 256 * 1024;

/// With how much that waits a client is sent one more part of a long answer, in bytes. So an answer of any length holds little
/// memory, and what changes meanwhile does not wait for long.
const MAX_WAITING_FOR_PART: usize = 64 * 1024;

/// How much may wait for all clients together, in bytes. Whoever would make it more is cut off.
const MAX_WAITING_IN_ALL: usize = 256 * 1024 * 1024;

/// How much waits for all clients together, in bytes.
static WAITING_IN_ALL: AtomicUsize = AtomicUsize::new(0);

/// How long a client may read nothing while something waits for it.
pub(super) const MAX_BLOCKED: Duration = Duration::from_secs(10);

/// How much the system may hold for a client that does not read, in bytes.
const SYSTEM_BUFFER: usize = 64 * 1024;

/// The sending side of a socket.
#[derive(Debug)]
pub(super) struct Wire {
    /// The socket's number, never used again in this process.
    pub(super) number: u64,
    stream: OwnedWriteHalf,
    is_text: AtomicBool,
    /// Whose socket it is, once that is known.
    user: OnceLock<Identity>,
    state: Mutex<State>,
    /// The socket's task.
    task: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How much waits, in bytes.
    bytes: usize,
    /// How much of it is changes.
    changes: usize,
    /// Since when the client has read nothing of what waits.
    blocked_since: Option<Instant>,
    /// The client has read something of what waited.
    has_taken: bool,
    /// Nothing more is sent.
    is_finished: bool,
    /// The client is gone, or too slow.
    is_cut: bool,
    /// The server wants the session to end.
    ends: Option<Cause>,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    /// It is a change. The client did not ask when it is told.
    is_change: bool,
}

impl Wire {
    /// The two sides of a socket.
    pub(super) fn of(stream: TcpStream, number: u64) -> (OwnedReadHalf, Arc<Self>) {
        // A larger buffer only delays that a client is found to be too slow.
        let _ = SockRef::from(&stream).set_send_buffer_size(SYSTEM_BUFFER);
        let (read, write) = stream.into_split();
        let wire = Self {
            number,
            stream: write,
            is_text: AtomicBool::new(false),
            user: OnceLock::new(),
            state: Mutex::default(),
            task: AtomicWaker::new(),
        };
        (read, Arc::new(wire))
    }

    /// Whether the client wants messages of text.
    pub(super) fn is_text(&self) -> bool {
        self.is_text.load(Ordering::Relaxed)
    }

    /// Remembers of which type the client's last message was.
    pub(super) fn set_text(&self, is_text: bool) {
        self.is_text.store(is_text, Ordering::Relaxed);
    }

    /// Whose socket it is.
    pub(super) fn belongs_to(&self, user: &Identity) {
        // A socket never becomes another user's.
        let _ = self.user.set(user.clone());
    }

    /// Whether it is a socket of this user.
    pub(super) fn is_of(&self, user: &Identity) -> bool {
        self.user.get() == Some(user)
    }

    /// Sends what the client asked for, after everything else.
    pub(super) fn send(&self, frame: &Frame) {
        self.write(&mut self.lock(), frame, false);
    }

    /// Sends what changed, after everything else.
    pub(super) fn tell(&self, frame: &Frame) {
        self.write(&mut self.lock(), frame, true);
    }

    /// Sends the last frame: nothing is sent after it.
    pub(super) fn finish(&self, frame: &Frame) {
        let mut state = self.lock();
        self.write(&mut state, frame, false);
        state.is_finished = true;
    }

    /// Sends a frame. A client for which too much waits is cut off.
    fn write(&self, state: &mut State, frame: &Frame, is_change: bool) {
        if state.is_finished || state.is_cut {
            return;
        }
        let bytes = frame.bytes();
        let sent = if state.waiting.is_empty() { self.stream.try_write(bytes) } else { Ok(0) };
        match sent {
            Ok(sent) if sent == bytes.len() => return,
            Ok(sent) => state.wait(Waiting { bytes: bytes.slice(sent..), is_change }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.wait(Waiting { bytes: bytes.clone(), is_change });
            }
            Err(_) => state.is_cut = true,
        }
        self.task.wake();
    }

    /// Cuts the client off.
    pub(super) fn cut(&self) {
        self.lock().is_cut = true;
        self.task.wake();
    }

    /// Asks the socket's task to end the session. The first cause counts.
    pub(super) fn end(&self, cause: Cause) {
        self.lock().ends.get_or_insert(cause);
        self.task.wake();
    }

    /// Wakes the task with this waker when it is needed.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// What was asked of the task, once.
    pub(super) fn take_end(&self) -> Option<Cause> {
        self.lock().ends.take()
    }

    /// Whether so much waits that nothing more should be asked.
    pub(super) fn is_behind(&self) -> bool {
        self.lock().bytes > MAX_WAITING_FOR_REQUEST
    }

    /// Whether so little waits that the client can be sent one more part of a long answer.
    pub(super) fn has_room(&self) -> bool {
        self.lock().bytes <= MAX_WAITING_FOR_PART
    }

    /// Waits for that. Only the socket's task may: it is woken when the client reads, and sends on what waits.
    pub(super) async fn room(&self) {
        poll_fn(|_| if self.has_room() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether the client has read something of what waited, since this was last asked.
    pub(super) fn has_taken(&self) -> bool {
        std::mem::take(&mut self.lock().has_taken)
    }

    /// Whether nothing more is sent.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.is_finished || state.is_cut
    }

    /// Until when the client must have read something, if anything waits for it.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.lock().blocked_since.map(|since| since + MAX_BLOCKED)
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// If the client is gone, or was cut off.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut state = self.lock();
            if state.is_cut {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let Some(next) = state.waiting.front_mut() else {
                state.blocked_since = None;
                state.waiting = VecDeque::new();
                return Poll::Ready(Ok(()));
            };
            match self.stream.try_write(&next.bytes) {
                Ok(sent) => {
                    next.bytes.advance(sent);
                    let (is_change, is_sent) = (next.is_change, next.bytes.is_empty());
                    if is_sent {
                        state.waiting.pop_front();
                    }
                    state.bytes -= sent;
                    state.changes -= if is_change { sent } else { 0 };
                    WAITING_IN_ALL.fetch_sub(sent, Ordering::Relaxed);
                    state.blocked_since = Some(Instant::now());
                    state.has_taken = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(state);
                    ready!(self.stream.as_ref().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Tells the client that nothing more comes.
    pub(super) fn shut_down(&self) {
        // It may be gone.
        let _ = SockRef::from(self.stream.as_ref()).shutdown(Shutdown::Write);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, more: Waiting) {
        let size = more.bytes.len();
        self.bytes += size;
        self.changes += if more.is_change { size } else { 0 };
        let in_all = WAITING_IN_ALL.fetch_add(size, Ordering::Relaxed) + size;
        self.waiting.push_back(more);
        self.blocked_since.get_or_insert_with(Instant::now);
        self.is_cut = self.changes > MAX_CHANGES || self.bytes > MAX_WAITING || in_all > MAX_WAITING_IN_ALL;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        WAITING_IN_ALL.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The sending side of a socket whose client does not read, and the client.
    async fn slow() -> (Arc<Wire>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Wire::of(listener.accept().await.unwrap().0, 1).1, client)
    }

    fn frame(bytes: usize) -> Frame {
        Frame::message(false, &vec![0; bytes])
    }

    #[tokio::test]
    async fn a_long_answer_leaves_room_for_what_changes() {
        let (wire, _client) = slow().await;
        wire.send(&frame(8 * 1024 * 1024));
        assert!(wire.is_behind() && !wire.has_room());
        for _ in 0..255 {
            wire.tell(&frame(1_000));
        }
        assert!(!wire.is_finished());
        for _ in 0..10 {
            wire.tell(&frame(1_000));
        }
        assert!(wire.is_finished(), "more than is kept of what changed");

        let (wire, _client) = slow().await;
        wire.send(&frame(8 * 1024 * 1024));
        wire.send(&frame(9 * 1024 * 1024));
        assert!(wire.is_finished(), "more than is kept of all");
    }

    #[tokio::test]
    async fn what_was_read_waits_no_more() {
        let (wire, client) = slow().await;
        for _ in 0..3 {
            wire.send(&frame(1024 * 1024));
            for _ in 0..200 {
                wire.tell(&frame(1_000));
            }
            let read = async {
                let mut buffer = vec![0; 64 * 1024];
                while wire.lock().bytes > 0 {
                    client.readable().await.unwrap();
                    // It may not be readable after all.
                    let _ = client.try_read(&mut buffer);
                }
            };
            let send = poll_fn(|context| wire.poll_flush(context));
            let (sent, ()) = tokio::join!(send, read);
            sent.unwrap();
            let state = wire.lock();
            assert_eq!((state.bytes, state.changes, state.is_cut), (0, 0, false));
        }
    }
}
