//! Other servers: started by hand on a free port of loopback, and ended.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peer::PATIENCE;

/// Where a program is, if it is installed.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    path.split(':').map(|directory| PathBuf::from(directory).join(program)).find(|file| file.is_file())
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A running server. It is killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(command: &mut Command, address: SocketAddr) -> Self {
        let process = Self(command.stdin(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
