//! The data directory: the account, and a lock that keeps a second process out. Only its owner can read it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reachability_domain::ids::{Ids, NoRandomness};
use reachability_domain::secret::Secret;
use reachability_domain::sid::AccountSid;
use reachability_infra::ids::Uuids;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::private;
use crate::settings::ServeSettings;

/// The files in the directory.
const LOCK: &str = "lock";
const ACCOUNT: &str = "account.json";
const CREDENTIALS_KEY: &str = "credentials.key";
const DATABASE: &str = "reachability.db";
const FILES: [&str; 6] = [DATABASE, "reachability.db-wal", "reachability.db-shm", ACCOUNT, CREDENTIALS_KEY, LOCK];

/// The bits of a mode by which a directory, such as `/tmp`, is for all users: anybody may add files to it.
const FOR_ALL: u32 = 0o1002;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("cannot use {path} as the data directory (choose another with --data-dir)")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "other users have access to {path}, and it cannot be taken away from them (its owner can do so with \
         chmod go= {path}; or choose a new directory with --data-dir)"
    )]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} is a directory for all users (choose another with --data-dir, such as a new one in it)")]
    Shared(PathBuf),
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
    /// Whether the settings name another sid or token than was saved here.
    is_changed: bool,
    /// Whether this start created the directory and has not saved the account yet.
    is_made: bool,
    _locks: [File; 2],
}

/// The account as saved in the data directory. Settings of the command override it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) account_sid: AccountSid,
    pub(crate) auth_token: Secret,
}

impl DataDir {
    /// Creates and locks the directory, and takes away the access that others have to it. On the first start, generates an
    /// account.
    pub(crate) fn open(settings: &ServeSettings) -> Result<Self, DataDirError> {
        let directory = &settings.data_dir;
        let io_error = |source| DataDirError::Io { path: directory.clone(), source };
        let is_made = private::make(directory).map_err(io_error)?;
        let path = directory.canonicalize().map_err(io_error)?;
        let found = fs::metadata(&path).map_err(io_error)?;
        if found.is_dir() {
            if found.permissions().mode() & FOR_ALL == FOR_ALL {
                return Err(DataDirError::Shared(path));
            }
            restrict(&path)?;
        }
        let lock = private::open_or_create(&path.join(LOCK)).map_err(io_error)?;
        // The file may be removed while a server has locked it. So the directory is locked as well, where that can be done.
        let of_directory = File::open(&path).map_err(io_error)?;
        match (lock.try_lock(), of_directory.try_lock()) {
            (Ok(()), Ok(()) | Err(TryLockError::Error(_))) => {}
            (Err(TryLockError::WouldBlock), _) | (_, Err(TryLockError::WouldBlock)) => {
                return Err(DataDirError::InUse(path));
            }
            (Err(TryLockError::Error(source)), _) => return Err(io_error(source)),
        }
        FILES.iter().try_for_each(|name| restrict(&path.join(name)))?;

        let (kept, is_new) = match kept_account(&path)? {
            Some(kept) => (kept, false),
            None => {
                let auth_token = Uuids.secret().map_err(DataDirError::Randomness)?;
                (Account { account_sid: (&Uuids as &dyn Ids).random_sid(), auth_token }, true)
            }
        };
        let account = Account {
            account_sid: settings.account_sid.unwrap_or(kept.account_sid),
            auth_token: settings.auth_token.clone().unwrap_or_else(|| kept.auth_token.clone()),
        };
        let is_changed = account.account_sid != kept.account_sid || account.auth_token != kept.auth_token;
        Ok(Self { path, account, is_new, is_changed, is_made: is_made && is_new, _locks: [lock, of_directory] })
    }

    /// Saves the account, unless the same is saved. So a token that was replaced is not used again, and commands that read it
    /// find the one in use. A first start that fails before this is repeated as a first start.
    pub(crate) fn keep(&mut self) -> Result<(), DataDirError> {
        if self.is_new || self.is_changed {
            keep_account(&self.path, &self.account)?;
        }
        (self.is_changed, self.is_made) = (false, false);
        Ok(())
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
    [account_file(directory), credentials_key_file(directory)]
}

/// A failed first start removes the directory that it created, so that the next one starts clean. A directory that
/// contains files of others stays.
impl Drop for DataDir {
    fn drop(&mut self) {
        if !self.is_made {
            return;
        }
        for name in FILES {
            let file = self.path.join(name);
            let _ = fs::remove_file(private::draft(&file));
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Takes the access of others away from the directory or a file in it.
fn restrict(path: &Path) -> Result<(), DataDirError> {
    let before = private::restrict(path).map_err(|source| DataDirError::Open { path: path.to_owned(), source })?;
    if let Some(mode) = before {
        warn!(path = %path.display(), mode = %format_args!("{mode:o}"), "other users had access to data, and no longer have it");
    }
    Ok(())
}

/// Path of the credentials key, unless the settings name another file.
pub(crate) fn credentials_key_file(directory: &Path) -> PathBuf {
    directory.join(CREDENTIALS_KEY)
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
    private::write_whole(&path, &json).map_err(|source| DataDirError::File { path, source })
}
