//! The command's settings: flags, and environment variables of the same names.

mod clients;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use reachability_domain::presence::connections::{LeasePolicy, Limits, Rules};
use reachability_domain::secret::Secret;
use reachability_domain::sid::AccountSid;
use reachability_domain::time::Timestamp;
use reachability_gateway::json;
use reachability_gateway::session::Timing;
use reachability_gateway::twilsock::{self, Expiry};
use reachability_infra::push::ProviderUrls;
use reachability_infra::sqlite::{Retention, WaitingLimits};

use crate::backup::BackupSettings;
use crate::check::CheckSettings;
use crate::credentials_key::KeyFile;
use crate::dead_letters::DeadLettersSettings;
use crate::settings::clients::ClientSettings;
use crate::sockets::{Limits as SocketLimits, Settings as ProtocolSettings};
use crate::token::TokenSettings;

/// The Reachability Indicator: for every user of a chat service, is the user online, and can a push reach them?
///
/// Receives connects and disconnects from your own gateway, and serves the parts of the Conversations v1 and Chat v2
/// REST APIs that concern reachability, so helper libraries work unmodified. Without a command it serves.
///
/// Logs go to standard error: readable on a terminal, JSON otherwise. RUST_LOG sets the level (default: info).
#[derive(Debug, Parser)]
#[command(name = "reachability", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) serve: ServeSettings,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Command {
    /// Serve the REST API and handle events, until SIGTERM or Ctrl-C
    Serve(ServeSettings),
    /// Print an access token, with which a client of a user connects. A server may be using the data directory
    Token(TokenSettings),
    /// Show, retry or drop messages that could not be handled. A server may be using the data directory
    DeadLetters(DeadLettersSettings),
    /// Copy the database into a file. A server may be using the data directory
    Backup(BackupSettings),
    /// Check what is stored. A server may be using the data directory
    Check(CheckSettings),
    /// Compute from a recorded log of events who is reachable
    Replay(ReplaySettings),
}

#[derive(Debug, Args)]
pub(crate) struct ServeSettings {
    /// Address or host name, and port, to listen on; port 0 takes a free one
    #[arg(long, env = "REACHABILITY_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080",
          value_parser = listen_address)]
    pub(crate) listen: String,

    /// Address or host name, and port, for the metrics of Prometheus, at `/metrics`. They need no authentication, so not a public
    /// address [default: no metrics]
    #[arg(long, env = "REACHABILITY_METRICS_LISTEN", value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub(crate) metrics_listen: Option<String>,

    /// Directory for all data; created if missing, and made private to its owner. Another directory is another account
    #[arg(long, env = "REACHABILITY_DATA_DIR", value_name = "DIR", default_value = "./data")]
    pub(crate) data_dir: PathBuf,

    #[command(flatten)]
    pub(crate) key_file: KeyFile,

    /// Give up the stored secrets that the credentials key does not open, after the key was lost: API keys are deleted, push
    /// credentials must be uploaded again
    #[arg(long)]
    pub(crate) discard_credentials: bool,

    /// Account sid, AC and 32 hexadecimal digits [default: generated once and saved]
    #[arg(long, env = "REACHABILITY_ACCOUNT_SID", value_name = "SID")]
    pub(crate) account_sid: Option<AccountSid>,

    /// Account's auth token, at least 16 characters [default: generated once and saved]
    #[arg(long, env = "REACHABILITY_AUTH_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = any_secret)]
    pub(crate) auth_token: Option<Secret>,

    /// A second auth token that is valid too, while clients change from one to the other; webhooks are signed with the first
    #[arg(long, env = "REACHABILITY_SECONDARY_AUTH_TOKEN", value_name = "TOKEN", hide_env_values = true,
          value_parser = any_secret)]
    pub(crate) secondary_auth_token: Option<Secret>,

    /// Base of URLs in responses, such as `https://chat.example.com` [default: the host of the request]
    #[arg(long, env = "REACHABILITY_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,

    #[command(flatten)]
    pub(crate) grace: Grace,

    /// How long a connection counts as live without a renewal
    #[arg(long, env = "REACHABILITY_LEASE_SECONDS", value_name = "SECONDS", default_value_t = 120,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lease_seconds: u32,

    /// Live connections that a user's record holds. Of more, the one that ends first is dropped until its next renewal
    #[arg(long, env = "REACHABILITY_MAX_CONNECTIONS_PER_USER", value_name = "COUNT", default_value_t = 100,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(Limits::MOST_LIVE)))]
    pub(crate) max_connections_per_user: u16,

    #[command(flatten)]
    pub(crate) change_log: ChangeLogSettings,

    #[command(flatten)]
    pub(crate) waiting: WaitingSettings,

    /// Whether webhooks may call this machine and others in private networks
    #[arg(long, env = "REACHABILITY_WEBHOOK_PRIVATE_ADDRESSES", value_name = "BOOL", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub(crate) webhook_private_addresses: bool,

    /// Seconds from SIGTERM or Ctrl-C to the end of the server, in which `/readyz` says 503 and everything else is served. A
    /// second signal ends it at once
    #[arg(long, env = "REACHABILITY_STOP_DELAY_SECONDS", value_name = "SECONDS", default_value_t = 0,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(..=60))]
    stop_delay_seconds: u8,

    #[command(flatten)]
    pub(crate) clients: ClientSettings,

    #[command(flatten)]
    pub(crate) push: PushSettings,

    #[command(flatten)]
    pub(crate) sockets: SocketSettings,
}

