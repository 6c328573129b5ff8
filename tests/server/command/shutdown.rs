//! How it ends.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use reachability_tests::raw::{Connection, FORM, basic};
use reachability_tests::server::{PATIENCE, Server};

use super::stop;

#[test]
fn signals_end_it_once_the_requests_under_way_are_answered() {
    for (signal, words) in [("-TERM", "SIGTERM"), ("-INT", "Ctrl-C")] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), &[]);
        let address = server.address();
        let idle = Connection::open(address);
        let mut busy = Connection::open(address);
        let owner = basic(&server.account, &server.token);
        busy.send(format!(
            "POST /v1/Services HTTP/1.1\r\nHost: {address}\r\n{owner}\r\n\
             {FORM}\r\nContent-Length: 17\r\nExpect: 100-continue\r\n\r\n"
        ));
        // The server has the request, and waits for the body.
        let mut received = [0; 25];
        busy.stream().read_exact(&mut received).unwrap();
        assert_eq!(received, *b"HTTP/1.1 100 Continue\r\n\r\n");

        assert!(Command::new("kill").args([signal, &server.pid().to_string()]).status().unwrap().success());
        let started = Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(started.elapsed() < PATIENCE, "{signal}: it goes on");
            thread::sleep(Duration::from_millis(5));
        }
        busy.send("FriendlyName=last");
        let answer = busy.receive("POST").unwrap();
        assert_eq!(answer.status, 201, "{signal}: {answer:?}");
        assert!(answer.body.contains("\"friendly_name\":\"last\""), "{signal}: {answer:?}");
        assert!(busy.is_closed(), "{signal}");

        let started = Instant::now();
        let logs = stop(server);
        // The server does not wait for clients without a request.
        assert!(started.elapsed() < Duration::from_secs(5), "{signal}: {:?}", started.elapsed());
        drop(idle);
        for words in [words, "\"stopped\""] {
            assert!(logs.contains(words), "{signal}: no {words} in {logs}");
        }
    }
}
