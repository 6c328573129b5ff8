//! `reachability replay`: handles a recorded log with the worker's own code and prints the resulting reachability.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::ports::Services;
use reachability_domain::directory::service::{DefaultRoles, Service};
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::ids::Ids;
use reachability_domain::presence::acceptance::Acceptance;
use reachability_domain::presence::appearance::{Appearance, Viewer};
use reachability_domain::presence::event::Event;
use reachability_domain::presence::message::{Accepted, PresenceMessage};
use reachability_domain::presence::ports::States;
use reachability_domain::queue::{Queue, QueueError};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::ids::Uuids;
use reachability_infra::memory::MemoryStore;
use reachability_infra::metrics::EmfMetrics;
use reachability_worker::{Failure, Worker, WorkerPorts};
use serde::Serialize;

use crate::settings::ReplaySettings;

/// Maximum number of events per batch. All events of a user in one batch are one write.
const BATCH: usize = 100_000;

/// How many users' states one request reads.
const STATES: usize = 10_000;

/// Why a replay failed or is incomplete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the result")]
    Write(#[source] io::Error),
    #[error("an event could not be handled")]
    Worker(#[from] Failure),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{refused} of {lines} lines were refused; the result is without them")]
    Refused { refused: usize, lines: usize },
}

/// A user's line in the result.
#[derive(Serialize)]
struct Line<'a> {
    service_sid: ServiceSid,
    identity: &'a Identity,
    is_online: Option<bool>,
    is_notifiable: Option<bool>,
    last_active: Option<String>,
}

/// The contents of a log.
#[derive(Default)]
struct Log {
    events: Vec<Event>,
    lines: usize,
    refused: usize,
}

pub(crate) async fn run(settings: ReplaySettings) -> Result<(), ReplayError> {
    let rules = settings.rules();
    let mut log = read(&settings.file).map_err(|source| ReplayError::Read { path: settings.file.clone(), source })?;
    let last = log.events.iter().map(|event| event.occurred_at).max().unwrap_or_default();
    let at = settings.at.unwrap_or_else(|| last.plus(rules.grace));
    log.events.retain(|event| event.occurred_at <= at);

    let store = Arc::new(MemoryStore::default());
    let ids: Arc<dyn Ids> = Arc::new(Uuids);
    let users: BTreeSet<UserKey> = log.events.iter().map(|event| event.user.clone()).collect();
    let services: BTreeSet<ServiceSid> = users.iter().map(|user| user.service).collect();
    // A replay treats every service as switched on.
    let mut configuration = Configuration::default();
    configuration.set_reachability_enabled(true, at);
    for sid in services {
        let roles = DefaultRoles { conversation_creator: ids.sid(), conversation: ids.sid(), service_user: ids.sid() };
        let service = Service { configuration, ..Service::new(sid, String::new(), roles, at) };
        store.create_service(&service).await?;
    }

    let ports = WorkerPorts {
        services: store.clone(),
        deleted_services: None,
        states: store.clone(),
        events: Arc::new(NoQueue),
        ids: ids.clone(),
        metrics: Arc::new(EmfMetrics::default()),
    };
    let worker = Worker::new(ports, rules, Duration::ZERO, clock::now);
    let progress = progress(log.events.len() as u64, "{bar:40} {human_pos} of {human_len} events, {eta} left");
    let accepted = |event| PresenceMessage::Event(Accepted::new(event, Some(Acceptance::now(&configuration))));
    let mut events = log.events.into_iter().map(accepted);
    loop {
        let batch: Vec<PresenceMessage> = events.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        progress.inc(batch.len() as u64);
        if let Some((_, failure)) = worker.process(batch, at).await.into_iter().next() {
            return Err(failure.into());
        }
    }
    progress.finish_and_clear();

    match write(&store, configuration, &users, at).await {
        // The reader of the pipe has closed it.
        Err(ReplayError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        written => written?,
    }
    match log.refused {
        0 => Ok(()),
        refused => Err(ReplayError::Refused { refused, lines: log.lines }),
    }
}

/// Reads all events of a file. Reports and skips invalid lines.
fn read(path: &Path) -> io::Result<Log> {
    let progress;
    let mut input: Box<dyn BufRead> = if path == Path::new("-") {
        progress = ProgressBar::hidden();
        Box::new(BufReader::new(io::stdin().lock()))
    } else {
        let file = File::open(path)?;
        progress = self::progress(file.metadata()?.len(), "{bar:40} {bytes} of {total_bytes} read, {eta} left");
        Box::new(BufReader::with_capacity(1 << 16, progress.wrap_read(file)))
    };
    // The magic number of gzip.
    if input.fill_buf()?.starts_with(&[0x1F, 0x8B]) {
        input = Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)));
    }

    let mut log = Log::default();
    let mut line = Vec::new();
    let mut number = 0;
    while read_line(&mut input, &mut line)? {
        number += 1;
        // Some programs begin a file with a byte order mark.
        let event = line.strip_prefix("\u{FEFF}".as_bytes()).filter(|_| number == 1).unwrap_or(&line).trim_ascii();
        if event.is_empty() {
            continue;
        }
        log.lines += 1;
        match Event::parse(event) {
            Ok(event) => log.events.push(event),
            Err(error) => {
                log.refused += 1;
                progress.suspend(|| writeln!(io::stderr(), "line {number}: {error}"))?;
            }
        }
    }
    progress.finish_and_clear();
    Ok(log)
}

/// Reads one line, up to [`MAX_LINE`] bytes. Returns whether there was one.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

/// Maximum length of a line, in bytes. A longer line is not a valid event.
const MAX_LINE: u64 = 1 << 20;

/// Prints the users' reachability.
async fn write(
    store: &MemoryStore,
    configuration: Configuration,
    users: &BTreeSet<UserKey>,
    at: Timestamp,
) -> Result<(), ReplayError> {
    let mut output = BufWriter::new(io::stdout().lock());
    let users: Vec<UserKey> = users.iter().cloned().collect();
    for users in users.chunks(STATES) {
        for (user, state) in users.iter().zip(store.states(users).await?) {
            let reachability = Appearance::of(&configuration, &state, at, Viewer::Other).reachability;
            let line = Line {
                service_sid: user.service,
                identity: &user.identity,
                is_online: reachability.online,
                is_notifiable: reachability.notifiable,
                last_active: state.presence.last_active.map(|time| time.to_string()),
            };
            serde_json::to_writer(&mut output, &line).map_err(|error| ReplayError::Write(error.into()))?;
            output.write_all(b"\n").map_err(ReplayError::Write)?;
        }
    }
    output.flush().map_err(ReplayError::Write)
}

/// A progress bar on a terminal, nothing elsewhere.
fn progress(length: u64, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Drops all messages: a replay computes one moment and needs no timers.
struct NoQueue;

#[async_trait]
impl<M: Sync> Queue<M> for NoQueue {
    async fn send(&self, _messages: &[M]) -> Result<(), QueueError> {
        Ok(())
    }
}
