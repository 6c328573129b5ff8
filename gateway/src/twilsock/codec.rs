//! Packets as bytes: a line with the header's length, the header (JSON), an empty rest of a line, the payload.
//!
//! ```text
//! TWILSOCK V3.0 <length of the header in bytes>\r\n
//! <header>\r\n
//! <payload>
//! ```
//!
//! A line break may follow the payload: servers send one, clients do not.

use std::borrow::Cow;

use bytes::Bytes;
use reachability_domain::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::twilsock::settings::{MAX_HEADER, MAX_ID, MAX_PAYLOAD};

/// How every packet begins.
const MAGIC: &[u8] = b"TWILSOCK V3.0 ";
/// The longest first line: what follows [`MAGIC`] is a short number, and perhaps spaces.
const MAX_FIRST_LINE: usize = 64;
const CRLF: &[u8] = b"\r\n";

/// Why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line.
    #[error("the packet does not begin with TWILSOCK V3.0 and the length of its header")]
    FirstLine,
    /// The header is longer than [`MAX_HEADER`].
    #[error("the header is longer than {MAX_HEADER} bytes")]
    LongHeader,
    /// There are fewer bytes than announced, or more.
    #[error("the packet is not as long as it says")]
    Length,
    /// The header is not JSON, or misses something.
    #[error("the header is not a JSON object with a method and an id")]
    Header,
    /// The id is empty, or longer than [`MAX_ID`].
    #[error("the id has not between 1 and {MAX_ID} bytes")]
    Id,
    /// The payload is larger than [`MAX_PAYLOAD`].
    #[error("the payload is larger than {MAX_PAYLOAD} bytes")]
    LargePayload,
}

/// A packet from a client.
#[derive(Debug, PartialEq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header<'a>,
    /// The payload; empty if there is none.
    pub payload: &'a [u8],
}

/// What a server reads of a header. Other members are skipped.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Header<'a> {
    /// What the packet is.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// Names the packet. A reply to it has the same id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The length of the payload, in bytes.
    #[serde(default)]
    payload_size: usize,
    /// The media type of the payload.
    pub payload_type: Option<String>,
    /// The access token, in `init` and `update`.
    pub token: Option<Secret>,
    /// In `init`: what the client was given on an earlier socket.
    pub continuation_token: Option<String>,
    /// In `init`: what the client tells of itself.
    metadata: Option<Value>,
    /// The request, in `message`.
    pub http_request: Option<HttpRequest>,
}

impl Header<'_> {
    /// In `init`: what the client runs on, as `Chrome on Windows`; `None` if it does not say.
    pub fn device(&self) -> Option<String> {
        let word = |name| self.metadata.as_ref()?.get(name)?.as_str().filter(|word| !["", "unknown"].contains(word));
        match (word("env"), word("os")) {
            (Some(env), Some(os)) => Some(format!("{env} on {os}")),
            (one, other) => one.or(other).map(str::to_owned),
        }
    }
}

/// A request in the header of a `message`. The host is skipped: it is a label, and requests are routed by path.
#[derive(Debug, PartialEq, Deserialize)]
pub struct HttpRequest {
    /// The method.
    pub method: String,
    /// The path, percent-encoded.
    pub path: String,
    /// The query: names with values that are still percent-encoded, or with lists of them.
    pub params: Option<Map<String, Value>>,
}

/// Reads a WebSocket message, binary or text, as a packet.
///
/// # Errors
/// If it is not a packet, or over a limit.
pub fn decode(frame: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header_length, rest) = first_line(frame)?;
    if header_length > MAX_HEADER {
        return Err(Malformed::LongHeader);
    }
    let (header, rest) = rest.split_at_checked(header_length).ok_or(Malformed::Length)?;
    let rest = rest.strip_prefix(CRLF).ok_or(Malformed::Length)?;

    let header: Header<'_> = serde_json::from_slice(header).map_err(|_| Malformed::Header)?;
    if header.id.is_empty() || header.id.len() > MAX_ID {
        return Err(Malformed::Id);
    }
    if header.payload_size > MAX_PAYLOAD {
        return Err(Malformed::LargePayload);
    }
    match rest.split_at_checked(header.payload_size) {
        Some((payload, b"" | b"\r\n")) => Ok(Packet { header, payload }),
        _ => Err(Malformed::Length),
    }
}

/// Reads the first line. Returns the length of the header, and what follows the line.
fn first_line(frame: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let line_end = memchr::memmem::find(&frame[..frame.len().min(MAX_FIRST_LINE)], CRLF);
    let (line, rest) = line_end.and_then(|end| frame.split_at_checked(end)).ok_or(Malformed::FirstLine)?;
    let length = line.strip_prefix(MAGIC).ok_or(Malformed::FirstLine)?.trim_ascii_end();
    // `parse` would take a plus sign.
    let is_number = length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length).ok().filter(|_| is_number).and_then(|number| number.parse().ok());
    Ok((number.ok_or(Malformed::FirstLine)?, &rest[CRLF.len()..]))
}

