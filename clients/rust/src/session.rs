//! One connection of a client, from the answer to `connect` to its end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::book::Source;
use crate::disconnect::Disconnect;
use crate::driver::Driver;
use crate::error::{Error, ErrorCode, Refusal};
use crate::event::{Connection, Event};
use crate::incoming::Connected;
use crate::options::TokenFuture;
use crate::pending::{Pending, Purpose};
use crate::request::{CLOSE, MAX_MESSAGE, MAX_RESTORE, Request, Restore, encode};
use crate::shared::{Ask, Command};
use crate::socket::Socket;
use crate::user::User;
use crate::watches::Step;

/// How long until a token that could not be fetched is asked for again. The server warns three minutes before one expires.
const TOKEN_RETRY: Duration = Duration::from_secs(10);

/// The most that a client believes of how long a server may be silent.
const MAX_SILENCE: Duration = Duration::from_secs(3_600);

/// How many requests the server takes before it has answered one.
const MAX_UNDER_WAY: usize = 4;

/// How large a request that restores is planned to be; its members may be more when it is sent.
const RESTORE_SIZE: usize = MAX_RESTORE - MAX_MESSAGE;

/// How a connection ended.
pub(crate) enum End {
    /// So that the client may come back, after this time at the earliest.
    Lost { why: Disconnect, retry_after: Duration },
    /// By the client.
    Ended(Disconnect),
}

impl End {
    pub(crate) fn lost(why: impl Into<Arc<str>>) -> Self {
        Self::Lost { why: Disconnect::told(why), retry_after: Duration::ZERO }
    }
}

pub(crate) struct Session<'a> {
    pub(crate) driver: &'a mut Driver,
    pub(crate) socket: Socket,
    connection_id: Arc<str>,
    /// After how much silence the client asks whether the server is there.
    quiet: Duration,
    /// How long it waits for the answer.
    answer: Duration,
    pub(crate) pending: HashMap<u64, Pending>,
    /// Whether what is asked waits until the watches are restored.
    is_restoring: bool,
    /// The requests to come that restore them.
    steps: VecDeque<Step>,
    /// A new token on its way.
    pub(crate) token: Option<TokenFuture>,
    /// When something was last heard.
    heard: Instant,
    /// When the client asked whether the server is there, if nothing was heard since.
    asked: Option<Instant>,
}

impl<'a> Session<'a> {
    /// Begins: learns what the server says of the own user, and restores the watches.
    pub(crate) fn begin(driver: &'a mut Driver, socket: Socket, connected: Connected) -> Self {
        let Connected { connection_id, user, ping_seconds, answer_seconds, .. } = connected;
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(MAX_SILENCE).min(MAX_SILENCE);
        let (ping, answer) = (seconds(ping_seconds), seconds(answer_seconds));
        let mut session = Self {
            driver,
            socket,
            connection_id,
            // The server asks after `ping` if it heard nothing; so there is something to hear, and it has to come here.
            quiet: ping + answer / 2,
            answer,
            pending: HashMap::new(),
            is_restoring: true,
            steps: VecDeque::new(),
            token: None,
            heard: Instant::now(),
            asked: None,
        };
        session.learn(user);
        session.restore();
        session
    }

    /// Runs until the connection ends. Returns how, and how long it lasted.
    pub(crate) async fn run(mut self) -> (End, Duration) {
        let since = Instant::now();
        let end = self.serve().await;
        self.driver.shared.lock().book.connection_lost();
        for pending in self.pending.into_values() {
            pending.connection_lost();
        }
        if matches!(&end, End::Ended(why) if why.code.is_none()) {
            self.socket.close().await;
        }
        (end, since.elapsed())
    }

    /// Learns what the own user is now, and what is to be restored.
    fn learn(&mut self, own: User) {
        let mut state = self.driver.shared.lock();
        let mut events = Vec::new();
        state.book.learn(own, Source::Answer, None, &mut events);
        state.tell(events);
        self.steps = state.book.plan(RESTORE_SIZE);
    }

    /// Sends the next request that restores watches, or is done with that.
    pub(crate) fn restore(&mut self) {
        let Some(step) = self.steps.pop_front() else { return self.is_ready() };
        let mut state = self.driver.shared.lock();
        let id = self.driver.opener.next_id();
        let restore = state.book.restore(&step);
        // What is known may be left out: then the server tells all.
        let text = encode(id, &restore, MAX_RESTORE)
            .or_else(|_| encode(id, &Restore { known: BTreeMap::new(), ..restore }, MAX_RESTORE));
        match text {
            Ok(text) => {
                state.book.awaits();
                self.socket.send(text, &self.driver.opener.counters);
                self.pending.insert(id, Pending::new(Purpose::Restore));
            }
            Err(error) => {
                drop(state);
                self.lose_watches(Refusal::told(ErrorCode::TooManyUsers, error.to_string()));
            }
        }
    }

