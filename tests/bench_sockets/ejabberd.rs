//! Ejabberd, where anybody may log in. A device directs its presence to those who watch its user, and the server tells them
//! when it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::peer::{FRAMES, Line, Peer, SERVER_CORE, Session, Who};
use crate::process::{Process, free_address, installed};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

pub(crate) struct Ejabberd {
    process: Process,
    address: SocketAddr,
    /// The watchers, and whom they watch.
    watchers: Mutex<Vec<(Range<usize>, String)>>,
    _directory: TempDir,
}

impl Ejabberd {
    /// `None` if it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        // Its script would start it as another user, whose limit of files is too low.
        installed("ejabberdctl")?;
        let (program, directory) = (installed("erl")?, tempfile::tempdir().unwrap());
        let address = free_address();
        let configuration = directory.path().join("ejabberd.yml");
        std::fs::write(&configuration, settings(address)).unwrap();
        let mut command = Command::new("taskset");
        command
            .args(["-c", SERVER_CORE])
            .arg(program)
            // Threads that wait actively would count as processor time.
            .args(["+K", "true", "+P", "250000", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "-noinput"])
            .args(["-mnesia", "dir", &format!("{:?}", directory.path().join("spool")), "-s", "ejabberd"])
            .env("EJABBERD_CONFIG_PATH", configuration)
            .env("EJABBERD_LOG_PATH", directory.path().join("ejabberd.log"))
            .env("ERL_LIBS", Path::new(LIBRARIES))
            .env("ERL_MAX_PORTS", "32000")
            .env("HOME", directory.path())
            .current_dir(directory.path())
            .stdout(Stdio::null());
        let process = Process::start(&mut command, address).await;
        Some(Self { process, address, watchers: Mutex::default(), _directory: directory })
    }
}

/// It pings as our server does at its default bound of 30 seconds.
fn settings(address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "hosts: [localhost]
loglevel: error
listen:
  - port: {port}
    ip: \"{ip}\"
    module: ejabberd_c2s
    max_stanza_size: 262144
    shaper: none
    access: all
    backlog: 4096
auth_method: anonymous
anonymous_protocol: login_anon
allow_multiple_connections: true
modules:
  mod_ping:
    send_pings: true
    ping_interval: 20
    ping_ack_timeout: 10
    timeout_action: kill
"
    )
}

impl Peer for Ejabberd {
    type Session = Xmpp;

    fn name(&self) -> &str {
        "ejabberd"
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    async fn open(&self, line: &mut Line, who: &Who) -> io::Result<Xmpp> {
        const START: &[u8] =
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";
        line.send(START).await?;
        line.read_until(b"</stream:features>").await?;
        let name = match who {
            Who::Watcher { number, .. } => format!("watcher-{number}"),
            Who::Device { user, device, .. } => format!("user-{user}-{device}"),
        };
        let password = STANDARD.encode(format!("\0{name}\0anything"));
        let login = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{password}</auth>");
        line.send(login.as_bytes()).await?;
        line.read_until(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await?;
        line.send(START).await?;
        line.read_until(b"</stream:features>").await?;
        line.send(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await?;
        let bound = String::from_utf8_lossy(&line.read_until(b"</iq>").await?).into_owned();
        let id = between(&bound, "<jid>", "</jid>").ok_or(io::ErrorKind::InvalidData)?;
        match who {
            Who::Watcher { users, .. } => {
                self.watchers.lock().unwrap().push((users.clone(), id.to_owned()));
                line.send(b"<presence/>").await?;
            }
            Who::Device { user, device, .. } => {
                let mut presence = String::new();
                for (users, watcher) in &*self.watchers.lock().unwrap() {
                    if users.contains(user) {
                        presence += &format!("<presence to='{watcher}'><status>{user} {device}</status></presence>");
                    }
                }
                // Without watchers, to nobody in particular.
                line.send(if presence.is_empty() { b"<presence/>" } else { presence.as_bytes() }).await?;
            }
        }
        Ok(Xmpp::default())
    }
}

#[derive(Default)]
pub(crate) struct Xmpp {
    /// The user of a device.
    users: BTreeMap<String, usize>,
    /// The devices that are online, by user.
    devices: BTreeMap<usize, BTreeSet<String>>,
}

impl Session for Xmpp {
    fn receive(&mut self, received: &[u8], answer: &mut Vec<u8>, hear: &mut dyn FnMut(usize, bool)) -> usize {
        let mut handled = 0;
        while let Some(length) = stanza(&received[handled..]) {
            let stanza = String::from_utf8_lossy(&received[handled..handled + length]).into_owned();
            handled += length;
            FRAMES.fetch_add(1, Ordering::Relaxed);
            if stanza.contains("urn:xmpp:ping") {
                let id = between(&stanza, "id='", "'").unwrap_or_default();
                answer.extend(format!("<iq type='result' to='localhost' id='{id}'/>").into_bytes());
                FRAMES.fetch_add(1, Ordering::Relaxed);
            } else if stanza.starts_with("<presence") {
                self.presence(&stanza, hear);
            }
        }
        handled
    }

    fn goodbye(&self) -> Vec<u8> {
        b"<presence type='unavailable'/></stream:stream>".to_vec()
    }
}

impl Xmpp {
    fn presence(&mut self, stanza: &str, hear: &mut dyn FnMut(usize, bool)) {
        let Some(from) = between(stanza, "from='", "'") else { return };
        let online = !stanza.contains("type='unavailable'");
        if let Some((user, _)) = between(stanza, "<status>", "</status>").and_then(|status| status.split_once(' ')) {
            self.users.insert(from.to_owned(), user.parse().unwrap());
        }
        let Some(user) = self.users.get(from) else { return };
        let devices = self.devices.entry(*user).or_default();
        let before = !devices.is_empty();
        if online {
            devices.insert(from.to_owned());
        } else {
            devices.remove(from);
        }
        if before == devices.is_empty() {
            hear(*user, online);
        }
    }
}

/// The length of the first stanza, if it is complete.
fn stanza(received: &[u8]) -> Option<usize> {
    let tag = memchr::memchr(b'>', received)? + 1;
    if received[..tag].ends_with(b"/>") || received.starts_with(b"</") {
        return Some(tag);
    }
    let name = received[1..tag].split(|byte| [b' ', b'>'].contains(byte)).next()?;
    let end = [b"</", name, b">"].concat();
    Some(memchr::memmem::find(received, &end)? + end.len())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
