//! The task that stores what sockets say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::error_chain::ErrorChain;
use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::event::{EndReason, Event, EventKind};
use reachability_domain::presence::message::{Accepted, PresenceMessage};
use reachability_domain::presence::sockets::{Socket, Sockets};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_worker::{Failure, Received, Worker};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

/// Maximum number of messages per batch.
pub(super) const BATCH: usize = 500;

/// After how long what failed is tried again for the first time.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// After how long a renewal that failed is tried again.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);

/// The longest time until what failed is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// After how long the rows of sockets that have ended are removed, together. If the process is killed before, the next start
/// ends these sockets again, which makes nobody online or offline.
const REMOVE_AFTER: Duration = Duration::from_millis(100);

/// How many messages wait for a retry until no more sockets are opened.
const MAX_RETRIES: usize = 10_000;

/// A socket that is open, and what its client says with its connect.
pub(crate) struct Hello {
    pub(crate) socket: Socket,
    /// What the client calls its device.
    pub(crate) device: Option<String>,
    /// What its user wants to show from now on.
    pub(crate) wish: Disclose,
}

/// What happened to sockets, and when.
pub(super) enum Said {
    Connected(Hello, Timestamp, oneshot::Sender<Result<(), Failure>>),
    /// It counts from when it is handled: what others see of a goodbye is then one time only, as of who becomes invisible.
    Disconnected(Socket, EndReason),
    Renewed(Box<dyn FnOnce() -> Vec<Socket> + Send>),
    Finish,
}

/// An event of a socket that waits for its turn.
pub(super) struct Pending {
    event: Event,
    wish: Disclose,
    /// Where the caller of a connect waits.
    answer: Option<oneshot::Sender<Result<(), Failure>>>,
    /// How often it failed.
    failed: u32,
}

impl Pending {
    fn new(Socket { user, connection }: Socket, occurred_at: Timestamp, kind: EventKind) -> Self {
        let event = Event { user, connection, occurred_at, kind };
        Self { event, wish: Disclose::default(), answer: None, failed: 0 }
    }

    pub(super) fn ended(socket: Socket, at: Timestamp, reason: EndReason) -> Self {
        Self::new(socket, at, EventKind::Disconnect { reason })
    }

    fn socket(&self) -> Socket {
        Socket { user: self.event.user.clone(), connection: self.event.connection.clone() }
    }

    /// It counts as accepted when it is handled.
    pub(super) fn message(&self) -> PresenceMessage {
        PresenceMessage::Event(Accepted { wish: self.wish.clone(), ..Accepted::new(self.event.clone(), None) })
    }

    fn received(&self) -> Received<PresenceMessage> {
        Received::new(self.message(), self.failed > 0)
    }
}

/// Stores what is said.
pub(super) struct Task {
    sockets: Arc<dyn Sockets>,
    worker: Worker,
    /// Open sockets whose users are to be online in a new generation. They wait behind everything else.
    renewals: BTreeMap<ConnectionId, Socket>,
    /// Until when they wait, since one failed.
    renewals_at: Option<Instant>,
    /// What failed, by the time of its next attempt.
    retries: BTreeMap<Instant, Vec<Pending>>,
    /// Sockets whose rows can be removed.
    ended: Vec<Socket>,
    /// When they are removed; `None` if there are none.
    remove_at: Option<Instant>,
}

impl Task {
    pub(super) fn new(sockets: Arc<dyn Sockets>, worker: Worker) -> Self {
        Self {
            sockets,
            worker,
            renewals: BTreeMap::new(),
            renewals_at: None,
            retries: BTreeMap::new(),
            ended: vec![],
            remove_at: None,
        }
    }

