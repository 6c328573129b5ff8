//! The stand-ins for AWS start, answer and end, and the proxy in front of them injects the given faults.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it is a test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reachability_tests::external::docker::Docker;
use reachability_tests::external::dynamodb_local::DynamoDbLocal;
use reachability_tests::external::fault_proxy::{Counts, FaultProxy, Faults};
use reachability_tests::external::ministack::MiniStack;
use reachability_tests::external::process::{Ending, Process};
use reachability_tests::external::{sam, skip};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn dynamodb_local_answers() {
    assert_eq!(tables(&DynamoDbLocal::start().url()).await, r#"{"TableNames":[]}"#);
}

#[tokio::test]
async fn ministack_answers() {
    assert_eq!(tables(&MiniStack::start(|_| {}).url()).await.replace(' ', ""), r#"{"TableNames":[]}"#);
}

async fn tables(url: &str) -> String {
    let request = reqwest::Client::new()
        .post(url)
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        )
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .body("{}");
    request.send().await.unwrap().text().await.unwrap()
}

#[test]
fn sam_runs() {
    let output = sam::command().arg("--version").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn docker_runs_the_image_of_the_runtime() {
    let docker = match Docker::start() {
        Ok(docker) => docker,
        Err(reason) => return skip(&reason),
    };
    let output = docker.command().args(["run", "--rm", &Docker::lambda_image(), "true"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The variable with the file in which [`starts_something_and_is_killed`] writes what it has started.
const NOTE: &str = "REACHABILITY_TEST_NOTE";

#[test]
fn programs_of_a_killed_test_end() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("note");
    // The module's name without the crate's.
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::starts_something_and_is_killed"), "--ignored"])
        .env(NOTE, &note)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    wait_until(|| {
        lines = std::fs::read_to_string(&note).unwrap_or_default().lines().map(str::to_owned).collect();
        lines.len() == 3
    });
    let [child, grandchild, home] = &lines[..] else { unreachable!() };
    assert!(lives(child) && lives(grandchild) && Path::new(home).is_dir());
    test.kill().unwrap();
    test.wait().unwrap();
    wait_until(|| !lives(child) && !lives(grandchild) && !Path::new(home).exists());
}

#[test]
#[ignore = "it is run by the test above"]
fn starts_something_and_is_killed() {
    let Some(note) = std::env::var_os(NOTE) else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // Both ignore `SIGTERM`, so they have to be killed.
    let script =
        "trap '' TERM; sleep 1000 & echo $$ >>$0/note; echo $! >>$0/note; echo $0 >>$0/note; mv $0/note $1; wait";
    command.args(["-c", script]).arg(directory.path()).arg(note);
    let ending = Ending { grace: Duration::from_secs(1), ..Default::default() };
    let _process = Process::start_in(directory, &command, &ending);
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_dropped_program_has_ended() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$; exec sleep 1000"]);
    let mut process = Process::start(&command);
    let pid = process.wait_for(Duration::from_secs(10), |process| process.log().lines().next().map(str::to_owned));
    let pid = pid.unwrap();
    let home = process.directory().to_owned();
    assert!(lives(&pid) && home.exists());
    drop(process);
    assert!(!lives(&pid) && !home.exists());
}

#[test]
fn the_error_of_a_program_that_ended_has_its_output() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo no, thanks; exit 3"]);
    let error = Process::start(&command).wait_for(Duration::from_secs(10), |_| None::<()>).unwrap_err();
    assert_eq!(error, "it ended:\nno, thanks\nended with status 3\n");
}

fn lives(pid: &str) -> bool {
    Command::new("sh").args(["-c", "kill -0 $0 2>/dev/null", pid]).status().unwrap().success()
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that answers and counts `GET` requests, and a proxy in front of it.
async fn counting_server() -> (FaultProxy, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(&listener.local_addr().unwrap().to_string(), 1).await;
    let requests = Arc::new(AtomicU64::new(0));
    let count = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = count.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer").await;
                }
            });
        }
    });
    (proxy, requests)
}

async fn get(proxy: &FaultProxy) -> reqwest::Result<String> {
    // A new client, which has no idle connection, and so does not retry by itself.
    let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build()?;
    client.get(proxy.url()).send().await?.text().await
}

#[tokio::test]
async fn the_proxy_injects_the_given_faults() {
    let (proxy, requests) = counting_server().await;
    let mut reached = 0;
    let cases = [
        (Faults::default(), true, true),
        (Faults { cut_before: 1.0, ..Faults::default() }, false, false),
        (Faults { cut_after: 1.0, ..Faults::default() }, true, false),
        (Faults { cut_within: 1.0, ..Faults::default() }, true, false),
        (Faults { stall: 1.0, ..Faults::default() }, true, false),
        (Faults { delay: 1.0, delay_by: Duration::from_millis(300), ..Faults::default() }, true, true),
        (Faults::default(), true, true),
    ];
    for (faults, reaches, answers) in cases {
        proxy.set(faults);
        let start = Instant::now();
        let answer = get(&proxy).await;
        let elapsed = start.elapsed();
        reached += u64::from(reaches);
        assert_eq!(requests.load(Ordering::SeqCst), reached, "{faults:?}");
        assert_eq!(answer.is_ok(), answers, "{faults:?}: {answer:?}");
        assert_eq!(answer.is_err_and(|error| error.is_timeout()), faults.stall > 0.0, "{faults:?}");
        assert!(elapsed >= faults.delay_by, "{faults:?}: {elapsed:?}");
    }
    let counts = Counts { passed: 2, cut_before: 1, cut_after: 1, cut_within: 1, stalled: 1, delayed: 1 };
    assert_eq!(proxy.counts(), counts);
}

#[tokio::test]
async fn faults_are_drawn_for_each_request() {
    let (proxy, requests) = counting_server().await;
    proxy.set(Faults { cut_before: 0.1, cut_after: 0.1, cut_within: 0.1, ..Faults::default() });
    let client = reqwest::Client::new();
    let mut answered = 0;
    for _ in 0..1000 {
        let answer = async { client.get(proxy.url()).send().await?.text().await };
        answered += u64::from(answer.await.is_ok());
    }
    let counts = proxy.counts();
    assert_eq!(counts.passed, answered);
    assert_eq!(requests.load(Ordering::SeqCst), counts.passed + counts.cut_after + counts.cut_within);
    for cuts in [counts.cut_before, counts.cut_after, counts.cut_within] {
        assert!((50..200).contains(&cuts), "{counts:?}");
    }
}
