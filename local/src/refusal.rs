//! Adds a body to the error responses of the HTTP library.
//!
//! hyper answers an invalid request before any handler sees it: with status 400, 414 or 431 and an empty body. It
//! offers no way to change that. Helper libraries need the JSON body that all errors have, so this wrapper adds it
//! while the response is written. It recognises hyper's own responses by a missing header that every handler sets. The
//! body of a handler's response begins with a brace, so it cannot be mistaken for the head of a response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use reachability_functions::malformed_request;
use reachability_infra::ids::Uuids;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that adds bodies to error responses.
pub(crate) struct WithRefusals<S> {
    inner: S,
    /// The replaced response that is still to be written.
    refusal: Vec<u8>,
}

impl<S> WithRefusals<S> {
    pub(crate) fn of(inner: S) -> Self {
        Self { inner, refusal: vec![] }
    }

    /// The connection.
    pub(crate) fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: AsyncWrite + Unpin> WithRefusals<S> {
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithRefusals<S> {
    // Vectored writes stay off, so that the head of a response arrives in one write.
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(context))?;
        match refused(bytes) {
            None => Pin::new(&mut self.inner).poll_write(context, bytes),
            Some(status) => {
                self.refusal = answer(status);
                // The bytes are buffered. A flush or the next write sends them.
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithRefusals<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

/// The status, if these bytes are the head of a response that the HTTP library made itself.
fn refused(bytes: &[u8]) -> Option<u16> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    let status = std::str::from_utf8(status.get(..3)?).ok()?.parse().ok()?;
    let head = &bytes[..bytes.windows(4).position(|end| end == b"\r\n\r\n")?];
    let named = |line: &[u8]| line.get(..18).is_some_and(|name| name.eq_ignore_ascii_case(b"twilio-request-id:"));
    let is_ours = head.split(|byte| *byte == b'\n').any(named);
    ((400..500).contains(&status) && !is_ours).then_some(status)
}

/// The complete replacement response. The HTTP library closes the connection after it.
fn answer(status: u16) -> Vec<u8> {
    let (parts, body) = malformed_request(&Uuids, status).into_parts();
    let mut answer = format!("HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        answer.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    answer.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()));
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_responses_of_the_library_are_replaced() {
        assert_eq!(refused(b"HTTP/1.1 431 Too Large\r\nConnection: close\r\n\r\n"), Some(431));
        assert_eq!(refused(b"HTTP/1.1 404 Not Found\r\nTwilio-Request-Id: RQ0\r\n\r\n{}"), None);
        assert_eq!(refused(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(refused(b"HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(refused(b"{\"code\":20404}"), None);
        let answer = String::from_utf8(answer(431)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert!(body.contains("\"code\":20001"), "{body}");
    }
}
