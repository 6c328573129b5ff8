//! An HTTP client that sends given bytes on a connection: for malformed requests, which HTTP libraries refuse to send,
//! and for tests of the connection itself, such as requests that arrive in pieces. For everything else there is
//! [`crate::client`].

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::server::PATIENCE;

/// The header of a form.
pub const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// The header of a JSON body.
pub const JSON: &str = "Content-Type: application/json";

/// The header of the last request on a connection.
pub const CLOSE: &str = "Connection: close";

/// An answer, as it came.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, in their order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, which must be JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    /// Whether it announces that the server closes the connection.
    pub fn says_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Asserts the headers that every answer has.
    #[track_caller]
    pub fn assert_headers(&self, what: &str) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{what}: {} {}", self.status, self.body);
        let id = self.header("twilio-request-id").unwrap_or_default();
        let is_sid = id.len() == 34 && id.starts_with("RQ") && id[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_sid, "{what}: Twilio-Request-Id is {id:?}");
        assert_eq!(self.header("www-authenticate").is_some(), self.status == 401, "{what}");
    }

    /// Asserts an error with exactly the documented members. Returns its message.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: u32, what: &str) -> String {
        self.assert_error_with(status, code, &["code", "message", "more_info", "status"], what)
    }

    /// Asserts an error with exactly these members. Returns its message.
    #[track_caller]
    pub fn assert_error_with(&self, status: u16, code: u32, members: &[&str], what: &str) -> String {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        self.assert_headers(what);
        let body = self.json();
        let mut names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, members, "{what}");
        assert_eq!(body["code"], code, "{what}: {body}");
        assert_eq!(body["status"], status, "{what}: {body}");
        assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"), "{what}");
        body["message"].as_str().unwrap().to_owned()
    }
}

/// A connection to the server.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens one to this `host:port`.
    pub fn open(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Opens one to this `host:port` from this IPv4 address.
    pub fn open_from(source: [u8; 4], address: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// The stream, for operations that may fail.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    /// Closes the sending direction. An answer can still be read.
    pub fn finish(&mut self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Reads an answer to a request with this method.
    pub fn receive(&mut self, method: &str) -> io::Result<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("status line {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        if method != "HEAD" {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            self.0.by_ref().take(length).read_to_string(&mut answer.body)?;
            assert_eq!(answer.body.len() as u64, length, "the body is as long as its Content-Length");
        }
        Ok(answer)
    }

    /// Whether the server has closed the connection already, or sent something on it.
    pub fn has_news(&mut self) -> bool {
        let stream = self.stream();
        stream.set_nonblocking(true).unwrap();
        let news = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !news.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether the server has closed the connection without sending anything more.
    pub fn is_closed(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            // The server closed it before it had read everything.
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// The header with these credentials.
pub fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Encodes a value for a form or a path.
pub fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: chat.test\r\n");
    if !body.is_empty() || method == "POST" {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    for header in headers {
        request += &format!("{header}\r\n");
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}
