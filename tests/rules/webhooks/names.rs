//! The names of receivers, and a real DNS server that may not answer.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use reachability_domain::metrics::Counter;
use reachability_tests::receiver::{Answer, Receiver};
use reachability_tests::wait::wait;
use tokio::net::UdpSocket;

use super::requests::reason;
use super::*;

/// A DNS server. It ends when it is dropped.
struct Dns {
    address: SocketAddr,
    /// The names that were asked for.
    asked: Arc<Mutex<BTreeSet<String>>>,
    _server: JoinSet<()>,
}

impl Dns {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(BTreeSet::new())));
        let mut server = JoinSet::new();
        server.spawn(answer(socket, asked.clone()));
        Self { address, asked, _server: server }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Answers for names in `test` that begin with an address, for example `127-0-0-1.test`; never for those that begin with
/// `hangs`; and that there are no others.
async fn answer(socket: UdpSocket, asked: Arc<Mutex<BTreeSet<String>>>) {
    let mut query = [0; 1_024];
    loop {
        let (length, from) = socket.recv_from(&mut query).await.unwrap();
        let (mut labels, mut end) = (Vec::new(), 12);
        while query[end] > 0 {
            let next = end + 1 + usize::from(query[end]);
            labels.push(String::from_utf8(query[end + 1..next].to_vec()).unwrap());
            end = next;
        }
        assert!(end + 5 <= length);
        asked.lock().unwrap().insert(labels.join("."));
        if labels[0].starts_with("hangs") {
            continue;
        }
        let found: Option<Ipv4Addr> = labels[0].replace('-', ".").parse().ok();
        let is_ipv4 = query[end + 1..end + 3] == [0, 1];
        let answers = found.filter(|_| is_ipv4);
        let code = if found.is_some() { 0x80 } else { 0x83 };
        let mut response = query[..2].to_vec();
        // It is an answer, with one question, and so many answers.
        response.extend([0x81, code, 0, 1, 0, u8::from(answers.is_some()), 0, 0, 0, 0]);
        response.extend(&query[12..end + 5]);
        if let Some(address) = answers {
            // The name of the question, A, IN, for a minute.
            response.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            response.extend(address.octets());
        }
        socket.send_to(&response, from).await.unwrap();
    }
}

#[tokio::test]
async fn names_whose_lookup_hangs_delay_no_other() {
    let (dns, receiver) = (Dns::start().await, Receiver::start().await);
    let process = Process::with(Options { dns: Some(dns.address), ..Options::default() }).await;
    let port = receiver.address.port();
    // More services than there is room for at once.
    let mut services = Vec::new();
    for n in 1..=40 {
        services.push(process.service(n, &format!("http://hangs-{n}.test:{port}/")).await);
    }
    for n in 0..20 {
        for of in &services {
            process.connect(*of, &format!("user-{n}")).await;
        }
    }
    process.tell().await;
    let mut under_way = JoinSet::new();
    while process.start_due(&mut under_way).await > 0 {}
    assert_eq!(under_way.len(), 256 + 24, "all that there is room for, and the first one of each other");
    wait("all names are looked up", async || (dns.asked() == services.len()).then_some(())).await;
    for (n, host) in ["127-0-0-1.test", "localhost", "127.0.0.1"].into_iter().enumerate() {
        let quiet = process.service(100 + n as u128, &format!("http://{host}:{port}/")).await;
        process.connect(quiet, "alice").await;
        process.tell().await;
        for expected in [1, 2] {
            assert_eq!(process.start_due(&mut under_way).await, 1);
            wait("a webhook", async || (receiver.inbox.count() == expected).then_some(())).await;
            wait("it is settled", async || process.parts.queue.next_due().or((expected == 2).then_some(now()))).await;
        }
        assert_eq!(receiver.inbox.take()[0].get("ChatServiceSid"), quiet.to_string());
    }
    assert_eq!(process.parts.metrics.counted(Counter::WebhooksRetried), 0, "the others are still under way");
}

#[tokio::test]
async fn addresses_are_judged_whatever_name_they_have() {
    let (dns, receiver) = (Dns::start().await, Receiver::start().await);
    receiver.inbox.answer(|_| Answer::Status(204));
    let port = receiver.address.port();
    let send = async |host: &str, private: bool| {
        let token = watch::channel(Secret::new("a-token-of-the-account").into()).1;
        let sender = HttpWebhooks::new(token, AddressRules { private }, None, now).with_dns_server(dns.address);
        reason(&sender, &format!("http://{host}:{port}/secret")).await
    };
    for (host, private, expected) in [
        ("127-0-0-1.test", true, ""),
        ("127-0-0-1.test.", true, ""),
        ("127-0-0-1.my_names.test", true, ""),
        ("127-0-0-1.test", false, "AddressRefused"),
        ("10-0-0-1.test", false, "AddressRefused"),
        ("169-254-169-254.test", true, "AddressRefused"),
        ("100-100-100-200.test", true, "AddressRefused"),
        ("there-is-none.test", true, "NotConnected"),
        ("hangs.test", true, "TimedOut"),
        // The DNS server is not asked for these.
        ("localhost", true, ""),
        ("LocalHost", true, ""),
        ("localhost", false, "AddressRefused"),
        ("2130706433", true, ""),
        ("127.1", false, "AddressRefused"),
    ] {
        assert_eq!(send(host, private).await, expected, "{host}, {private}");
    }
    let asked = dns.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|name| name.ends_with(".test")), "{asked:?}");
}
