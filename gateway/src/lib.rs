//! The protocols that clients speak, pure: no I/O, no clock, no sockets.
//!
//! * [`twilsock`]: the protocol of the vendor's clients, as steps of a session that can be written down between any two
//! * [`sync`]: the notifications in which those clients hear of users
//! * [`json`]: the protocol of `/v1/Socket`, as steps of a session as well
//! * [`session`]: what sessions of all protocols have in common
//!
//! A *shell* holds the sockets. It gives a session what happens (a frame, an answer, a time), and does what the session
//! says. So the same code runs in one process, and where nothing is kept between two frames.
//!
//! `docs/twilsock.md` and `docs/socket.md` describe the protocols.

pub mod json;
pub mod session;
pub mod sync;
pub mod twilsock;
