//! The framing of WebSocket messages (RFC 6455), for a server with many idle sockets.
//!
//! The usual libraries keep a read buffer for each socket. Here whoever reads brings the buffer, and a [`Reader`] keeps only
//! what is incomplete: of an idle socket, nothing. A frame to send is encoded once, however many sockets it is sent to.

mod incomplete;

use std::io::Cursor;
use std::ops::Range;

use bytes::Bytes;
use reachability_gateway::twilsock::settings::MAX_FRAME;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use self::incomplete::Incomplete;

/// The longest header of a frame to send, in bytes.
const MAX_HEADER: usize = 10;

/// How much more than it needs a buffer may grow at a time, in bytes.
const MAX_SPARE: usize = 16 * 1024;

/// A frame to send, with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame(Bytes);

impl Frame {
    /// A message of text, or of bytes.
    pub(super) fn message(is_text: bool, payload: &[u8]) -> Self {
        Self::encode(OpCode::Data(if is_text { Data::Text } else { Data::Binary }), payload)
    }

    /// The answer to a ping.
    pub(super) fn pong(payload: &[u8]) -> Self {
        Self::encode(OpCode::Control(Control::Pong), payload)
    }

    /// The last frame. The reason has at most 123 bytes.
    pub(super) fn close(code: u16, reason: &str) -> Self {
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        Self::encode(OpCode::Control(Control::Close), &payload)
    }

    fn encode(opcode: OpCode, payload: &[u8]) -> Self {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        let mut bytes = Vec::with_capacity(MAX_HEADER + payload.len());
        // A vector can always be written to.
        let _ = header.format(payload.len() as u64, &mut bytes);
        bytes.extend_from_slice(payload);
        Self(bytes.into())
    }

    /// The bytes to send.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    /// A message.
    Message {
        /// Whether it is text, or else bytes.
        is_text: bool,
        /// What it says.
        payload: &'a [u8],
    },
    /// A ping, which is answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong, or a part of a message.
    Other,
    /// The client closes the socket: nothing follows.
    Close,
}

/// Whether a reader goes on with what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// Keep what follows for a later call.
    Pause,
}

/// Why a socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a frame breaks the rules of WebSocket")]
    Protocol,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a message is too long")]
    TooLong,
    #[error("the incomplete messages of all clients are too long")]
    NoRoom,
}

impl Violation {
    /// The code of the close frame.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLong => 1009,
            // Try again later.
            Self::NoRoom => 1013,
        }
    }
}

/// Takes apart what a client sends.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Bytes that are not handled yet: the beginning of a frame, or what came after a pause.
    rest: Vec<u8>,
    /// The beginning of a message that comes in several frames.
    begun: Option<Box<Begun>>,
    /// How much all that is.
    kept: Incomplete,
}

#[derive(Debug)]
struct Begun {
    is_text: bool,
    payload: Vec<u8>,
}

