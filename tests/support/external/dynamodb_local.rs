//! Amazon DynamoDB Local.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::process::{Ending, Process};
use super::{answers, installed};

/// A running instance, in memory, shared by all credentials and regions.
#[derive(Debug)]
pub struct DynamoDbLocal {
    port: u16,
    process: Process,
}

impl DynamoDbLocal {
    /// The instance that the tests of a process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<DynamoDbLocal> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a new instance.
    pub fn start() -> Self {
        let home = installed("dynamodb-local").unwrap_or_else(|error| panic!("{error}")).join("dynamodb-local");
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("java");
        command
            // Without these it writes into /tmp, and compiles more than pays off in a test.
            .args(["-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Djava.io.tmpdir={}", directory.path().display()))
            .arg(format!("-Djava.library.path={}", home.join("DynamoDBLocal_lib").display()))
            .arg("-cp")
            .arg(home.join("DynamoDBLocal.jar"))
            .arg("org.eclipse.jetty.xml.XmlConfiguration")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/dynamodb-local.xml"));
        let mut process = Process::start_in(directory, &command, &Ending::default());
        let port = process
            .wait_for(Duration::from_secs(60), |process| {
                let log = process.log();
                let (_, port) = log.split_once("SelectChannelConnector@127.0.0.1:")?;
                let port = port.lines().next()?.parse().ok()?;
                answers(port, LIST_TABLES).then_some(port)
            })
            .unwrap_or_else(|error| panic!("DynamoDB Local does not start: {error}"));
        Self { port, process }
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

const LIST_TABLES: &str = "POST / HTTP/1.1\r\n\
    Host: 127.0.0.1\r\n\
    Connection: close\r\n\
    Authorization: AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, \
    Signature=test\r\n\
    Content-Type: application/x-amz-json-1.0\r\n\
    X-Amz-Target: DynamoDB_20120810.ListTables\r\n\
    Content-Length: 2\r\n\
    \r\n\
    {}";
