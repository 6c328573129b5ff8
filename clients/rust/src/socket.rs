//! One WebSocket, with small buffers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{FutureExt, Sink, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::disconnect::{CloseCode, Disconnect};
use crate::error::Error;
use crate::shared::Counters;

/// How long an end without goodbye waits until it is written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection, plain or encrypted.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(Utf8Bytes),
    Ended(Disconnect),
}

/// A WebSocket. Dropping it cuts the connection.
pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Connection>>,
    /// What waits to be written. It is written while the next message is awaited, so that neither direction waits for the other.
    outbox: VecDeque<Message>,
    is_flushed: bool,
}

impl Socket {
    /// Opens one.
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        let request = url.into_client_request().map_err(|error| Error::Url(error.to_string()))?;
        let uri = request.uri();
        let is_encrypted = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(Error::Url(format!("{url}: it has to begin with ws:// or wss://"))),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let connection: Box<dyn Connection> =
            if is_encrypted { encrypt(tcp, host.to_owned()).await? } else { Box::new(tcp) };

        Self::over(connection, request).await
    }

    /// Opens one over a connection.
    async fn over(connection: Box<dyn Connection>, request: Request) -> Result<Self, Error> {
        let config = WebSocketConfig::default().read_buffer_size(1_024).write_buffer_size(0);
        match client_async_with_config(request, connection, Some(config)).await {
            Ok((stream, _)) => Ok(Self { stream, outbox: VecDeque::new(), is_flushed: true }),
            Err(tungstenite::Error::Io(error)) => Err(error.into()),
            Err(error) => Err(Error::WebSocket(Box::new(error))),
        }
    }

    /// Sends a message, while the next is awaited.
    pub(crate) fn send(&mut self, text: impl Into<Utf8Bytes>, counters: &Counters) {
        counters.sent.fetch_add(1, Ordering::Relaxed);
        self.outbox.push_back(Message::Text(text.into()));
    }

    /// The next message, or how the connection ended. May be cancelled without losing one.
    pub(crate) async fn next(&mut self, counters: &Counters) -> Heard {
        loop {
            match poll_fn(|context| self.poll(context)).await {
                Some(Ok(Message::Text(text))) => {
                    counters.received.fetch_add(1, Ordering::Relaxed);
                    counters.bytes_received.fetch_add(text.len() as u64, Ordering::Relaxed);
                    return Heard::Text(text);
                }
                Some(Ok(Message::Close(frame))) => {
                    // Its answer is written, if it can be at once.
                    let _ = self.stream.flush().now_or_never();
                    return Heard::Ended(frame.map_or_else(
                        || Disconnect::told("the server closed the connection"),
                        |frame| Disconnect {
                            code: Some(CloseCode::from(u16::from(frame.code))),
                            reason: Arc::from(frame.reason.as_str()),
                        },
                    ));
                }
                // Of the WebSocket itself, or of a later server.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Heard::Ended(Disconnect::told(error.to_string())),
                None => return Heard::Ended(Disconnect::told("the connection ended")),
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, tungstenite::Error>>> {
        if let Poll::Ready(Err(error)) = self.poll_outbox(context) {
            // What the server said last, why it closes, may still be there to read.
            if let Poll::Ready(Some(Ok(message))) = self.stream.poll_next_unpin(context) {
                return Poll::Ready(Some(Ok(message)));
            }
            return Poll::Ready(Some(Err(error)));
        }
        self.stream.poll_next_unpin(context)
    }

    fn poll_outbox(&mut self, context: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.outbox.is_empty() {
            ready!(stream.as_mut().poll_ready(context))?;
            if let Some(message) = self.outbox.pop_front() {
                self.is_flushed = false;
                stream.as_mut().start_send(message)?;
            }
        }
        if !self.is_flushed {
            ready!(stream.poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends it in WebSocket's own way, which is no goodbye of the user.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame { code: 1001.into(), reason: Utf8Bytes::from_static("") };
        // If it cannot be written, the connection is cut.
        let _ = timeout(CLOSE_TIMEOUT, self.stream.close(Some(frame))).await;
    }
}

#[cfg(feature = "rustls")]
async fn encrypt(tcp: TcpStream, host: String) -> Result<Box<dyn Connection>, Error> {
    crate::tls::connect(tcp, host, crate::tls::config()?).await.map(|stream| Box::new(stream) as Box<dyn Connection>)
}

#[cfg(not(feature = "rustls"))]
async fn encrypt(_: TcpStream, _: String) -> Result<Box<dyn Connection>, Error> {
    Err(Error::Url("wss:// needs the feature `rustls`".to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_tungstenite::accept_async;

    use super::*;

    #[tokio::test]
    async fn neither_direction_waits_for_the_other() {
        let (near, far) = duplex(1_024);
        let request = "ws://localhost/v1/Socket".into_client_request().unwrap();
        let (socket, server) = tokio::join!(Socket::over(Box::new(near), request), accept_async(far));
        let (mut socket, mut server) = (socket.unwrap(), server.unwrap());
        let counters = Counters::default();
        socket.send("x".repeat(100_000), &counters);
        // It reads nothing before it has written all, which is more than there is room for.
        let serve = async {
            for _ in 0..100 {
                server.send(Message::text("y".repeat(1_000))).await.unwrap();
            }
            server.next().await.unwrap().unwrap()
        };
        let ask = async {
            for _ in 0..100 {
                assert!(matches!(socket.next(&counters).await, Heard::Text(_)));
            }
            socket.next(&counters).await
        };
        let within = Duration::from_secs(20);
        let heard = timeout(within, async {
            tokio::select! {
                heard = serve => heard,
                heard = ask => panic!("{heard:?}"),
            }
        });
        assert_eq!(heard.await.unwrap().len(), 100_000);
    }
}
