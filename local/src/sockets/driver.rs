//! The task of a socket, whatever protocol it speaks: drives its session with what happens, and has what is done for every
//! session ([`actions`]).
//!
//! There are many sockets, and most are idle: the task's future is small, and what is large is boxed and dropped when it is
//! done.

mod actions;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use reachability_domain::metrics::Counter;
use reachability_domain::presence::event::EndReason;
use reachability_domain::time::Timestamp;
use reachability_gateway::session::Cause;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use self::actions::Work;
use super::Sockets;
use super::frames::{Frame, Next, Reader, Received, Violation};
use super::open::Joined;
use super::protocol::{Event, Protocol};
use super::registry::Place;
use super::wire::Wire;

/// How long a client may take to close its side of a closed socket.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How much is read at a time, in bytes.
const READ_AT_ONCE: usize = 16 * 1024;

/// How often something is done for a socket before its timer is looked at.
const READS_BEFORE_TIMER: u32 = 16;

/// How much later than needed a timer may be set: moving it on with every frame costs more than one that finds nothing to do.
const SLACK: Duration = Duration::from_secs(1);

thread_local! {
    /// What is read goes here first: an idle socket needs no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AT_ONCE].into());
}

/// Serves a socket until it is closed.
///
/// `early` is what the client sent with its request already.
pub(super) fn run<P: Protocol>(
    sockets: Arc<Sockets>,
    stream: TcpStream,
    mut early: Vec<u8>,
    place: Place,
) -> impl Future<Output = ()> + Send {
    let mut driver = Driver::<P>::new(sockets, stream, place);
    driver.receive(&mut early);
    // Nothing else is in the future.
    async move {
        let mut timer = pin!(sleep_until(driver.due()));
        poll_fn(|context| driver.poll(context, timer.as_mut())).await;
    }
}

/// What there is of an open session besides its protocol.
pub(super) struct OpenSession<P: Protocol> {
    pub(super) joined: Joined,
    pub(super) open: P::Open,
}

pub(super) struct Driver<P: Protocol> {
    pub(super) sockets: Arc<Sockets>,
    read: OwnedReadHalf,
    pub(super) wire: Arc<Wire>,
    reader: Reader,
    pub(super) session: Box<P>,
    /// `None` before the session is open, and after it ended.
    pub(super) open: Option<Box<OpenSession<P>>>,
    work: Vec<Work<P>>,
    stage: Stage,
    /// The reader has more, which was not handled yet.
    is_paused: bool,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The last frame is sent or waits: the client has until this time to close its side.
    Closing(Instant),
    Closed,
}

impl<P: Protocol> Driver<P> {
    fn new(sockets: Arc<Sockets>, stream: TcpStream, place: Place) -> Self {
        let (read, wire) = Wire::of(stream, sockets.next_number());
        place.open(&wire);
        let session = Box::new(P::new(sockets.now()));
        sockets.metrics.add(Counter::SocketsOpened);
        Self {
            sockets,
            read,
            wire,
            reader: Reader::default(),
            session,
            open: None,
            work: vec![],
            stage: Stage::Open,
            is_paused: false,
            place,
        }
    }

    /// Does what there is to do. Ready when the socket is closed.
    fn poll(&mut self, context: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        self.wire.register(context.waker());
        let mut turns = 0;
        loop {
            let flushed = self.wire.poll_flush(context);
            // While nothing of the client is read, this shows that it is there.
            if !self.reads() && self.wire.has_taken() {
                self.session.hear(self.sockets.now());
            }
            if let Poll::Ready(Err(error)) = &flushed {
                debug!(%error, "a socket broke");
                self.leave(EndReason::ConnectionLost);
                self.stage = Stage::Closed;
            }
            match self.stage {
                Stage::Closed => return Poll::Ready(()),
                Stage::Closing(_) if flushed.is_ready() => self.wire.shut_down(),
                Stage::Closing(_) | Stage::Open => {}
            }
            let is_more = self.end() || self.work(context) || self.resume() || self.read(context);
            if is_more {
                turns += 1;
                // The timer has no turn while there is always something to read.
                if turns % READS_BEFORE_TIMER == 0 && self.due() <= Instant::now() {
                    self.tick();
                }
                continue;
            }
            let due = self.due();
            let set = timer.deadline();
            if due < set || set + SLACK < due || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.tick();
        }
    }

