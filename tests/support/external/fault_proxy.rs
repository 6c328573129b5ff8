//! A proxy that injects network faults into HTTP exchanges.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The probability of each fault, from 0 to 1. Their sum is at most 1; the other exchanges pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The connection is cut before the server receives the request.
    pub cut_before: f64,
    /// The server has handled the request, and the connection is cut before the response.
    pub cut_after: f64,
    /// The connection is cut in the middle of the response.
    pub cut_within: f64,
    /// The server has handled the request, but the client gets no response until it disconnects.
    pub stall: f64,
    /// The response is delayed by [`Faults::delay_by`].
    pub delay: f64,
    /// The length of a delay.
    pub delay_by: Duration,
}

/// How often each outcome occurred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called as the faults are")]
pub struct Counts {
    pub passed: u64,
    pub cut_before: u64,
    pub cut_after: u64,
    pub cut_within: u64,
    pub stalled: u64,
    pub delayed: u64,
}

/// A running proxy on loopback, in front of one server. It ends when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Plan {
    faults: Faults,
    counts: Counts,
    random: u64,
    /// The words of a request whose response is lost.
    next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    CutBefore,
    CutAfter,
    CutWithin,
    Stall,
    Delay(Duration),
}

impl FaultProxy {
    /// In front of this server, which is a `host:port` or a URL of one. It lets everything pass until
    /// [`FaultProxy::set`].
    pub async fn start(server: &str, seed: u64) -> Self {
        Self::start_on("127.0.0.1:0", server, seed).await
    }

    /// Like [`FaultProxy::start`], on an address that the caller chooses.
    #[allow(clippy::print_stdout, reason = "it is shown if the test fails")]
    pub async fn start_on(listen: &str, server: &str, seed: u64) -> Self {
        println!("the faults' seed is {seed}");
        let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan {
            faults: Faults::default(),
            counts: Counts::default(),
            random: seed,
            next: None,
        }));
        let listener = tokio::spawn(listen_on(listener, server, plan.clone()));
        Self { address, plan, listener }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the faults from now on.
    pub fn set(&self, faults: Faults) {
        self.plan.lock().unwrap().faults = faults;
    }

    /// The next request with these words in its head is handled, and the connection is cut before the response.
    pub fn cut_after_next(&self, words: &str) {
        self.plan.lock().unwrap().next = Some(words.to_owned());
    }

    /// The outcomes so far.
    pub fn counts(&self) -> Counts {
        self.plan.lock().unwrap().counts
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The tasks of its connections are dropped with this set.
        self.listener.abort();
    }
}

impl Plan {
    /// The fate of the next exchange, whose request begins like this.
    fn decide(&mut self, request: &[u8]) -> Fate {
        if self.next.as_ref().is_some_and(|words| String::from_utf8_lossy(request).contains(words.as_str())) {
            self.next = None;
            self.counts.cut_after += 1;
            return Fate::CutAfter;
        }
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let mut left = (bits >> 11) as f64 / (1u64 << 53) as f64;

        let Self { faults, counts, .. } = self;
        let fates = [
            (faults.cut_before, Fate::CutBefore, &mut counts.cut_before),
            (faults.cut_after, Fate::CutAfter, &mut counts.cut_after),
            (faults.cut_within, Fate::CutWithin, &mut counts.cut_within),
            (faults.stall, Fate::Stall, &mut counts.stalled),
            (faults.delay, Fate::Delay(faults.delay_by), &mut counts.delayed),
            (f64::INFINITY, Fate::Pass, &mut counts.passed),
        ];
        for (rate, fate, count) in fates {
            if left < rate {
                *count += 1;
                return fate;
            }
            left -= rate;
        }
        Fate::Pass
    }
}

async fn listen_on(listener: TcpListener, server: String, plan: Arc<Mutex<Plan>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let (server, plan) = (server.clone(), plan.clone());
                connections.spawn(async move {
                    // After an error both ends see a closed connection.
                    let _ = relay(client, &server, &plan).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Relays one connection until one end closes it or a fault does. What the client sends after a response is the next
/// request.
async fn relay(mut client: TcpStream, server: &str, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut of_client, mut of_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut fate = Fate::Pass;
    let mut has_spoken = true;
    loop {
        tokio::select! {
            length = client.read(&mut of_client) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                if has_spoken {
                    has_spoken = false;
                    fate = plan.lock().unwrap().decide(&of_client[..length]);
                    if fate == Fate::CutBefore {
                        return Ok(());
                    }
                }
                server.write_all(&of_client[..length]).await?;
            }
            length = server.read(&mut of_server) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                if !has_spoken {
                    has_spoken = true;
                    match fate {
                        Fate::CutAfter => return Ok(()),
                        Fate::CutWithin => return client.write_all(&of_server[..length / 2]).await,
                        Fate::Stall => {
                            while client.read(&mut of_client).await? > 0 {}
                            return Ok(());
                        }
                        Fate::Delay(time) => tokio::time::sleep(time).await,
                        Fate::Pass | Fate::CutBefore => {}
                    }
                }
                client.write_all(&of_server[..length]).await?;
            }
        }
    }
}
