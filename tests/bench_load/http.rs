//! An HTTP client that costs little: keep-alive, and no more of an answer is looked at than a benchmark needs.

use std::io::{self, ErrorKind};

use reachability_tests::raw::{JSON, basic, request};
use reachability_tests::server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The server, and how to speak to it.
#[derive(Clone)]
pub(crate) struct Target {
    address: String,
    owner: String,
}

impl Target {
    pub(crate) fn of(server: &Server) -> Self {
        Self { address: server.address().to_owned(), owner: basic(&server.account, &server.token) }
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, received: Vec::new() })
    }

    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        request("GET", path, &[&self.owner], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Vec<u8> {
        request("POST", path, &[&self.owner, JSON], body)
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Whether the server closes the connection.
    pub(crate) closes: bool,
}

/// A connection to the server.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads the answer, which may come before the request was sent.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let (mut reader, mut writer) = self.stream.split();
        let answer = read(&mut reader, &mut self.received);
        tokio::pin!(answer);
        tokio::select! {
            written = writer.write_all(request) => match written {
                // The server may have answered and closed.
                Ok(()) | Err(_) => answer.await,
            },
            answer = &mut answer => answer,
        }
    }
}

async fn read(reader: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>) -> io::Result<Answer> {
    received.clear();
    loop {
        if reader.read_buf(received).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = memchr::memmem::find(received, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
        let length = text.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        let end = head + 4 + length.unwrap_or(0);
        while received.len() < end {
            if reader.read_buf(received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        return Ok(Answer {
            status: status.ok_or(ErrorKind::InvalidData)?,
            body: String::from_utf8_lossy(&received[head + 4..end]).into_owned(),
            closes: text.contains("connection: close"),
        });
    }
}

/// A connection that is opened again when it is lost.
pub(crate) struct Client {
    pub(crate) target: Target,
    connection: Option<Connection>,
}

impl Client {
    pub(crate) fn of(target: &Target) -> Self {
        Self { target: target.clone(), connection: None }
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.target.connect().await?,
        };
        let answer = connection.ask(request).await?;
        if !answer.closes {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask(&self.target.get(path)).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.ask(&self.target.post(path, body)).await
    }

    /// Whether a user is online; `false` also if it is not known yet, or if there is no answer.
    pub(crate) async fn is_online(&mut self, service: &str, identity: &str) -> bool {
        let path = format!("/v1/Services/{service}/Users/{identity}");
        self.get(&path).await.is_ok_and(|answer| answer.body.contains("\"is_online\":true"))
    }
}