impl Reader {
    /// Hands over what is complete with these new bytes, which are unmasked in place.
    ///
    /// # Errors
    /// If the client broke a rule, or there is no room for what is incomplete. The socket is to be closed.
    pub(super) fn read(
        &mut self,
        new: &mut [u8],
        mut handle: impl FnMut(Received<'_>) -> Next,
    ) -> Result<(), Violation> {
        if self.rest.is_empty() {
            let used = self.frames(new, &mut handle)?;
            self.rest = new[used..].to_vec();
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            append(&mut bytes, new);
            let used = self.frames(&mut bytes, &mut handle)?;
            // What was handled leaves no room behind.
            self.rest = if used == 0 { bytes } else { bytes[used..].to_vec() };
        }
        let begun = self.begun.as_ref().map_or(0, |begun| begun.payload.capacity());
        if self.kept.is_now(self.rest.capacity() + begun) { Ok(()) } else { Err(Violation::NoRoom) }
    }

    /// Handles complete frames. Returns how many bytes they had.
    fn frames(&mut self, bytes: &mut [u8], handle: &mut impl FnMut(Received<'_>) -> Next) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some((header, payload)) = next_frame(&bytes[used..], self.begun_length())? {
            let (start, end) = (used + payload.start, used + payload.end);
            let payload = &mut bytes[start..end];
            unmask(payload, header.mask.unwrap_or_default());
            used = end;
            if self.frame(&header, payload, handle)? == Next::Pause {
                break;
            }
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        handle: &mut impl FnMut(Received<'_>) -> Next,
    ) -> Result<Next, Violation> {
        let is_text = match header.opcode {
            OpCode::Control(Control::Close) => return Ok(handle(Received::Close)),
            OpCode::Control(Control::Ping) => return Ok(handle(Received::Ping(payload))),
            OpCode::Control(_) => return Ok(handle(Received::Other)),
            OpCode::Data(Data::Continue) => {
                let mut begun = self.begun.take().ok_or(Violation::Protocol)?;
                append(&mut begun.payload, payload);
                if !header.is_final {
                    self.begun = Some(begun);
                    return Ok(handle(Received::Other));
                }
                return message(begun.is_text, &begun.payload, handle);
            }
            OpCode::Data(data) => data == Data::Text,
        };
        if self.begun.is_some() {
            return Err(Violation::Protocol);
        }
        if !header.is_final {
            self.begun = Some(Box::new(Begun { is_text, payload: payload.to_vec() }));
            return Ok(handle(Received::Other));
        }
        message(is_text, payload, handle)
    }

    fn begun_length(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.payload.len())
    }
}

/// Appends bytes with little room to spare: what is incomplete may stay so.
fn append(bytes: &mut Vec<u8>, new: &[u8]) {
    if bytes.capacity() - bytes.len() < new.len() {
        bytes.reserve_exact(new.len().max(bytes.len().min(MAX_SPARE)));
    }
    bytes.extend_from_slice(new);
}

fn message(is_text: bool, payload: &[u8], handle: &mut impl FnMut(Received<'_>) -> Next) -> Result<Next, Violation> {
    if is_text && std::str::from_utf8(payload).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(handle(Received::Message { is_text, payload }))
}

/// The first frame, and where its payload is; `None` if it is incomplete. A message of which so many bytes came before must not
/// become too long by it.
fn next_frame(bytes: &[u8], begun: usize) -> Result<Option<(FrameHeader, Range<usize>)>, Violation> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol)?;
    let Some((header, length)) = parsed else { return Ok(None) };
    let is_control = matches!(header.opcode, OpCode::Control(_));
    let reserved = header.rsv1 || header.rsv2 || header.rsv3;
    if reserved || header.mask.is_none() || (is_control && (length > 125 || !header.is_final)) {
        return Err(Violation::Protocol);
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !is_control && length > MAX_FRAME.saturating_sub(begun) {
        return Err(Violation::TooLong);
    }
    let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    Ok((length <= bytes.len() - start).then(|| (header, start..start + length)))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        let masked = [word[0], word[1], word[2], word[3]];
        word.copy_from_slice(&(u32::from_ne_bytes(masked) ^ u32::from_ne_bytes(mask)).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocket};

    use super::*;

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let header = FrameHeader { mask: Some(mask), ..FrameHeader::default() };
        let mut bytes = vec![];
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes[0] = opcode;
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// What comes of bytes that arrive in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<(u8, Vec<u8>)>, Violation> {
        let (mut reader, mut found) = (Reader::default(), vec![]);
        for piece in bytes.chunks(piece) {
            reader.read(&mut piece.to_vec(), |received| {
                found.push(match received {
                    Received::Message { is_text, payload } => (if is_text { b't' } else { b'b' }, payload.to_vec()),
                    Received::Ping(payload) => (b'p', payload.to_vec()),
                    Received::Other => (b'-', vec![]),
                    Received::Close => (b'c', vec![]),
                });
                Next::GoOn
            })?;
        }
        assert!(reader.rest.capacity() == 0 && reader.begun.is_none(), "nothing is kept");
        Ok(found)
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let long = "ä".repeat(500);
        let longer = vec![7; 70_000];
        let bytes = [
            masked(0x82, b"one"),
            masked(0x01, "zw\u{f6}".as_bytes()),
            masked(0x89, b"are you there"),
            masked(0x00, b"lf"),
            masked(0x8A, b"an answer to nothing"),
            masked(0x80, b""),
            masked(0x81, long.as_bytes()),
            masked(0x82, &longer),
            masked(0x88, &1000_u16.to_be_bytes()),
        ]
        .concat();
        let expected = vec![
            (b'b', b"one".to_vec()),
            (b'-', vec![]),
            (b'p', b"are you there".to_vec()),
            (b'-', vec![]),
            (b'-', vec![]),
            (b't', "zw\u{f6}lf".into()),
            (b't', long.clone().into()),
            (b'b', longer),
            (b'c', vec![]),
        ];
        for piece in [1, 2, 3, 7, 100, 4_096, bytes.len()] {
            assert_eq!(read(&bytes, piece), Ok(expected.clone()), "{piece}");
        }
    }

    #[test]
    fn a_pause_keeps_the_rest() {
        let bytes = [masked(0x82, b"one"), masked(0x82, b"two"), masked(0x82, b"three")].concat();
        let (mut reader, mut found) = (Reader::default(), vec![]);
        let mut new = bytes;
        for _ in 0..4 {
            let pause = |received: Received<'_>| {
                let Received::Message { payload, .. } = received else { panic!("{received:?}") };
                found.push(payload.to_vec());
                Next::Pause
            };
            reader.read(&mut std::mem::take(&mut new), pause).unwrap();
        }
        assert_eq!(found, [&b"one"[..], b"two", b"three"]);
    }

