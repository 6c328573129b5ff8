//! Events, and services to which they belong.

use std::fmt::Write;

use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_tests::client::Client as Owner;
use reachability_tests::server::Server;

/// A service with reachability on.
pub(crate) struct Service {
    pub(crate) sid: String,
    /// Where its events are sent.
    pub(crate) events: String,
}

impl Service {
    pub(crate) async fn create(server: &Server) -> Self {
        let sid = Owner::of(server).enabled_service().await;
        Self { events: format!("/v1/Services/{sid}/Events"), sid }
    }

    /// Adds an event that occurs now.
    pub(crate) fn add(&self, json: &mut String, kind: &str, user: &str, connection: &str) {
        self.add_at(json, kind, user, connection, clock::now());
    }

    pub(crate) fn add_at(&self, json: &mut String, kind: &str, user: &str, connection: &str, at: Timestamp) {
        let end = if kind == "disconnect" { r#","reason":"client_closed""# } else { "" };
        writeln!(
            json,
            r#"{{"type":"{kind}","service_sid":"{}","identity":"{user}","connection_id":"{connection}","occurred_at":"{at}"{end}}}"#,
            self.sid
        )
        .unwrap();
    }
}

/// A request with many events, which can be sent again with other times.
pub(crate) struct Batch {
    pub(crate) request: Vec<u8>,
    /// Where the times are in the request.
    times: Vec<usize>,
    length: usize,
}

impl Batch {
    pub(crate) fn of(request: Vec<u8>) -> Self {
        const NAME: &[u8] = b"\"occurred_at\":\"";
        let times: Vec<usize> = memchr::memmem::find_iter(&request, NAME).map(|at| at + NAME.len()).collect();
        let length = times.first().map_or(0, |at| memchr::memchr(b'"', &request[*at..]).unwrap());
        Self { request, times, length }
    }

    /// Lets all its events occur now.
    pub(crate) fn renew(&mut self) {
        let now = clock::now().to_string();
        assert_eq!(now.len(), self.length);
        for at in &self.times {
            self.request[*at..at + self.length].copy_from_slice(now.as_bytes());
        }
    }
}