    /// Handles what is said, until it is told to finish.
    pub(super) async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Said>) {
        let (mut heard, mut is_finished) = (Vec::with_capacity(BATCH), false);
        while !is_finished {
            tokio::select! {
                biased;
                found = waiting.recv_many(&mut heard, BATCH) => is_finished = found == 0,
                () = self.due() => {}
            }
            let (now, mut batch) = (clock::now(), Vec::with_capacity(heard.len()));
            for said in heard.drain(..) {
                is_finished |= matches!(said, Said::Finish);
                if !is_finished {
                    self.take(said, &mut batch, now);
                }
            }
            self.take_retries(&mut batch, is_finished);
            self.take_renewals(&mut batch, now);
            self.handle(batch, now).await;
            // Many in one write, but no more than can be written at once.
            let is_due = self.remove_at.is_some_and(|at| at <= Instant::now());
            if is_finished || is_due || self.ended.len() >= BATCH {
                self.remove_ended().await;
            }
        }
    }

    /// Waits until there is something to do besides what is said.
    async fn due(&self) {
        let renewals = (!self.renewals.is_empty()).then(|| self.renewals_at.unwrap_or_else(Instant::now));
        match self.retries.keys().next().copied().into_iter().chain(renewals).chain(self.remove_at).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, said: Said, batch: &mut Vec<Pending>, now: Timestamp) {
        match said {
            Said::Connected(Hello { socket, device, wish }, at, answer) => {
                let connect = EventKind::Connect { lease: None, device: device.map(String::into_boxed_str) };
                batch.push(Pending { wish, answer: Some(answer), ..Pending::new(socket, at, connect) });
            }
            Said::Disconnected(socket, reason) => {
                // If it is forgotten that it has ended, a renewal would open it again.
                self.renewals.remove(&socket.connection);
                batch.push(Pending::ended(socket, now, reason));
            }
            Said::Renewed(open) => {
                self.renewals.extend(open().into_iter().map(|socket| (socket.connection.clone(), socket)));
            }
            Said::Finish => {}
        }
    }

    /// Takes what is to be tried again now, or, for the last time, all.
    fn take_retries(&mut self, batch: &mut Vec<Pending>, all: bool) {
        let now = Instant::now();
        while let Some(entry) = self.retries.first_entry().filter(|entry| all || *entry.key() <= now) {
            batch.extend(entry.remove());
        }
    }

    fn take_renewals(&mut self, batch: &mut Vec<Pending>, now: Timestamp) {
        if self.renewals_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.renewals_at = None;
        while batch.len() < BATCH
            && let Some((_, socket)) = self.renewals.pop_first()
        {
            batch.push(Pending::new(socket, now, EventKind::Renew { lease: None }));
        }
    }

    async fn handle(&mut self, mut batch: Vec<Pending>, now: Timestamp) {
        if self.retries.values().map(Vec::len).sum::<usize>() > MAX_RETRIES {
            for connect in batch.extract_if(.., |pending| pending.answer.is_some()) {
                answer(connect.answer, Err(unavailable("too much is to be stored first")));
            }
        }
        if batch.is_empty() {
            return;
        }
        let messages = batch.iter().map(Pending::received).collect();
        let failures = self.worker.process_received(messages, now).await;
        let mut failures: BTreeMap<usize, Failure> = failures.into_iter().collect();
        // The sockets of a service that was deleted just now may say something still.
        let mut told = failures.values().filter(|failure| !matches!(failure, Failure::UnknownService(_)));
        if let Some(failure) = told.next() {
            let failed = 1 + told.count();
            error!(error = %ErrorChain(failure), failed, "what sockets said could not be stored");
        }
        for (index, pending) in batch.into_iter().enumerate() {
            match failures.remove(&index) {
                None => self.stored(pending),
                Some(failure) => self.failed(pending, failure),
            }
        }
    }

    fn stored(&mut self, pending: Pending) {
        if let EventKind::Disconnect { .. } = pending.event.kind {
            self.ended(pending.socket());
        }
        answer(pending.answer, Ok(()));
    }

    fn failed(&mut self, pending: Pending, failure: Failure) {
        let (is_permanent, socket) = (failure.is_permanent(), pending.socket());
        if let EventKind::Renew { .. } = pending.event.kind {
            if !is_permanent {
                // Not with the others: its socket may end before it is tried again.
                self.renewals.insert(socket.connection.clone(), socket);
                self.renewals_at = Some(Instant::now() + RENEWAL_RETRY);
            }
            return;
        }
        let again = match pending.answer {
            // It may have been stored after all, and its caller knows nothing of it any more.
            Some(waiting) => {
                answer(Some(waiting), Err(failure));
                self.renewals.remove(&socket.connection);
                Pending::ended(socket.clone(), clock::now(), EndReason::ServerClosed)
            }
            None => Pending { failed: pending.failed + 1, ..pending },
        };
        if !is_permanent {
            let backoff = MAX_BACKOFF.min(FIRST_RETRY * 2_u32.pow(again.failed.min(10)));
            self.retries.entry(Instant::now() + backoff).or_default().push(again);
        } else {
            // There is no such service any more, or no retry could read the user's record.
            self.ended(socket);
        }
    }

    fn ended(&mut self, socket: Socket) {
        self.ended.push(socket);
        self.remove_at.get_or_insert_with(|| Instant::now() + REMOVE_AFTER);
    }

    /// Removes the rows of the sockets that have ended. If that fails, it is done later, or by the next start, for which they
    /// have ended already.
    async fn remove_ended(&mut self) {
        if self.ended.is_empty() {
            return;
        }
        match self.sockets.closed(&self.ended).await {
            Ok(()) => {
                self.ended.clear();
                self.remove_at = None;
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "the rows of closed sockets could not be removed");
                self.remove_at = Some(Instant::now() + REMOVE_AFTER);
            }
        }
    }
}

fn answer(waiting: Option<oneshot::Sender<Result<(), Failure>>>, answer: Result<(), Failure>) {
    if let Some(waiting) = waiting {
        // If nobody waits any more, the socket was reported as lost.
        let _ = waiting.send(answer);
    }
}

pub(super) fn unavailable(why: &'static str) -> Failure {
    StoreError::Unavailable(why.into()).into()
}