/// The sockets of clients.
#[derive(Debug, Args)]
pub(crate) struct SocketSettings {
    /// After how many seconds without anything from a client it is sent a ping. With 3/7 of it (at most 10) for the answer,
    /// and the grace period, a lost client is offline
    #[arg(long, env = "REACHABILITY_PING_SECONDS", value_name = "SECONDS", default_value_t = 14,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    ping_seconds: u32,

    /// Seconds from a start to offline for those who were connected before and do not come back
    #[arg(
        long,
        env = "REACHABILITY_RESTART_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 30,
        allow_negative_numbers = true
    )]
    restart_grace_seconds: u32,

    /// What a client is told when its token expires: a packet, as the vendor does, or that its socket is closed. After the
    /// packet, a client of the vendor's hangs if it updates its token within three seconds
    #[arg(long, env = "REACHABILITY_TOKEN_EXPIRY", value_name = "HOW", default_value = "packet")]
    token_expiry: TokenExpiry,

    /// How many sockets may be open; never more than the limit of open files allows. More are refused
    #[arg(long, env = "REACHABILITY_MAX_SOCKETS", value_name = "COUNT", default_value_t = 100_000,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    max_sockets: u32,

    /// How many sockets of one service may be open; 0 for as many as there may be in all
    #[arg(
        long,
        env = "REACHABILITY_MAX_SOCKETS_PER_SERVICE",
        value_name = "COUNT",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    max_sockets_per_service: u32,

    /// How many sockets from one address may be open; 0 for as many as there may be in all. Behind a proxy all have its
    /// address, unless --trusted-proxies names it
    #[arg(
        long,
        env = "REACHABILITY_MAX_SOCKETS_PER_ADDRESS",
        value_name = "COUNT",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    max_sockets_per_address: u32,

    /// How many users one watch of a client of `/v1/Socket` may have
    #[arg(long, env = "REACHABILITY_MAX_USERS_PER_WATCH", value_name = "COUNT", default_value_t = 1_000,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_users_per_watch: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TokenExpiry {
    /// A close packet
    Packet,
    /// The socket is closed
    Socket,
}

/// How many sockets may be open whose clients did not say yet who they are, and at most half of all that are possible. They
/// have ten seconds for it.
const MAX_STRANGERS: usize = 4_096;

/// How many of them may be from one address, and at most a quarter of all that are possible: it takes several to shut all
/// others out. As many as a proxy in front of all clients needs when they come back at once.
const MAX_STRANGERS_PER_ADDRESS: usize = 1_024;

impl SocketSettings {
    pub(crate) fn protocols(&self) -> ProtocolSettings {
        let ping = Duration::from_secs(self.ping_seconds.into());
        let expiry = match self.token_expiry {
            TokenExpiry::Packet => Expiry::Packet,
            TokenExpiry::Socket => Expiry::Socket,
        };
        let timing = Timing::with_ping(ping);
        // In whole seconds, as everybody counts it.
        let more = u64::from(timing.answer.subsec_nanos() > 0);
        let answer = Duration::from_secs(timing.answer.as_secs() + more);
        let timing = Timing { answer, ..timing };
        ProtocolSettings {
            twilsock: twilsock::Settings { timing, expiry, ..twilsock::Settings::default() },
            json: json::Settings { timing, users_per_watch: self.max_users_per_watch, ..json::Settings::default() },
        }
    }

    pub(crate) fn restart_grace(&self) -> Duration {
        Duration::from_secs(self.restart_grace_seconds.into())
    }
}

