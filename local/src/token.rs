//! `reachability token`: makes an access token for a client, for trying things out and for backends without one of the
//! vendor's libraries.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reachability_domain::identity::{Identity, UserKey};
use reachability_domain::sid::{AccountSid, ServiceSid};
use reachability_functions::access_token::{MintError, MintPorts, mint};
use reachability_infra::clock;
use reachability_infra::ids::Uuids;
use reachability_infra::sqlite::{Database, OpenError, SqliteStore};

use crate::credentials_key::{KeyError, KeyFile};
use crate::data_dir::{DataDirError, account_file, known_account};

#[derive(Debug, Args)]
pub(crate) struct TokenSettings {
    /// Service of the user
    #[arg(long, value_name = "SID")]
    service: ServiceSid,

    /// User who may connect with the token; the first connect creates it
    #[arg(long, value_name = "IDENTITY")]
    identity: Identity,

    /// For how long the token is valid, up to a day
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    ttl: u32,

    /// Data directory of the server
    #[arg(long, env = "REACHABILITY_DATA_DIR", value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,

    #[command(flatten)]
    key_file: KeyFile,

    /// Account sid, if the server is given one [default: the saved one]
    #[arg(long, env = "REACHABILITY_ACCOUNT_SID", value_name = "SID")]
    account_sid: Option<AccountSid>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenCommandError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot wait for other runs of this command")]
    Lock(#[source] io::Error),
    #[error("cannot make a token")]
    Mint(#[from] MintError),
    #[error("cannot write the token")]
    Write(#[source] io::Error),
}

/// Prints a token, and nothing else.
pub(crate) async fn run(settings: TokenSettings) -> Result<(), TokenCommandError> {
    let (account, database) = known_account(&settings.data_dir)?;
    // Of several runs at once, one makes the key. No server locks this file.
    let alone = File::open(account_file(&settings.data_dir)).map_err(TokenCommandError::Lock)?;
    alone.lock().map_err(TokenCommandError::Lock)?;
    let seal = Arc::new(settings.key_file.open(&settings.data_dir, &database)?);
    let store = Arc::new(SqliteStore::new(Database::open_beside_server(&database, seal)?));
    let ports = MintPorts { accounts: store.clone(), api_keys: store.clone(), services: store, ids: Arc::new(Uuids) };
    let account = settings.account_sid.unwrap_or(account.account_sid);
    let user = UserKey { service: settings.service, identity: settings.identity };
    let life = Duration::from_secs(settings.ttl.into());
    let token = mint(ports, account, &user, life, clock::now()).await?;
    drop(alone);
    writeln!(io::stdout(), "{token}").map_err(TokenCommandError::Write)
}
