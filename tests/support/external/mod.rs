//! Programs that stand in for AWS, as `tests/tools/setup` installs them, and faults on the way to them.

pub mod clock;
pub mod debian;
pub mod docker;
pub mod dynamodb_local;
pub mod fault_proxy;
pub mod ministack;
pub mod ports;
pub mod process;
pub mod sam;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Reports that a test is skipped, and why. It writes past the capture of output, which hides what a passing test
/// prints.
pub fn skip(reason: &str) {
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {reason}\n").as_bytes());
}

/// The directory of the tools. Fails if this one is not installed there in the pinned version.
pub fn installed(name: &str) -> Result<PathBuf, String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = tests.join("../target/test-tools");
    let stamp = std::fs::read(home.join(format!("{name}.stamp"))).ok();
    let pins = std::fs::read(tests.join(format!("tools/{name}.txt"))).unwrap();
    if stamp != Some(pins) {
        return Err(format!("{name} is not installed, or not as it is now pinned: run tests/tools/setup"));
    }
    Ok(home.canonicalize().unwrap())
}

/// Removes the variables with this prefix from a command's environment; an empty prefix removes all.
fn forget_environment(command: &mut Command, prefix: &str) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(prefix) {
            command.env_remove(name);
        }
    }
}

/// Whether a server on loopback answers this request with success.
fn answers(port: u16, request: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200" || status == *b"HTTP/1.0 200")
    };
    ask().unwrap_or(false)
}