/// How many events may wait to be handled.
#[derive(Debug, Args)]
pub(crate) struct WaitingSettings {
    /// How many events of one service may wait to be handled; more are refused with 429
    #[arg(long, env = "REACHABILITY_MAX_WAITING_EVENTS_PER_SERVICE", value_name = "EVENTS", default_value_t = 100_000,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    max_waiting_events_per_service: u32,

    /// How many events of all services may wait to be handled; more are refused with 503
    #[arg(long, env = "REACHABILITY_MAX_WAITING_EVENTS", value_name = "EVENTS", default_value_t = 250_000,
          allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    max_waiting_events: u32,
}

impl WaitingSettings {
    pub(crate) fn limits(&self) -> WaitingLimits {
        let events = |events| usize::try_from(events).unwrap_or(usize::MAX);
        WaitingLimits { per_service: events(self.max_waiting_events_per_service), all: events(self.max_waiting_events) }
    }
}

/// How much of the log of changes is kept.
#[derive(Debug, Args)]
pub(crate) struct ChangeLogSettings {
    /// How long changes can be read at `/v1/Services/{IS}/Changes`; 0 keeps none
    #[arg(
        long,
        env = "REACHABILITY_CHANGE_LOG_HOURS",
        value_name = "HOURS",
        default_value_t = 24,
        allow_negative_numbers = true
    )]
    change_log_hours: u32,

    /// How many changes can be read there, of all services together; 0 keeps none
    #[arg(
        long,
        env = "REACHABILITY_CHANGE_LOG_ROWS",
        value_name = "CHANGES",
        default_value_t = 100_000,
        allow_negative_numbers = true
    )]
    change_log_rows: u32,
}

impl ChangeLogSettings {
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            age: Duration::from_secs(u64::from(self.change_log_hours) * 3_600),
            rows: usize::try_from(self.change_log_rows).unwrap_or(usize::MAX),
        }
    }
}

/// URLs of the push providers: for a proxy, or for another port.
#[derive(Debug, Args)]
pub(crate) struct PushSettings {
    /// APNs
    #[arg(long, env = "REACHABILITY_APNS_URL", value_name = "URL", value_parser = https_url,
          default_value = "https://api.push.apple.com")]
    apns_url: String,

    /// APNs for credentials with `Sandbox`
    #[arg(long, env = "REACHABILITY_APNS_SANDBOX_URL", value_name = "URL", value_parser = https_url,
          default_value = "https://api.sandbox.push.apple.com")]
    apns_sandbox_url: String,

    /// FCM
    #[arg(long, env = "REACHABILITY_FCM_URL", value_name = "URL", value_parser = https_url,
          default_value = "https://fcm.googleapis.com")]
    fcm_url: String,

    /// Google's endpoint for access tokens
    #[arg(long, env = "REACHABILITY_FCM_TOKEN_URL", value_name = "URL", value_parser = https_url,
          default_value = "https://oauth2.googleapis.com/token")]
    fcm_token_url: String,
}

