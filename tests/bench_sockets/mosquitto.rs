//! Mosquitto. Each device of a user has a retained topic and a last will; watchers put the devices together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;

use crate::peer::{FRAMES, Line, Peer, SERVER_CORE, Session, Who};
use crate::process::{Process, free_address, installed};

/// The broker gives a client up after one and a half times this: 30 seconds, our server's bound.
const KEEPALIVE: Duration = Duration::from_secs(20);

pub(crate) struct Mosquitto {
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Mosquitto {
    /// `None` if it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let program = installed("mosquitto")?;
        let (address, directory) = (free_address(), tempfile::tempdir().unwrap());
        let configuration = directory.path().join("mosquitto.conf");
        let (ip, port) = (address.ip(), address.port());
        let settings = format!(
            "listener {port} {ip}\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\nuser root\n"
        );
        std::fs::write(&configuration, settings).unwrap();
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER_CORE]).arg(program).arg("-c").arg(configuration);
        let process = Process::start(command.stdout(Stdio::null()), address).await;
        Some(Self { process, address, _directory: directory })
    }
}

impl Peer for Mosquitto {
    type Session = Mqtt;

    fn name(&self) -> &str {
        "mosquitto"
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn open(&self, line: &mut Line, who: &Who) -> io::Result<Mqtt> {
        // A clean session.
        let mut connect = [text("MQTT"), vec![4, 2], (KEEPALIVE.as_secs() as u16).to_be_bytes().to_vec()].concat();
        let (topic, subscriptions) = match who {
            Who::Watcher { number, users } => {
                connect.extend(text(&format!("watcher-{number}")));
                (String::new(), users.clone().map(|user| format!("presence/s/{user}/+")).collect())
            }
            Who::Device { user, device, fully } => {
                let topic = format!("presence/s/{user}/{device}");
                // With a retained will.
                connect[7] |= 0x24;
                connect.extend([text(&format!("{user}-{device}")), text(&topic), text("0")].concat());
                let own = vec![format!("presence/s/{user}/+"), format!("conversations/s/{user}")];
                (topic, if *fully { own } else { Vec::new() })
            }
        };
        line.send(&packet(0x10, &connect)).await?;
        line.read(split).await?;
        if !topic.is_empty() {
            line.send(&online(&topic, "1")).await?;
        }
        if !subscriptions.is_empty() {
            let mut subscribe = vec![0, 1];
            for subscription in &subscriptions {
                subscribe.extend(text(subscription));
                subscribe.push(0);
            }
            line.send(&packet(0x82, &subscribe)).await?;
            // What is retained may come first; nothing is when a watcher comes.
            while line.read(split).await? >> 4 != 9 {}
        }
        Ok(Mqtt { topic, devices: BTreeMap::new() })
    }
}

pub(crate) struct Mqtt {
    topic: String,
    /// The devices that are online, by user.
    devices: BTreeMap<usize, BTreeSet<usize>>,
}

impl Session for Mqtt {
    const KEEPALIVE: Option<(Duration, &'static [u8])> = Some((KEEPALIVE, &[0xC0, 0]));

    fn receive(&mut self, received: &[u8], _: &mut Vec<u8>, hear: &mut dyn FnMut(usize, bool)) -> usize {
        let mut handled = 0;
        while let Some((kind, length)) = split(&received[handled..]) {
            let packet = &received[handled..handled + length];
            handled += length;
            // With its answer, which is an empty one.
            FRAMES.fetch_add(1, Ordering::Relaxed);
            if kind >> 4 != 3 {
                FRAMES.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let Some((user, device, online)) = publication(packet) else { continue };
            let devices = self.devices.entry(user).or_default();
            let before = !devices.is_empty();
            if online {
                devices.insert(device);
            } else {
                devices.remove(&device);
            }
            if before == devices.is_empty() {
                hear(user, online);
            }
        }
        handled
    }

    fn goodbye(&self) -> Vec<u8> {
        [online(&self.topic, "0"), vec![0xE0, 0]].concat()
    }
}

/// The user, the device, and whether it is online.
fn publication(packet: &[u8]) -> Option<(usize, usize, bool)> {
    let start = memchr::memmem::find(packet, b"presence/")?;
    let (_, rest) = packet[start..].split_at(b"presence/s/".len());
    let (value, topic) = rest.split_last()?;
    let (user, device) = std::str::from_utf8(topic).ok()?.split_once('/')?;
    Some((user.parse().ok()?, device.parse().ok()?, *value == b'1'))
}

/// Publishes a retained value.
fn online(topic: &str, value: &str) -> Vec<u8> {
    packet(0x31, &[text(topic), value.as_bytes().to_vec()].concat())
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut rest) = (vec![kind], body.len());
    loop {
        let more = if rest > 127 { 128 } else { 0 };
        packet.push((rest % 128) as u8 | more);
        rest /= 128;
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// The kind and the length of the first packet, if it is complete.
fn split(received: &[u8]) -> Option<(u8, usize)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *received.get(at)?;
        length |= usize::from(byte & 127) << (7 * (at - 1));
        at += 1;
        if byte & 128 == 0 {
            break;
        }
    }
    (received.len() >= at + length).then_some((received[0], at + length))
}
