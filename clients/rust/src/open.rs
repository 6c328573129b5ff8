//! How a connection comes about.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::disconnect::Disconnect;
use crate::error::Error;
use crate::incoming::{Connected, Incoming};
use crate::options::{ConnectUser, Options, TokenFuture, TokenProvider, UserChange};
use crate::request::{CLOSE, Connect, Disclosure, MAX_MESSAGE, PONG, encode};
use crate::shared::Counters;
use crate::socket::{Heard, Socket};

/// What a client keeps from one connection to the next.
pub(crate) struct Opener {
    url: String,
    provider: TokenProvider,
    device: Option<String>,
    timeout: Duration,
    /// Who the user has to be.
    id: Option<String>,
    /// What the first connection says of the user. Later ones leave it as it is.
    disclosure: Option<Disclosure>,
    /// The token that is used until it is refused.
    pub(crate) token: Option<String>,
    continuation_token: Option<String>,
    last_id: u64,
    pub(crate) counters: Arc<Counters>,
}

impl Opener {
    pub(crate) fn new(options: Options) -> Self {
        let Options { url, token, user, device, request_timeout, .. } = options;
        let ConnectUser { id, status, invisible } = user;
        Self {
            url,
            provider: token,
            device,
            timeout: request_timeout,
            id,
            disclosure: Some(UserChange { status, invisible }.into()),
            token: None,
            continuation_token: None,
            last_id: 0,
            counters: Arc::default(),
        }
    }

    /// The number of the next request. They go on over reconnects.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether there can be another token.
    pub(crate) fn is_renewable(&self) -> bool {
        self.provider.is_renewable()
    }

    /// Fetches a new token.
    pub(crate) fn fetch(&self) -> TokenFuture {
        let (provider, within) = (self.provider.clone(), self.timeout);
        Box::pin(async move { timeout(within, provider.fetch()).await.unwrap_or(Err(Error::Timeout)) })
    }

    /// Opens a connection. If the token is refused that was used until now, once more with a new one.
    pub(crate) async fn open(&mut self) -> Result<(Socket, Connected), Error> {
        if let Some(token) = self.token.clone() {
            match self.open_with(&token).await {
                Err(error) if error.is_of_token() && self.is_renewable() => self.token = None,
                result => return result,
            }
        }
        let token = self.fetch().await?;
        let opened = self.open_with(&token).await?;
        self.token = Some(token);
        Ok(opened)
    }

    async fn open_with(&mut self, token: &str) -> Result<(Socket, Connected), Error> {
        timeout(self.timeout, self.attempt(token)).await.unwrap_or(Err(Error::Timeout))
    }

    async fn attempt(&mut self, token: &str) -> Result<(Socket, Connected), Error> {
        let id = self.next_id();
        let connect = Connect {
            token,
            disclosure: self.disclosure.as_ref(),
            device: self.device.as_deref(),
            continuation_token: self.continuation_token.as_deref(),
        };
        let connect = encode(id, &connect, MAX_MESSAGE)?;
        let mut socket = Socket::open(&self.url).await?;
        socket.send(connect, &self.counters);
        let mut connected = self.connected(&mut socket).await?;
        if self.id.as_ref().is_some_and(|id| **id != *connected.user.id) {
            socket.send(CLOSE, &self.counters);
            while let Heard::Text(_) = socket.next(&self.counters).await {}
            return Err(Error::OtherUser(connected.user.id));
        }
        self.disclosure = None;
        if let Some(continuation_token) = connected.continuation_token.take() {
            self.continuation_token = Some(continuation_token);
        }
        Ok((socket, connected))
    }

    async fn connected(&self, socket: &mut Socket) -> Result<Connected, Error> {
        loop {
            match socket.next(&self.counters).await {
                Heard::Ended(end) if end.code.is_none() => {
                    return Err(Error::Ended(Disconnect::told(format!("before its answer: {}", end.reason))));
                }
                Heard::Ended(end) => return Err(Error::Ended(end)),
                Heard::Text(text) => match Incoming::parse(&text)? {
                    Incoming::Connected(connected) => return Ok(*connected),
                    Incoming::Refused { refusal, .. } => return Err(refusal.into()),
                    Incoming::Ping => socket.send(PONG, &self.counters),
                    _ => {}
                },
            }
        }
    }
}