    #[test]
    fn a_buffer_has_little_room_to_spare() {
        let message = masked(0x82, &[7; 70_000]);
        for piece in [1_000, 16_384] {
            let mut reader = Reader::default();
            for piece in message[..message.len() - 1].chunks(piece) {
                reader.read(&mut piece.to_vec(), |received| panic!("{received:?}")).unwrap();
                assert!(reader.rest.capacity() <= 2 * reader.rest.len().min(MAX_SPARE) + reader.rest.len());
            }
            // The end, and the beginning of the next one.
            reader.read(&mut [message[message.len() - 1], 0x82], |_| Next::GoOn).unwrap();
            assert_eq!((reader.rest.len(), reader.rest.capacity()), (1, 1));
        }
    }

    #[test]
    fn who_breaks_the_rules_is_told_how() {
        let mut unmasked = masked(0x82, b"x");
        unmasked[1] &= 0x7F;
        let mut huge = masked(0x82, b"");
        huge[1] = 0xFF;
        huge.splice(2..2, (MAX_FRAME as u64 + 1).to_be_bytes());
        let half = vec![b'x'; MAX_FRAME / 2 + 1];
        for (bytes, violation) in [
            (unmasked, Violation::Protocol),
            (masked(0xC2, b"compressed"), Violation::Protocol),
            (masked(0x83, b"reserved"), Violation::Protocol),
            (masked(0x09, b"a ping in parts"), Violation::Protocol),
            (masked(0x89, &[0; 126]), Violation::Protocol),
            (masked(0x80, b"the end of nothing"), Violation::Protocol),
            ([masked(0x02, b"a"), masked(0x82, b"b")].concat(), Violation::Protocol),
            (masked(0x81, b"\xFF"), Violation::NotUtf8),
            (huge, Violation::TooLong),
            ([masked(0x02, &half), masked(0x80, &half)].concat(), Violation::TooLong),
        ] {
            assert_eq!(read(&bytes, bytes.len()), Err(violation), "{:?}", &bytes[..2]);
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_can_be_read(bytes: Vec<u8>, cuts: Vec<proptest::sample::Index>, pauses: Vec<bool>) {
            let (mut reader, mut pauses) = (Reader::default(), pauses.into_iter());
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let (mut rest, mut start) = (&bytes[..], 0);
            for place in places.into_iter().chain([bytes.len()]) {
                let (piece, more) = rest.split_at(place - start);
                (rest, start) = (more, place);
                let handle = |_: Received<'_>| if pauses.next() == Some(true) { Next::Pause } else { Next::GoOn };
                if reader.read(&mut piece.to_vec(), handle).is_err() {
                    break;
                }
                proptest::prop_assert!(reader.rest.len() <= start);
            }
        }
    }

    #[test]
    fn a_library_understands_what_is_sent() {
        let long = vec![b'x'; 70_000];
        let frames = [
            Frame::message(false, b"bytes"),
            Frame::message(true, &[b'x'; 200]),
            Frame::message(false, &long),
            Frame::pong(b"yes"),
            Frame::close(1001, "bye"),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
        let mut socket = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Client, None);
        assert_eq!(socket.read().unwrap(), Message::binary(b"bytes".to_vec()));
        assert_eq!(socket.read().unwrap(), Message::text("x".repeat(200)));
        assert_eq!(socket.read().unwrap(), Message::binary(long));
        assert_eq!(socket.read().unwrap(), Message::Pong(b"yes".to_vec().into()));
        let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("it is closed") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1001, "bye"));
    }
}
