//! `reachability serve`: everything in one process.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use reachability_domain::directory::auth_tokens::AuthTokens;
use reachability_domain::directory::ports::{ApiKeys, Services, Users};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::ids::Ids;
use reachability_domain::metrics::Metrics;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::presence::ports::ChangeLog;
use reachability_domain::push::message::{PushMessage, ScanServices};
use reachability_domain::queue::Queue;
use reachability_domain::store::StoreError;
use reachability_functions::app::{App, Ports, Settings};
use reachability_functions::event_stream::EventStream;
use reachability_functions::{Changes, store_default_service};
use reachability_infra::clock;
use reachability_infra::credentials::vault::SealingVault;
use reachability_infra::ids::Uuids;
use reachability_infra::prometheus::{MetricsError, PrometheusMetrics};
use reachability_infra::push::providers::Providers;
use reachability_infra::sqlite::{
    Database, DoneSooner, EventQueue, FileLost, Locked, MAX_WAITING_WEBHOOKS, OpenError, PushQueue, SqliteStore,
    WebhookQueue,
};
use reachability_infra::webhook::{AddressRules, HttpWebhooks};
use reachability_worker::{
    Failure, Fanout, Pusher, PusherPorts, WebhookOutbox, WebhookPorts, Webhooks, Worker, WorkerPorts,
};
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinError;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::clock_watch::{self, Queues};
use crate::connections::Connections;
use crate::credentials_key::KeyError;
use crate::data_dir::{DataDir, DataDirError, account_file};
use crate::files::Files;
use crate::metrics::Scrape;
use crate::readiness::ServerCheck;
use crate::settings::ServeSettings;
use crate::sockets::presence::{self, Presence};
use crate::sockets::{EndingSockets, Hub, Registry, Sockets};
use crate::stop::{Stop, outlive_file_limits};
use crate::upkeep::{self, DatabaseLost};
use crate::{consumer, dead_letters, feed, purges, server, webhooks};