/// Writes a packet. The header must tell the length of the payload.
pub(crate) fn encode(header: &impl Serialize, payload: &[u8]) -> Bytes {
    // The headers are our own structs, and none of them can fail to be written.
    let header = serde_json::to_vec(header).unwrap_or_default();
    let mut frame = Vec::with_capacity(MAX_FIRST_LINE + header.len() + payload.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(header.len().to_string().as_bytes());
    frame.extend_from_slice(CRLF);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(CRLF);
    if !payload.is_empty() {
        frame.extend_from_slice(payload);
        frame.extend_from_slice(CRLF);
    }
    frame.into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    /// A frame that the corpus has.
    fn seed(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)).unwrap()
    }

    #[test]
    fn reads_what_the_clients_send() {
        let init = seed("init");
        let packet = decode(&init).unwrap();
        assert_eq!((packet.header.method.as_ref(), packet.payload), ("init", &b""[..]));
        assert_eq!(packet.header.id, "TM4b2f2a0e-6d7e-4f0b-9b6e-0c1d2e3f4a5b");
        assert!(packet.header.token.is_some() && packet.header.continuation_token.is_none());
        assert_eq!(packet.header.device().as_deref(), Some("Node.js on Linux"));

        let read = |name| {
            let frame = seed(name);
            let Packet { header, payload } = decode(&frame).unwrap_or_else(|why| panic!("{name}: {why}"));
            (header.http_request.unwrap(), header.payload_type, payload.to_vec())
        };
        let (http, payload_type, payload) = read("user-written");
        assert_eq!((http.method.as_str(), http.path.as_str()), ("POST", "/Client/v2/Services/IS0/Users/alice"));
        assert_eq!(
            (payload_type.as_deref(), payload),
            (Some("application/json"), "{\"friendly_name\":\"Älice\"}".into())
        );
        let (http, ..) = read("map");
        assert_eq!(http.params.map(Value::from), Some(json!({"Include": "items"})));
        assert_eq!(read("with-line-break"), read("subscriptions"));
        assert_eq!(read("with-space").0.path, http.path);
    }

    #[test]
    fn refuses_what_is_no_packet() {
        for (name, why) in [
            ("empty", Malformed::FirstLine),
            ("json", Malformed::FirstLine),
            ("other-version", Malformed::FirstLine),
            ("first-line-endless", Malformed::FirstLine),
            ("length-negative", Malformed::FirstLine),
            ("length-plus", Malformed::FirstLine),
            ("length-overflow", Malformed::FirstLine),
            ("length-huge", Malformed::LongHeader),
            ("header-long", Malformed::LongHeader),
            ("header-not-json", Malformed::Header),
            ("header-not-utf-8", Malformed::Header),
            ("header-twice", Malformed::Header),
            ("params-deep", Malformed::Header),
            ("id-too-long", Malformed::Id),
            ("payload-short", Malformed::Length),
            ("payload-long", Malformed::Length),
            ("payload-huge", Malformed::LargePayload),
        ] {
            assert_eq!(decode(&seed(name)).err(), Some(why), "{name}");
        }
    }

    #[test]
    fn nothing_can_be_cut_off_or_added() {
        let frame = seed("subscriptions");
        for end in 0..frame.len() {
            assert!(decode(&frame[..end]).is_err(), "{end}");
        }
        for more in ["\r", "\n", " ", "\r\n\r\n"] {
            assert_eq!(decode(&[&frame, more.as_bytes()].concat()).err(), Some(Malformed::Length), "{more:?}");
        }
    }

    /// A packet with a header and a payload of these sizes.
    fn sized(header_size: usize, payload_size: usize) -> Vec<u8> {
        let header = |filler: usize| {
            json!({"method": "reply", "id": "1", "payload_size": payload_size, "x": "x".repeat(filler)}).to_string()
        };
        let header = header(header_size - header(0).len());
        let mut frame = format!("TWILSOCK V3.0 {header_size}{}\r\n{header}\r\n", " ".repeat(40)).into_bytes();
        frame.resize(frame.len() + payload_size, b'x');
        frame
    }

    #[test]
    fn reads_the_largest_packet() {
        let frame = [sized(MAX_HEADER, MAX_PAYLOAD), CRLF.to_vec()].concat();
        assert!(frame.len() <= crate::twilsock::settings::MAX_FRAME);
        assert_eq!(decode(&frame).unwrap().payload.len(), MAX_PAYLOAD);
        assert_eq!(decode(&sized(MAX_HEADER, MAX_PAYLOAD + 1)).err(), Some(Malformed::LargePayload));
        assert_eq!(decode(&sized(MAX_HEADER + 1, MAX_PAYLOAD)).err(), Some(Malformed::LongHeader));
    }

    #[test]
    fn reads_what_it_writes() {
        let header = json!({"method": "ping", "id": "TM1", "payload_size": 4});
        let frame = encode(&header, "{ü".as_bytes().get(..3).unwrap());
        assert_eq!(decode(&frame).err(), Some(Malformed::Length));
        let frame = encode(&header, b"{ } ");
        assert_eq!(frame, "TWILSOCK V3.0 45\r\n{\"method\":\"ping\",\"id\":\"TM1\",\"payload_size\":4}\r\n{ } \r\n");
        assert_eq!(decode(&frame).unwrap().payload, b"{ } ");
    }
}
