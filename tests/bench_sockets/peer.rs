//! A server of presence, and its clients: what a benchmark must know of it, whatever protocol it speaks.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, interval_at};

/// How long a peer may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The processor of the servers. The driver has the next one.
pub(crate) const SERVER_CORE: &str = "0";

/// Frames that all clients have sent and received after they were open.
pub(crate) static FRAMES: AtomicU64 = AtomicU64::new(0);

/// Connections that a server closed.
pub(crate) static CLOSED: AtomicU64 = AtomicU64::new(0);

/// A running server.
pub(crate) trait Peer {
    type Session: Session;

    fn name(&self) -> &str;

    fn pid(&self) -> u32;

    fn address(&self) -> SocketAddr;

    /// Opens a session on a new connection.
    async fn open(&self, line: &mut Line, who: &Who) -> io::Result<Self::Session>;

    /// Opens a connection. A watcher tells what it hears.
    async fn connect(&self, who: Who, heard: Option<&Heard>) -> io::Result<Client> {
        let mut line = Line::open(self.address()).await?;
        let session = tokio::time::timeout(PATIENCE, self.open(&mut line, &who)).await??;
        let (order, orders) = mpsc::unbounded_channel();
        let number = match who {
            Who::Watcher { number, .. } => number,
            Who::Device { device, .. } => device,
        };
        let heard = heard.map(|heard| (number, heard.0.clone()));
        Ok(Client { task: tokio::spawn(run(line, session, heard, orders)), order })
    }

    /// Opens a device of a user.
    async fn device(&self, user: usize, device: usize) -> io::Result<Client> {
        self.connect(Who::Device { user, device, fully: false }, None).await
    }
}

/// Who opens a connection.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// Somebody who hears of these users.
    Watcher { number: usize, users: Range<usize> },
    /// A device of a user. If it comes `fully`, it also asks for what an app asks for at its start, and has two
    /// subscriptions.
    Device { user: usize, device: usize, fully: bool },
}

/// The protocol of an open connection.
pub(crate) trait Session: Send + 'static {
    /// What the client sends on its own, and how often.
    const KEEPALIVE: Option<(Duration, &'static [u8])> = None;

    /// Whether a user can say what it is doing.
    const HAS_STATUS: bool = false;

    /// Handles what is complete of the received bytes, and adds what it answers. Returns how many bytes those were.
    fn receive(&mut self, received: &[u8], answer: &mut Vec<u8>, hear: &mut dyn FnMut(usize, bool)) -> usize;

    /// Says goodbye.
    fn goodbye(&self) -> Vec<u8>;

    /// Says what its user is doing, if users can.
    fn status(&mut self, _: &str) -> Vec<u8> {
        Vec::new()
    }
}

/// A change of a user, as a watcher heard it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// The number of the watcher.
    pub(crate) watcher: usize,
    pub(crate) user: usize,
    pub(crate) online: bool,
    pub(crate) at: Instant,
}

/// Where watchers tell what they hear.
pub(crate) struct Heard(pub(crate) mpsc::UnboundedSender<Change>);

impl Heard {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Change>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }
}

enum Order {
    Goodbye,
    Freeze,
    Status(String),
}

/// An open connection. If dropped, it is cut.
pub(crate) struct Client {
    task: JoinHandle<()>,
    order: mpsc::UnboundedSender<Order>,
}

impl Client {
    /// Says goodbye and closes the connection.
    pub(crate) fn goodbye(self) {
        let _ = self.order.send(Order::Goodbye);
    }

    /// Says what its user is doing.
    pub(crate) fn status(&self, text: String) {
        let _ = self.order.send(Order::Status(text));
    }

    /// Closes the connection without a word, as the system does for a killed process.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    /// Never reads or writes again, and keeps the connection open, like a device that lost its network.
    pub(crate) fn freeze(&self) {
        let _ = self.order.send(Order::Freeze);
    }
}

async fn run<S: Session>(
    mut line: Line,
    mut session: S,
    heard: Option<(usize, mpsc::UnboundedSender<Change>)>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut keepalive = S::KEEPALIVE.map(|(every, _)| interval_at((Instant::now() + every).into(), every));
    let mut answer = Vec::new();
    let mut hear = |user, online| {
        if let Some((watcher, heard)) = &heard {
            let _ = heard.send(Change { watcher: *watcher, user, online, at: Instant::now() });
        }
    };
    loop {
        let handled = session.receive(&line.received, &mut answer, &mut hear);
        line.received.drain(..handled);
        if !answer.is_empty() {
            if line.stream.write_all(&answer).await.is_err() {
                CLOSED.fetch_add(1, Ordering::Relaxed);
                return;
            }
            answer.clear();
        }
        tokio::select! {
            read = line.stream.read_buf(&mut line.received) => if !matches!(read, Ok(1..)) {
                CLOSED.fetch_add(1, Ordering::Relaxed);
                return;
            },
            () = tick(&mut keepalive) => answer.extend_from_slice(S::KEEPALIVE.map_or(&[], |(_, frame)| frame)),
            order = orders.recv() => match order {
                Some(Order::Goodbye) => {
                    let _ = line.stream.write_all(&session.goodbye()).await;
                    return;
                }
                Some(Order::Freeze) => {
                    while orders.recv().await.is_some() {}
                    return;
                }
                Some(Order::Status(text)) => answer.extend(session.status(&text)),
                // Nobody has it any more.
                None => return,
            },
        }
    }
}

async fn tick(keepalive: &mut Option<Interval>) {
    match keepalive {
        Some(keepalive) => drop(keepalive.tick().await),
        None => std::future::pending().await,
    }
}

/// A connection on which a session is opened.
pub(crate) struct Line {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Line {
    /// Opens one, from one of many addresses, since each has 28,000 ports only.
    pub(crate) async fn open(to: SocketAddr) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = (NEXT.fetch_add(1, Ordering::Relaxed) % 64) as u8;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, 1 + next), 0)))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads until this finds something, which it returns with the number of bytes that this is.
    pub(crate) async fn read<T>(&mut self, mut find: impl FnMut(&[u8]) -> Option<(T, usize)>) -> io::Result<T> {
        loop {
            if let Some((found, length)) = find(&self.received) {
                self.received.drain(..length);
                return Ok(found);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, String::from_utf8_lossy(&self.received)));
            }
        }
    }

    /// Reads up to and including these bytes. Returns all that came before them, and they.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        self.read(|received| {
            let length = memchr::memmem::find(received, end)? + end.len();
            Some((received[..length].to_vec(), length))
        })
        .await
    }
}
