//! A TCP relay in front of a server that may be restarted: clients keep one address.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// A running relay on loopback. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    flows: watch::Sender<bool>,
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
        let (flows, may_flow) = watch::channel(true);
        let accepting = shared.clone();
        let listener = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let target = accepting.lock().unwrap().target.clone();
                let relayed = tokio::spawn(relay(client, target, may_flow.clone()));
                let mut shared = accepting.lock().unwrap();
                shared.connections.retain(|connection| !connection.is_finished());
                shared.connections.push(relayed.abort_handle());
            }
        });
        Self { address: bound, shared, flows, listener }
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

    /// Cuts all connections, and later ones too, until there is a target again.
    pub fn refuse(&self) {
        // Nothing listens there.
        self.retarget("http://127.0.0.1:9");
        self.cut();
    }

    /// Forwards nothing any more, as if a cable was cut: neither end is told.
    pub fn freeze(&self) {
        self.flows.send_replace(false);
    }

    /// Forwards again, also what came meanwhile.
    pub fn thaw(&self) {
        self.flows.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
        self.listener.abort();
    }
}

async fn relay(mut client: TcpStream, target: String, flows: watch::Receiver<bool>) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::try_join!(forward(from_client, to_server, flows.clone()), forward(from_server, to_client, flows))?;
    Ok(())
}

async fn forward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut flows: watch::Receiver<bool>) -> io::Result<()> {
    let mut buffer = vec![0; 8_192];
    loop {
        let length = from.read(&mut buffer).await?;
        flows.wait_for(|flows| *flows).await.map_err(io::Error::other)?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

fn address(url: &str) -> String {
    url.strip_prefix("http://").unwrap().to_owned()
}