    /// When the timer is due.
    fn due(&self) -> Instant {
        let due = match self.stage {
            Stage::Closing(until) => until,
            Stage::Open | Stage::Closed => self.sockets.instant(self.session_due_at()),
        };
        self.wire.blocked_until().map_or(due, |blocked| due.min(blocked))
    }

    fn session_due_at(&self) -> Timestamp {
        // What the client sent is not read while it is behind, so it cannot be too late. Nor is it while as many answers as there may
        // be wait for it to read.
        let is_slow = self.wire.is_behind() || (self.session.is_busy() && !self.wire.has_room());
        if is_slow { self.session.expires_at() } else { self.session.due_at(&self.sockets) }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let is_blocked = self.wire.blocked_until().is_some_and(|until| until <= now);
        match self.stage {
            _ if is_blocked => {
                debug!("a client is cut off, since it reads nothing");
                self.wire.cut();
            }
            Stage::Closing(until) if until <= now => self.stage = Stage::Closed,
            Stage::Open if self.session_due_at() <= self.sockets.now() => P::take(self, Event::Tick),
            Stage::Open | Stage::Closing(_) | Stage::Closed => {}
        }
    }

    /// Ends the session if somebody asked for it. Returns whether anything was done.
    fn end(&mut self) -> bool {
        let Some(cause) = self.wire.take_end().filter(|_| self.stage == Stage::Open) else { return false };
        if let Some(open) = &mut self.open {
            // It is there with its newer socket.
            let reason = if cause == Cause::Superseded { EndReason::ClientClosed } else { EndReason::ServerClosed };
            open.joined.reason = Some(reason);
        }
        P::take(self, Event::End(cause));
        true
    }

    /// Whether frames of the client are read now.
    fn reads(&self) -> bool {
        // The first work of a socket is to open its session.
        let is_opening = self.open.is_none() && !self.work.is_empty();
        let is_busy = self.session.is_busy() || self.wire.is_behind();
        self.stage == Stage::Open && !is_opening && !is_busy
    }

    /// Handles what the reader kept. Returns whether anything was done.
    fn resume(&mut self) -> bool {
        let resumes = self.is_paused && self.reads();
        if resumes {
            self.receive(&mut []);
        }
        resumes
    }

    /// Reads. Returns whether anything was done.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let is_closing = matches!(self.stage, Stage::Closing(_));
        if !is_closing && !self.reads() {
            return false;
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut self.read).poll_read(context, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    if !is_closing {
                        self.receive(buffer.filled_mut());
                    }
                }
                // The client is gone.
                Poll::Ready(_) => {
                    self.leave(EndReason::ConnectionLost);
                    self.stage = Stage::Closed;
                }
            }
            true
        })
    }

    /// Takes what was read.
    fn receive(&mut self, bytes: &mut [u8]) {
        self.is_paused = false;
        if !bytes.is_empty() {
            self.session.hear(self.sockets.now());
        }
        let mut reader = std::mem::take(&mut self.reader);
        let received = reader.read(bytes, self.session.max_message(), |received| {
            match received {
                Received::Message { is_text, payload } => {
                    self.sockets.metrics.add(Counter::FramesReceived);
                    P::take(self, Event::Message { is_text, payload });
                }
                Received::Ping(payload) => {
                    P::take(self, Event::NoMessage);
                    self.wire.send(&Frame::pong(payload));
                }
                Received::Other => P::take(self, Event::NoMessage),
                // Not a goodbye: whoever closes a page may open the next one.
                Received::Close => self.close(&Frame::close(1000, "")),
            }
            self.is_paused = !self.reads();
            if self.is_paused { Next::Pause } else { Next::GoOn }
        });
        self.reader = reader;
        if let Err(violation) = received {
            debug!(%violation, "a socket is closed");
            P::take(self, Event::Violation(violation));
        }
    }

    /// Closes the socket of a client that broke a rule of WebSocket.
    pub(super) fn violated(&mut self, violation: Violation) {
        self.close(&Frame::close(violation.code(), ""));
    }

    /// Sends the last frame.
    pub(super) fn close(&mut self, frame: &Frame) {
        self.leave(EndReason::ConnectionLost);
        if self.stage == Stage::Open {
            self.wire.finish(frame);
            self.stage = Stage::Closing(Instant::now() + CLOSE_WITHIN);
        }
    }
}

impl<P: Protocol> Drop for Driver<P> {
    fn drop(&mut self) {
        self.leave(EndReason::ConnectionLost);
        // Nobody waits for it, and nothing is sent to it any more.
        self.wire.cut();
        self.sockets.metrics.add(Counter::SocketsClosed);
    }
}
