//! Ports for programs that cannot choose a free port themselves.

use std::net::TcpListener;

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts something on a free port. Tries once more if another program takes the port first.
pub fn start<T>(mut start: impl FnMut(u16) -> Result<T, String>) -> Result<T, String> {
    let mut result = start(free());
    for _ in 0..2 {
        match &result {
            Err(error) if error.to_lowercase().contains("in use") => result = start(free()),
            _ => break,
        }
    }
    result
}
