//! The data directory: who the account is, the key that credentials are sealed with, and a lock so that two processes
//! never share it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reachability_domain::ids::{Ids, NoRandomness};
use reachability_domain::secret::Secret;
use reachability_domain::sid::AccountSid;
use reachability_infra::ids::Uuids;
use serde::{Deserialize, Serialize};

use crate::settings::ServeSettings;

/// How long a key of credentials is at least, in characters.
const MIN_KEY: usize = 32;

/// The files in the directory.
const LOCK: &str = "lock";
const ACCOUNT: &str = "account.json";
const CREDENTIALS_KEY: &str = "credentials.key";
const DATABASE: &str = "reachability.db";

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("cannot use {path} as the data directory (choose another with --data-dir)")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another reachability already uses the data directory {0} (choose another with --data-dir)")]
    InUse(PathBuf),
    #[error("cannot read or write the account's file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the account's file {path} is malformed")]
    Account {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot read or write the key of credentials {path}")]
    CredentialsKey {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key of credentials {0} is malformed")]
    MalformedKey(PathBuf),
    #[error("no secret can be made")]
    Randomness(#[source] NoRandomness),
}

/// The data directory, ours until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    pub(crate) account: Account,
    /// Nothing was ever started here, and the account is not kept yet.
    pub(crate) is_new: bool,
    /// This start has made the directory, and has not kept the account in it yet.
    is_made: bool,
    _lock: File,
}

/// The account, as kept in the data directory. A setting goes before what is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) account_sid: AccountSid,
    pub(crate) auth_token: Secret,
}

impl DataDir {
    /// Makes the directory ready, and at the first start an account.
    pub(crate) fn open(settings: &ServeSettings) -> Result<Self, DataDirError> {
        let directory = &settings.data_dir;
        let io_error = |source| DataDirError::Io { path: directory.clone(), source };
        let is_made = make(directory).map_err(io_error)?;
        let path = directory.canonicalize().map_err(io_error)?;
        let lock = private_file(&path.join(LOCK)).map_err(io_error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }

        let (kept, is_new) = match kept_account(&path)? {
            Some(kept) => (kept, false),
            None => {
                let auth_token = Uuids.secret().map_err(DataDirError::Randomness)?;
                (Account { account_sid: (&Uuids as &dyn Ids).random_sid(), auth_token }, true)
            }
        };
        let account = Account {
            account_sid: settings.account_sid.unwrap_or(kept.account_sid),
            auth_token: settings.auth_token.clone().unwrap_or(kept.auth_token),
        };
        Ok(Self { path, account, is_new, is_made: is_made && is_new, _lock: lock })
    }

    /// Keeps the account of the first start. Until then the next start is the first one.
    pub(crate) fn keep(&mut self) -> Result<(), DataDirError> {
        keep_account(&self.path, &self.account)?;
        self.is_made = false;
        Ok(())
    }

    /// The key that credentials are sealed with. It is made when it is first needed.
    pub(crate) fn credentials_key(&self) -> Result<Secret, DataDirError> {
        let path = self.path.join(CREDENTIALS_KEY);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let key = text.trim_end();
                let is_key = key.len() >= MIN_KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
                is_key.then(|| Secret::new(key)).ok_or(DataDirError::MalformedKey(path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = || Uuids.secret().map_err(DataDirError::Randomness);
                let key = Secret::new(format!("{}{}", secret()?.expose(), secret()?.expose()));
                write_whole(&path, format!("{}\n", key.expose()).as_bytes())
                    .map_err(|source| DataDirError::CredentialsKey { path, source })?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(DataDirError::MalformedKey(path)),
            Err(source) => Err(DataDirError::CredentialsKey { path, source }),
        }
    }

    /// Where the database lies.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

/// A first start that fails leaves no directory behind: the next one would find half of one. What somebody else has put
/// there stays, and the directory with it.
impl Drop for DataDir {
    fn drop(&mut self) {
        if !self.is_made {
            return;
        }
        for name in [DATABASE, "reachability.db-wal", "reachability.db-shm", ACCOUNT, CREDENTIALS_KEY, LOCK] {
            let file = self.path.join(name);
            let _ = fs::remove_file(draft(&file));
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Makes a directory that only its owner can use, with its parents. Returns whether it was not there before.
fn make(directory: &Path) -> io::Result<bool> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        builder.recursive(true).create(parent)?;
    }
    match builder.recursive(false).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the account is kept.
pub(crate) fn account_file(directory: &Path) -> PathBuf {
    directory.join(ACCOUNT)
}

/// The account that is kept, if there is one.
fn kept_account(directory: &Path) -> Result<Option<Account>, DataDirError> {
    let path = account_file(directory);
    match fs::read(&path) {
        Ok(json) => match serde_json::from_slice(&json) {
            Ok(account) => Ok(Some(account)),
            Err(source) => Err(DataDirError::Account { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::File { path, source }),
    }
}

fn keep_account(directory: &Path, account: &Account) -> Result<(), DataDirError> {
    let path = account_file(directory);
    let mut json =
        serde_json::to_vec_pretty(account).map_err(|source| DataDirError::Account { path: path.clone(), source })?;
    json.push(b'\n');
    write_whole(&path, &json).map_err(|source| DataDirError::File { path, source })
}

/// Writes a file that only its owner can read and write, whole or not at all.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft(path);
    let mut file = private_file(&draft)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Where a file is written before it takes its place.
fn draft(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// A file that only its owner can read and write.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
