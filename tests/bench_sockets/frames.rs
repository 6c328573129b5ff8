//! WebSocket frames, and Twilsock in them, from the client's side: no more of it than a benchmark needs.

use serde::Deserialize;

/// What the server sent: a frame of the client's protocol, or one of WebSocket itself.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    Packet { header: Header<'a>, payload: &'a [u8] },
    Ping(&'a [u8]),
    Close,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Header<'a> {
    pub(crate) method: &'a str,
    pub(crate) id: &'a str,
    pub(crate) http_status: Option<Status>,
    pub(crate) status: Option<Status>,
    pub(crate) continuation_token: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) code: u16,
}

/// A packet in a frame of its own.
pub(crate) fn packet(header: &str, payload: &str) -> Vec<u8> {
    let text = format!("TWILSOCK V3.0 {}\r\n{header}\r\n{payload}", header.len());
    masked(2, text.as_bytes())
}

/// The answer to a packet with this id.
pub(crate) fn acknowledgement(id: &str) -> Vec<u8> {
    packet(
        &format!(
            r#"{{"id":"{id}","method":"reply","payload_type":"application/json","status":{{"code":200,"status":"OK"}},"payload_size":0}}"#
        ),
        "",
    )
}

/// A frame of a client. All its masks are zero.
pub(crate) fn masked(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | kind];
    match bytes.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(bytes);
    frame
}

/// The kind of the first frame and the bytes in it, with the length of all of it, if it is complete.
pub(crate) fn first(received: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, length) = match received.get(1)? & 127 {
        126 => (4, usize::from(u16::from_be_bytes(received.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(received.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    Some((received[0] & 15, received.get(head..head + length)?, head + length))
}

/// The first frame, with its length, if it is complete.
pub(crate) fn split(received: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (kind, bytes, length) = first(received)?;
    let frame = match kind {
        8 => Frame::Close,
        9 => Frame::Ping(bytes),
        _ => {
            let (header, payload) = parse(bytes);
            Frame::Packet { header, payload }
        }
    };
    Some((frame, length))
}

fn parse(packet: &[u8]) -> (Header<'_>, &[u8]) {
    let end = memchr::memchr(b'\n', packet).unwrap() + 1;
    let length = std::str::from_utf8(&packet["TWILSOCK V3.0 ".len()..end]).unwrap();
    let header = end + length.trim().parse::<usize>().unwrap();
    (serde_json::from_slice(&packet[end..header]).unwrap(), &packet[header + 2..])
}
