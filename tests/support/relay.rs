//! A TCP relay in front of a server that may be restarted: clients keep one address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

/// A running relay on loopback. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    connections: Vec<AbortHandle>,
}

impl Relay {
    /// In front of the server at this URL.
    pub async fn start(url: &str) -> Self {
        let shared = Arc::new(Mutex::new(Shared { target: address(url), connections: vec![] }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr().unwrap();
        let accepting = shared.clone();
        let listener = tokio::spawn(async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                let target = accepting.lock().unwrap().target.clone();
                let relayed = tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                let mut shared = accepting.lock().unwrap();
                shared.connections.retain(|connection| !connection.is_finished());
                shared.connections.push(relayed.abort_handle());
            }
        });
        Self { address: bound, shared, listener }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connects later clients to the server at this URL.
    pub fn retarget(&self, url: &str) {
        self.shared.lock().unwrap().target = address(url);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.lock().unwrap().connections.drain(..).for_each(|connection| connection.abort());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
        self.listener.abort();
    }
}

fn address(url: &str) -> String {
    url.strip_prefix("http://").unwrap().to_owned()
}
