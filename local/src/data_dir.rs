//! The data directory: the account, the key that seals credentials, and a lock that keeps a second process out.

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

/// Minimum length of the credentials key, in characters.
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
    #[error("there is no account in {0} (start the server first, or choose another directory with --data-dir)")]
    NoAccount(PathBuf),
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
    #[error("cannot read or write the credentials key {path}")]
    CredentialsKey {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the credentials key {0} is malformed")]
    MalformedKey(PathBuf),
    #[error("cannot generate a secret")]
    Randomness(#[source] NoRandomness),
}

/// The data directory, locked until this value is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    pub(crate) account: Account,
    /// Whether this is the first start: no account was saved here before.
    pub(crate) is_new: bool,
    /// Whether this start created the directory and has not saved the account yet.
    is_made: bool,
    _lock: File,
}

/// The account as saved in the data directory. Settings of the command override it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) account_sid: AccountSid,
    pub(crate) auth_token: Secret,
}

impl DataDir {
    /// Creates and locks the directory. On the first start, generates an account.
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

    /// Saves the account. A start that fails before this is repeated as a first start.
    pub(crate) fn keep(&mut self) -> Result<(), DataDirError> {
        keep_account(&self.path, &self.account)?;
        self.is_made = false;
        Ok(())
    }

    /// The key that seals credentials; generated on first use.
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

    /// Path of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

/// The account and the path of the database in a directory that a server may be using. Creates nothing.
pub(crate) fn known_account(directory: &Path) -> Result<(Account, PathBuf), DataDirError> {
    let account = kept_account(directory)?.ok_or_else(|| DataDirError::NoAccount(directory.to_owned()))?;
    Ok((account, directory.join(DATABASE)))
}

/// What a backup of a data directory has besides a copy of its database.
pub(crate) fn files_besides_database(directory: &Path) -> [PathBuf; 2] {
    [directory.join(ACCOUNT), directory.join(CREDENTIALS_KEY)]
}

/// A failed first start removes the directory that it created, so that the next one starts clean. A directory that
/// contains files of others stays.
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

/// Creates a directory, and its parents, with access for the owner only. Returns whether it did not exist before.
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

/// Path of the account file.
pub(crate) fn account_file(directory: &Path) -> PathBuf {
    directory.join(ACCOUNT)
}

/// The saved account; `None` before the first start.
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

/// Writes a file atomically, with access for the owner only.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft(path);
    let mut file = private_file(&draft)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Path of the temporary file that replaces a file when it is complete.
fn draft(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Opens or creates a file with access for the owner only.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
