//! The client.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::answers::{ChannelPage, Reply, UserPage};
use crate::book::Book;
use crate::channel::ChannelRef;
use crate::driver::Driver;
use crate::error::Error;
use crate::event::{Connection, Events};
use crate::open::Opener;
use crate::options::{Options, QueryOptions, UserChange};
use crate::request::{Query, Request};
use crate::shared::{Command, Frames, Shared, ask};
use crate::user::{KnownUser, User};

/// A client: one user's connection, which comes back by itself. Clones are handles of the same one. When the last is dropped, the
/// client says goodbye in the background; [`Client::goodbye`] waits for that.
///
/// A request that is made while the client is not connected is sent once it is, if that is within
/// [`Options::request_timeout`].
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl Client {
    /// Connects. Tries once; only a client that was connected comes back.
    ///
    /// # Errors
    /// [`Error`]: no connection, or the server refuses with `invalid_token`, `limit_reached`, `invalid_status` and others.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let (reconnect, request_timeout, event_capacity) =
            (options.reconnect, options.request_timeout, options.event_capacity);
        let mut opener = Opener::new(options);
        let (socket, connected) = Box::pin(opener.open()).await?;

        let connection = Connection::Online { connection_id: Arc::clone(&connected.connection_id) };
        let book = Book::new(connected.user.clone());
        let counters = Arc::clone(&opener.counters);
        let shared = Arc::new(Shared::new(request_timeout, counters, event_capacity, connection, book));
        let (commands, received) = mpsc::unbounded_channel();
        let driver = Driver::new(Arc::clone(&shared), opener, reconnect, received, commands.downgrade());
        tokio::spawn(driver.run(socket, connected));
        Ok(Self { commands, shared })
    }

    /// Sets the own user's status, or whether it is invisible. Returns the own user.
    ///
    /// # Errors
    /// [`Error`]; the server refuses with `invalid_status`.
    pub async fn set_user(&self, change: UserChange) -> Result<Arc<User>, Error> {
        self.ask(Request::SetUser(change.into())).await?;
        Ok(self.me().user)
    }

    /// Finds users. `filter` is such as `{"id": {"$in": ["john", "jack"]}}` or `{"online": true}`; `sort` such as
    /// `{"last_active": -1}`; `null` leaves either to the server. With `presence` they are watched until the [`Watch`](crate::Watch)
    /// in the answer is stopped or dropped.
    ///
    /// # Errors
    /// [`Error`]; the server refuses with `invalid_filter`, `query_too_broad`, `too_many_users` and others.
    pub async fn query_users(&self, filter: Value, sort: Value, options: QueryOptions) -> Result<UserPage, Error> {
        Ok(self.ask(Request::QueryUsers(Query::new(filter, sort, options))).await?.into())
    }

    /// Finds channels among those of which the own user is a member. `filter` is such as `{"members": {"$in": ["john"]}}`; for
    /// `sort` and `presence` see [`Client::query_users`]: it is the members of the channels who are watched, and who joins one
    /// later is watched from then on.
    ///
    /// # Errors
    /// [`Error`]; the server refuses with `invalid_filter`, `too_many_users`, `not_supported` and others.
    pub async fn query_channels(
        &self,
        filter: Value,
        sort: Value,
        options: QueryOptions,
    ) -> Result<ChannelPage, Error> {
        Ok(self.ask(Request::QueryChannels(Query::new(filter, sort, options))).await?.into())
    }

    /// A channel to ask for. `data` is for the case that it is created: `{"members": ["john", "jack"], "color": "green"}`, or `null`.
    pub fn channel(&self, kind: impl Into<String>, id: impl Into<String>, data: Value) -> ChannelRef<'_> {
        ChannelRef { client: self, kind: kind.into(), id: id.into(), data }
    }

    /// A reader of what happens from now on.
    pub fn events(&self) -> Events {
        Events(self.shared.lock().subscribe())
    }

    /// What is known of a user that is watched, or of the own one; `None` for everybody else.
    pub fn user(&self, id: &str) -> Option<KnownUser> {
        self.shared.lock().book.known(id)
    }

    /// What is known of the own user.
    pub fn me(&self) -> KnownUser {
        self.shared.lock().book.own()
    }

    /// Whether the client is connected.
    pub fn connection(&self) -> Connection {
        self.shared.lock().connection.clone()
    }

    /// How many messages it sent and received.
    pub fn frames(&self) -> Frames {
        self.shared.counters.read()
    }

    /// Asks the server for an answer. Every event that the server sent before it was told to the readers before this returns.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.ask(Request::Ping).await.map(|_| ())
    }

    /// Says goodbye, so that the user is offline at once (if this was the last of its connections), and ends the client. Returns
    /// when the server has closed the connection, or does not within the request timeout.
    pub async fn goodbye(&self) {
        self.tell(Command::Goodbye).await;
    }

    /// Ends the client without goodbye: for others the user is still there until the server's grace period is over.
    pub async fn disconnect(&self) {
        self.tell(Command::Disconnect).await;
    }

    /// Cuts the connection without a word, as a cable that is pulled. The client then does what it does about any lost connection:
    /// it comes back, if it is one that does.
    pub async fn abort(&self) {
        self.tell(Command::Abort).await;
    }

    async fn tell(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, is_done) = oneshot::channel();
        if self.commands.send(command(done)).is_ok() {
            // If the task ends first, it is done as well.
            let _ = is_done.await;
        }
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, Error> {
        ask(&self.commands, &self.shared, request).await
    }
}