/// How much later it may be stored that a socket was lost.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(
        "there is no account file {0}, and the database beside it is in use: with a new account, all who know the old one would \
         be refused (put the file back from a backup, or give the account with --account-sid and --auth-token)"
    )]
    AccountLost(PathBuf),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot resolve {address} (choose another address with {option})")]
    Resolve {
        address: String,
        option: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on {address} (choose another address with {option})")]
    Listen {
        address: String,
        option: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the sockets of an earlier run cannot be ended")]
    Sockets(#[from] Failure),
    #[error("the metrics cannot be named")]
    Metrics(#[from] MetricsError),
    #[error("signals cannot be handled")]
    Signal(#[source] io::Error),
}

/// Why the server cannot go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a queue consumer stopped")]
    Consumer(#[source] JoinError),
    #[error(transparent)]
    Database(#[from] DatabaseLost),
}

/// Serves until SIGTERM or Ctrl-C, or until it cannot go on, which is logged. Returns the status of the process.
pub(crate) async fn run(settings: ServeSettings) -> Result<ExitCode, ServeError> {
    // This comes first: a port in use leaves no files behind, and Ctrl-C still interrupts a slow name lookup.
    let (listener, address) = listen(&settings.listen, "--listen").await?;
    let metrics_listener = match &settings.metrics_listen {
        Some(address) => Some(listen(address, "--metrics-listen").await?),
        None => None,
    };
    outlive_file_limits().map_err(ServeError::Signal)?;
    let Stop { announced, begun: stop } = Stop::at_signal(settings.stop_delay()).map_err(ServeError::Signal)?;
    let mut data_dir = DataDir::open(&settings)?;
    let discards = settings.discard_credentials;
    let (seal, locked) = settings.key_file.open_or_make(&data_dir.path, &data_dir.database(), discards)?;
    let seal = Arc::new(seal);
    let counted = Arc::new(PrometheusMetrics::new()?);
    let metrics: Arc<dyn Metrics> = counted.clone();
    let database = Database::measured(&data_dir.database(), seal.clone(), metrics.clone())?;

    let late = database.make_late_ones_due(clock::now(), DoneSooner::default()).await?;
    if late > 0 {
        warn!(timers = late, "the clock was set back since the last run: timers are looked at now");
    }
    let events = EventQueue::open(database.clone(), settings.waiting.limits()).await?;
    let pushes = PushQueue::new(database.clone());
    let ids: Arc<dyn Ids> = Arc::new(Uuids);
    let hooks = WebhookQueue::open(database.clone(), MAX_WAITING_WEBHOOKS, metrics.clone()).await?;
    let files = Files::all();
    let registry = Arc::new(Registry::new(settings.socket_limits(files.for_sockets())));
    let clients = &settings.clients;
    let connections = Connections::new(files.free.clone(), clients.max_connections_per_address, clients.proxies());
    let (hub, hub_tasks) = Hub::new();
    let store = Arc::new(SqliteStore::new(database.clone()).with_at_commit(hub.clone()));
    let is_named = settings.account_sid.is_some() && settings.auth_token.is_some();
    if data_dir.is_new && !is_named && is_in_use(&*store).await? {
        return Err(ServeError::AccountLost(account_file(&data_dir.path)));
    }
    give_up(&store, locked, discards).await?;
    let directory = Arc::new(EndingSockets { store: store.clone(), registry: registry.clone() });
    let retention = settings.change_log.retention();
    let rows = store.feed(retention);
    let stream = EventStream::new(rows.newest().await?, files.for_streams());
    let log: Arc<dyn ChangeLog> = Arc::new(rows.clone());
    let changes = retention.keeps_log().then(|| Changes { log, stream: stream.clone() });
    let (waiting_events, waiting_pushes) = (Arc::new(events.clone()), Arc::new(pushes.clone()));
    let vault = Arc::new(SealingVault::new(Some(seal.clone())));
    let ports = Ports {
        api_keys: directory.clone(),
        services: directory,
        channels: Some(store.clone()),
        ..Ports::of(store.clone(), waiting_events, waiting_pushes, vault, ids.clone())
    };
    let primary = data_dir.account.auth_token.clone();
    let auth_tokens = watch::channel(AuthTokens { primary, secondary: settings.secondary_auth_token.clone() }).1;
    let account = Settings {
        account_sid: data_dir.account.account_sid,
        auth_tokens: auth_tokens.clone(),
        public_url: settings.public_url.clone(),
        failed_authentications_per_minute: settings.clients.failed_authentications_per_minute(),
        lost_within: settings.lost_within() + WRITTEN_WITHIN,
        clock: clock::now,
    };
    let app = App::new(ports.clone(), account);
    let of_clients = ports;
    let ports = WorkerPorts {
        services: store.clone(),
        deleted_services: None,
        states: store.clone(),
        events: Arc::new(events.clone()),
        ids: ids.clone(),
        metrics: metrics.clone(),
    };
    let worker = |rules| Worker::new(ports.clone(), rules, Duration::ZERO, clock::now);
    let of_earlier = worker(presence::rules(settings.rules(), settings.sockets.restart_grace()));
    let of_sockets = worker(presence::rules(settings.rules(), settings.rules().grace));
    let worker = worker(settings.rules());
    let provider = Providers::new(seal, settings.push.endpoints(), None, None, clock::now);
    let (waiting_pushes, providers) = (Arc::new(pushes.clone()), Arc::new(provider));
    let ports = PusherPorts::of(store.clone(), waiting_pushes, providers.clone(), ids.clone(), metrics.clone());
    let pusher = Pusher::new(ports, clock::now);
    let outbox = WebhookOutbox {
        accounts: store.clone(),
        users: store.clone(),
        snapshots: store.clone(),
        queue: Arc::new(hooks.clone()),
        clock: clock::now,
    };
    let rules = AddressRules { private: settings.webhook_private_addresses };
    let ports = WebhookPorts {
        accounts: store.clone(),
        services: store.clone(),
        sender: Arc::new(HttpWebhooks::new(auth_tokens, rules, None, clock::now)),
        ids,
        metrics: metrics.clone(),
    };
    let deliverer = Webhooks::new(ports, data_dir.account.account_sid, Duration::ZERO, clock::now);
    let fanout = Fanout {
        services: store.clone(),
        pushes: Arc::new(pushes.clone()),
        sinks: vec![],
        webhooks: Some(outbox),
        metrics: metrics.clone(),
    };

    let ended = presence::end_earlier(&*store, &of_earlier).await?;
    let (presence, of_sockets) = Presence::start(store.clone(), of_sockets);
    hub.start(hub_tasks, registry.clone(), presence.clone(), &of_clients, metrics.clone());
    let protocols = settings.sockets.protocols();
    let app_of_clients = (app.clone(), of_clients);
    let sockets = Sockets::new(protocols, registry, hub, presence.clone(), app_of_clients, metrics.clone());

    let metrics_address = metrics_listener.as_ref().map(|(_, address)| *address);
    greet(&mut data_dir, &app, &settings, address, metrics_address).await?;
    if ended > 0 {
        info!(sockets = ended, "the sockets of an earlier run are lost");
    }
    let purges = tokio::spawn(purges::run(store.clone()));
    let every_day = tokio::spawn(every_day(store, pushes.clone()));
    let readiness = Arc::new(ServerCheck::new(announced, events.clone(), database.clone()));
    let queues =
        Queues { database: database.clone(), events: events.clone(), pushes: pushes.clone(), webhooks: hooks.clone() };
    let clock_watch = tokio::spawn(clock_watch::run(queues, metrics.clone()));
    let router = crate::metrics::counted(reachability_functions::router(app, changes, Some(readiness)), metrics);
    let scrape = Scrape {
        metrics: counted,
        database: database.clone(),
        events: events.clone(),
        pushes: pushes.clone(),
        hooks: hooks.clone(),
        webhooks: deliverer.clone(),
        providers,
        last: Mutex::default(),
    };
    let metrics = metrics_listener.map(|(listener, _)| tokio::spawn(crate::metrics::run(listener, scrape)));
    let retries = tokio::spawn(dead_letters::retry_marked(events.clone(), pushes.clone(), hooks.clone()));
    let worker = tokio::spawn(consumer::run_events(events, worker, stop.clone()));
    let pusher = tokio::spawn(consumer::run_pushes(pushes, pusher, stop.clone()));
    let webhooks = tokio::spawn(webhooks::run(hooks, deliverer, stop.clone()));
    let fanout = tokio::spawn(feed::run(rows, fanout, stream, stop.clone()));
    // If a consumer fails, the process ends: otherwise it would accept events and not handle them. Events that are
    // queued at the end are handled after the next start.
    let consumers = async { tokio::try_join!(worker, pusher, webhooks, fanout, of_sockets).map_err(Broken::Consumer) };
    let server = async {
        server::run(listener, connections, router, sockets, stop).await;
        presence.finish();
        Ok(())
    };
    let served = async {
        tokio::try_join!(consumers, server)?;
        database.check_files().await.map_err(DatabaseLost::from)?;
        Ok(())
    };
    let done = tokio::select! {
        served = served => served,
        lost = upkeep::run(&database) => Err(lost.into()),
    };
    purges.abort();
    every_day.abort();
    retries.abort();
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    clock_watch.abort();
    // A log without a name can still be moved to the database. One whose database is lost may help to find what was in it.
    let has_database = matches!(done, Ok(()) | Err(Broken::Database(DatabaseLost::File(FileLost::Log(_)))));
    let closed = if has_database { database.close().await } else { Ok(()) };
    let done: Result<(), Broken> = done.and(closed.map_err(|panicked| DatabaseLost::from(panicked).into()));
    match done {
        Ok(()) => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            error!(error = %ErrorChain(&broken), "the server cannot go on, and ends");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Binds the first address of a host name and port that can be bound, and returns it.
async fn listen(address: &str, option: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let resolve_error = |source| ServeError::Resolve { address: address.to_owned(), option, source };
    let listen_error = |source| ServeError::Listen { address: address.to_owned(), option, source };
    let addresses: Vec<SocketAddr> = lookup_host(address).await.map_err(resolve_error)?.collect();
    let listener = TcpListener::bind(addresses.as_slice()).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    Ok((listener, address))
}

/// Discards the secrets that the credentials key does not open, or says which they are.
async fn give_up(store: &SqliteStore, locked: Locked, discards: bool) -> Result<(), StoreError> {
    for sid in &locked.credentials {
        warn!(credential.sid = %sid, "a push credential cannot be opened with the credentials key: upload it again");
    }
    if !discards || locked.is_empty() {
        return Ok(());
    }
    for sid in &locked.keys {
        warn!(key.sid = %sid, "an API key cannot be opened with the credentials key, and is deleted");
    }
    store.discard(locked, clock::now()).await
}

/// Once a day, collects garbage and queues a scan of the push registrations.
async fn every_day(store: Arc<SqliteStore>, pushes: PushQueue) {
    loop {
        if let Err(error) = pushes.send(&[PushMessage::ScanServices(ScanServices { after: None })]).await {
            warn!(error = %ErrorChain(&error), "the daily scan of registrations could not be queued");
        }
        match store.collect_garbage(clock::now()).await {
            Ok(removed) => debug!(removed, "garbage collected"),
            Err(error) => warn!(error = %ErrorChain(&error), "garbage collection failed"),
        }
        sleep(Duration::from_secs(86_400)).await;
    }
}

/// Prints the address and, on the first start, the next steps and the generated token.
async fn greet(
    data_dir: &mut DataDir,
    app: &App,
    settings: &ServeSettings,
    address: SocketAddr,
    metrics: Option<SocketAddr>,
) -> Result<(), ServeError> {
    let account = data_dir.account.account_sid;
    let mut text = format!(
        "Reachability serves on http://{address}\n\n  account     {account}\n  data        {}\n",
        data_dir.path.display()
    );
    if let Some(metrics) = metrics {
        text = format!("{text}  metrics     http://{metrics}/metrics\n");
    }
    let timing = settings.sockets.protocols().twilsock.timing;
    let [ping, answer, grace] = [timing.ping, timing.answer, settings.rules().grace].map(|it| it.as_secs());
    let bound = settings.lost_within().as_secs();
    text = format!(
        "{text}  offline     at most {bound} s after a client is lost (ping {ping} s, answer {answer} s, grace {grace} s)\n"
    );
    if bound < 10 {
        warn!(seconds = bound, "a client whose network is slow for so long may be shown offline");
    }
    if data_dir.is_new {
        let service = store_default_service(app).await?;
        let mut credentials = account.to_string();
        // A token set by the owner may be private and may contain any character: curl prompts for it.
        if settings.auth_token.is_none() {
            let token = data_dir.account.auth_token.expose();
            let file = account_file(&data_dir.path).display().to_string();
            text = format!("{text}  auth token  {token}\n              (shown this once; kept in {file})\n");
            // The printed command ends up in the shell's history, so it must not contain the token.
            let file = quoted(&file);
            credentials = format!(r#"{account}:$(sed -n 's/.*"auth_token": "\(.*\)".*/\1/p' {file})"#);
        }
        text = format!(
            "{text}\nThis directory had no account yet, so a new one was made. Another directory (--data-dir) is another \
             account.\n\nSwitch reachability on for the default service:\n\n  \
             curl -X POST 'http://{address}/v1/Services/{service}/Configuration' -d ReachabilityEnabled=true \
             -u \"{credentials}\"\n"
        );
    }
    data_dir.keep()?;
    // Standard output may be closed.
    let _ = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
    info!(listen = %address, account.sid = %account, "serving");
    Ok(())
}

/// Whether a database has more than a first start, which may have been interrupted, leaves in it.
async fn is_in_use(store: &(impl Services + Users + ApiKeys)) -> Result<bool, StoreError> {
    fn first<K>(limit: usize) -> PageRequest<K> {
        PageRequest { position: Cursor::Start, limit }
    }
    let services = store.services(first(2)).await?.items;
    if services.len() > 1 || !store.keys(first(1)).await?.items.is_empty() {
        return Ok(true);
    }
    let Some(service) = services.first() else { return Ok(false) };
    Ok(!store.users(service.sid, first(1)).await?.items.is_empty())
}

/// Quotes a text as one word of a shell command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