impl PushSettings {
    pub(crate) fn endpoints(&self) -> ProviderUrls {
        ProviderUrls {
            apns: self.apns_url.clone(),
            apns_sandbox: self.apns_sandbox_url.clone(),
            fcm: self.fcm_url.clone(),
            fcm_token: self.fcm_token_url.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Grace {
    /// Seconds from a lost connection to offline
    #[arg(
        long,
        env = "REACHABILITY_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    grace_seconds: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ReplaySettings {
    /// File of events, one JSON object per line, plain or gzip; - for standard input
    pub(crate) file: PathBuf,

    /// Show the users at this time (RFC 3339) and skip later events [default: the last event's time plus the grace
    /// period]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Timestamp>,

    #[command(flatten)]
    pub(crate) grace: Grace,

    /// How long a connection counts as live without a renewal, unless an event has its own lease_seconds [default:
    /// until a disconnect, since recorded logs seldom contain renewals]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lease_seconds: Option<u32>,
}

impl Cli {
    /// Reads the settings, or ends the process with an error message.
    pub(crate) fn read() -> Self {
        let cli = Self::parse();
        if let Err(error) = cli.check() {
            error.exit();
        }
        cli
    }

    fn check(&self) -> Result<(), clap::Error> {
        let serve = match &self.command {
            None => &self.serve,
            Some(Command::Serve(serve)) => serve,
            Some(_) => return Ok(()),
        };
        for (flag, token) in
            [("--auth-token", &serve.auth_token), ("--secondary-auth-token", &serve.secondary_auth_token)]
        {
            if token.as_ref().is_some_and(|token| !is_auth_token(token)) {
                let text = format!("invalid value for '{flag} <TOKEN>': expected 16 to 256 visible ASCII characters\n");
                return Err(Self::command().error(ErrorKind::ValueValidation, text));
            }
        }
        Ok(())
    }
}

impl Grace {
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }
}

impl ServeSettings {
    pub(crate) fn stop_delay(&self) -> Duration {
        Duration::from_secs(self.stop_delay_seconds.into())
    }

    /// How many sockets may be open, if no more than these are possible.
    pub(crate) fn socket_limits(&self, possible: usize) -> SocketLimits {
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let some = |limit| (limit > 0).then(|| count(limit));
        let settings = &self.sockets;
        SocketLimits {
            all: count(settings.max_sockets).min(possible),
            per_address: some(settings.max_sockets_per_address),
            per_service: some(settings.max_sockets_per_service),
            per_user: self.max_connections_per_user.into(),
            strangers: MAX_STRANGERS.min(possible / 2).max(1),
            strangers_per_address: MAX_STRANGERS_PER_ADDRESS.min(possible / 4).max(1),
        }
    }

    /// How long it takes at most until others see somebody offline whose socket was lost: until its silence is noticed, and the
    /// grace period.
    pub(crate) fn lost_within(&self) -> Duration {
        self.sockets.protocols().twilsock.timing.silence() + self.grace.period()
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            grace: self.grace.period(),
            lease: LeasePolicy::For(Duration::from_secs(self.lease_seconds.into())),
            limits: Limits { live: self.max_connections_per_user.into(), ..Limits::DEFAULT },
        }
    }
}

impl ReplaySettings {
    pub(crate) fn rules(&self) -> Rules {
        let lease = match self.lease_seconds {
            Some(seconds) => LeasePolicy::For(Duration::from_secs(seconds.into())),
            None => LeasePolicy::Unlimited,
        };
        // A log is read as a whole, and needs no bounds.
        Rules { grace: self.grace.period(), lease, limits: Limits::NONE }
    }
}

/// Accepts any text, because the error of a value parser would print the token. [`Cli::read`] checks it.
#[expect(clippy::unnecessary_wraps, reason = "a value parser returns a result")]
fn any_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

fn is_auth_token(token: &Secret) -> bool {
    let token = token.expose().as_bytes();
    (16..=256).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic)
}

/// An address or a host name, with a port. The name is resolved later.
fn listen_address(text: &str) -> Result<String, String> {
    let is_name_and_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_name = !host.is_empty() && !host.contains(|c: char| "[]:/@".contains(c) || c.is_whitespace());
        is_name && port.parse::<u16>().is_ok()
    });
    if is_name_and_port || text.parse::<SocketAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("expected an address or a host name, and a port, such as 127.0.0.1:8080, [::1]:8080 or localhost:8080"
            .to_owned())
    }
}

fn public_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let valid = url.parse::<axum::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    });
    if valid { Ok(url.to_owned()) } else { Err("expected an absolute http or https URL without a query".to_owned()) }
}

fn https_url(text: &str) -> Result<String, String> {
    match public_url(text) {
        Ok(url) if url.starts_with("https://") => Ok(url),
        _ => Err("expected an absolute https URL without a query".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_trailing_slash_is_removed_from_urls() {
        assert_eq!(public_url("https://chat.example.com/"), Ok("https://chat.example.com".to_owned()));
        assert_eq!(public_url("http://127.0.0.1:8080/base"), Ok("http://127.0.0.1:8080/base".to_owned()));
        for text in ["", "chat.example.com", "ftp://chat.example.com", "/base", "https://x.com/?a=b"] {
            assert!(public_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_listen_address_has_a_host_and_a_port() {
        for text in ["127.0.0.1:8080", "[::1]:0", "localhost:8090", "a.example.com:65535"] {
            assert_eq!(listen_address(text), Ok(text.to_owned()));
        }
        for text in
            ["", "localhost", "8080", ":8080", "localhost:", "localhost:x", "localhost:65536", "::1:8080", "[::1]"]
        {
            assert!(listen_address(text).is_err(), "{text:?}");
        }
        for text in ["http://localhost:8080", "me@localhost:8080", "local host:8080", "[localhost]:8080"] {
            assert!(listen_address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let cli = Cli::try_parse_from(["reachability", "--auth-token", "0123456789abcdef-secret"]).unwrap();
        assert!(!format!("{cli:?}").contains("secret-"), "{cli:?}");
        assert!(!format!("{cli:?}").contains("0123456789abcdef"), "{cli:?}");
        let cli = Cli::try_parse_from(["reachability", "--auth-token", "short-token"]).unwrap();
        assert!(!cli.check().expect_err("it is short").to_string().contains("short-token"));
    }
}
