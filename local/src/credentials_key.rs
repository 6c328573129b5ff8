//! The key that seals the secrets of push credentials and API keys: its file, and whether it opens what is stored.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use reachability_domain::ids::{Ids, NoRandomness};
use reachability_domain::secret::Secret;
use reachability_infra::credentials::seal::Seal;
use reachability_infra::ids::Uuids;
use reachability_infra::sqlite::{Locked, OpenError, SealedSecrets};

use crate::data_dir::credentials_key_file;
use crate::private;

/// Minimum length of the key, in characters.
const MIN_KEY: usize = 32;

/// Where the key is.
#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// File of the key that encrypts push credentials and API keys; the server makes it if nothing is encrypted yet
    /// [default: credentials.key in the data directory]
    #[arg(long, env = "REACHABILITY_CREDENTIALS_KEY_FILE", value_name = "FILE")]
    credentials_key_file: Option<PathBuf>,
}

/// Why there is no key to open the stored secrets with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("cannot read or write the credentials key {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the credentials key {0} is malformed")]
    Malformed(PathBuf),
    #[error("cannot generate a credentials key")]
    Randomness(#[source] NoRandomness),
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("there is no credentials key {0} (start the server first, or name its file with --credentials-key-file)")]
    None(PathBuf),
    #[error(
        "the credentials key {path} is missing, without which stored secrets cannot be opened (API keys: {keys}, push \
         credentials: {credentials}). Put the file back, or name it with --credentials-key-file. If it is lost for good, \
         start the server once with --discard-credentials: the API keys are deleted, and the push credentials must be \
         uploaded again"
    )]
    Missing { path: PathBuf, keys: usize, credentials: usize },
    #[error(
        "the credentials key {path} is not the one that stored secrets were sealed with (API keys: {keys}, push \
         credentials: {credentials}). Put the right file there, or name it with --credentials-key-file. If it is lost \
         for good, start the server once with --discard-credentials: the API keys are deleted, and the push credentials \
         must be uploaded again"
    )]
    Wrong { path: PathBuf, keys: usize, credentials: usize },
}

impl KeyFile {
    fn path(&self, data_dir: &Path) -> PathBuf {
        self.credentials_key_file.clone().unwrap_or_else(|| credentials_key_file(data_dir))
    }

    /// The seal for a server's database, and what it does not open. If there is no key, makes one, unless something is sealed
    /// already that `discards` does not give up.
    pub(crate) fn open_or_make(
        &self,
        data_dir: &Path,
        database: &Path,
        discards: bool,
    ) -> Result<(Seal, Locked), KeyError> {
        let (path, stored) = (self.path(data_dir), SealedSecrets::read(database)?);
        let (keys, credentials) = stored.counts();
        let key = match read(&path)? {
            Some(key) => key,
            None if stored.is_empty() || discards => make(&path)?,
            None => return Err(KeyError::Missing { path, keys, credentials }),
        };
        let seal = Seal::new(&key);
        let locked = stored.locked(&seal);
        if !discards {
            check(&path, &stored, &locked)?;
        }
        Ok((seal, locked))
    }

    /// The seal for the database of a server that may be running. Makes nothing.
    pub(crate) fn open(&self, data_dir: &Path, database: &Path) -> Result<Seal, KeyError> {
        let (path, stored) = (self.path(data_dir), SealedSecrets::read(database)?);
        let seal = Seal::new(&read(&path)?.ok_or_else(|| KeyError::None(path.clone()))?);
        check(&path, &stored, &stored.locked(&seal))?;
        Ok(seal)
    }
}

/// Refuses a key that is not the one of the database.
fn check(path: &Path, stored: &SealedSecrets, locked: &Locked) -> Result<(), KeyError> {
    if stored.are_of_another_key(locked) {
        let (keys, credentials) = (locked.keys.len(), locked.credentials.len());
        return Err(KeyError::Wrong { path: path.to_owned(), keys, credentials });
    }
    Ok(())
}

/// The key in a file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<Secret>, KeyError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = text.trim_end();
            let is_key = key.len() >= MIN_KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
            is_key.then(|| Some(Secret::new(key))).ok_or_else(|| KeyError::Malformed(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyError::Malformed(path.to_owned())),
        Err(source) => Err(KeyError::File { path: path.to_owned(), source }),
    }
}

fn make(path: &Path) -> Result<Secret, KeyError> {
    let secret = || Uuids.secret().map_err(KeyError::Randomness);
    let key = Secret::new(format!("{}{}", secret()?.expose(), secret()?.expose()));
    private::write_whole(path, format!("{}\n", key.expose()).as_bytes())
        .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    Ok(key)
}