    pub(crate) fn lose_watches(&mut self, refusal: Refusal) {
        self.steps.clear();
        let mut state = self.driver.shared.lock();
        state.book.unwatch_all();
        state.tell([Event::WatchesLost { refusal: Arc::new(refusal) }]);
        drop(state);
        self.is_ready();
    }

    /// Tells that the client is back, and asks what waited for that.
    pub(crate) fn is_ready(&mut self) {
        self.is_restoring = false;
        let mut state = self.driver.shared.lock();
        state.book.is_restored();
        let online = Connection::Online { connection_id: Arc::clone(&self.connection_id) };
        if state.connection != online {
            state.connection_changed(online);
        }
        drop(state);
        self.ask_waiting();
    }

    async fn serve(&mut self) -> End {
        let mut timer = pin!(sleep_until(self.due()));
        loop {
            select! {
                command = self.driver.commands.recv() => match command {
                    Some(Command::Ask(ask)) => self.ask(ask),
                    Some(Command::Goodbye(done)) => {
                        self.driver.done = Some(done);
                        return End::Ended(self.goodbye().await);
                    }
                    Some(Command::Disconnect(done)) => {
                        self.driver.done = Some(done);
                        return End::Ended(Disconnect::told("the client disconnected"));
                    }
                    Some(Command::Abort(done)) => {
                        self.driver.done = Some(done);
                        return End::lost("the client cut the connection");
                    }
                    None => return End::Ended(self.goodbye().await),
                },
                heard = self.socket.next(&self.driver.opener.counters) => {
                    self.heard = Instant::now();
                    self.asked = None;
                    if let Some(end) = self.hear(&heard) {
                        return end;
                    }
                }
                token = coming(&mut self.token) => self.renew(token),
                () = timer.as_mut() => {
                    if Instant::now() >= self.due() {
                        if self.asked.is_some() {
                            return End::lost("the server was silent");
                        }
                        self.asked = Some(Instant::now());
                        self.send(&Request::Ping, Pending::new(Purpose::Alive));
                    }
                    timer.as_mut().reset(self.due());
                }
            }
        }
    }

    /// When the client does something about the server's silence.
    fn due(&self) -> Instant {
        self.asked.map_or_else(|| self.heard + self.quiet, |asked| asked + self.answer)
    }

    /// Says goodbye, and waits until the server closes.
    async fn goodbye(&mut self) -> Disconnect {
        self.socket.send(CLOSE, &self.driver.opener.counters);
        let within = self.driver.shared.request_timeout;
        let closed = timeout(within, async {
            loop {
                let heard = self.socket.next(&self.driver.opener.counters).await;
                if let Some(End::Lost { why, .. } | End::Ended(why)) = self.hear(&heard) {
                    return why;
                }
            }
        });
        closed.await.unwrap_or_else(|_| Disconnect::told("the server did not close after goodbye"))
    }

    fn ask(&mut self, ask: Box<Ask>) {
        if let Request::Unwatch { watch } = ask.request {
            self.driver.shared.lock().book.unwatch(watch);
        }
        if ask.request.is_limited() || self.is_restoring {
            self.driver.waiting.push_back(ask);
            self.ask_waiting();
        } else {
            self.ask_now(*ask);
        }
    }

    /// Asks what waits, as far as the server takes it.
    pub(crate) fn ask_waiting(&mut self) {
        while !self.is_restoring
            && self.pending.values().filter(|pending| pending.is_limited).count() < MAX_UNDER_WAY
            && let Some(ask) = self.driver.waiting.pop_front()
        {
            if ask.is_wanted() {
                self.ask_now(*ask);
            }
        }
    }

    fn ask_now(&mut self, Ask { request, reply }: Ask) {
        let is_unwatch = matches!(request, Request::Unwatch { .. });
        self.send(&request, Pending::new(Purpose::Asked { reply, is_unwatch }));
    }

    fn send(&mut self, request: &Request, pending: Pending) {
        let pending = Pending { target: request.watches(), is_limited: request.is_limited(), ..pending };
        let id = self.driver.opener.next_id();
        match encode(id, request, MAX_MESSAGE) {
            Ok(text) => {
                if pending.target.is_some() {
                    self.driver.shared.lock().book.awaits();
                }
                self.socket.send(text, &self.driver.opener.counters);
                self.pending.insert(id, pending);
            }
            Err(error) => pending.refused(error),
        }
    }

    /// Gives the server a new token.
    fn renew(&mut self, token: Result<String, Error>) {
        match token {
            Ok(token) => {
                self.driver.opener.token = Some(token.clone());
                self.send(&Request::Token { token }, Pending::new(Purpose::Token));
            }
            Err(_) => self.fetch_later(),
        }
    }

    pub(crate) fn fetch_later(&mut self) {
        let token = self.driver.opener.fetch();
        self.token = Some(Box::pin(async {
            sleep(TOKEN_RETRY).await;
            token.await
        }));
    }
}

/// The token on its way, if there is one.
async fn coming(token: &mut Option<TokenFuture>) -> Result<String, Error> {
    let Some(future) = token else { return std::future::pending().await };
    let fetched = future.await;
    *token = None;
    fetched
}
