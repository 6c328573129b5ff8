//! A copy of a database that a server may be using.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::readers;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file could not be created, or not be flushed.
    #[error("cannot write the file")]
    Write(#[from] io::Error),
    /// SQLite could not read the database, or not write the copy.
    #[error("SQLite could not copy the database")]
    Sqlite(#[from] rusqlite::Error),
    /// SQLite knows names in UTF-8 only.
    #[error("the name of the file is not UTF-8")]
    Name,
}

/// Copies a database, as it is at one moment, into a file that does not exist yet, readable by its owner only. Changes nothing
/// of the database. The copy is on disk when this returns, and removed if it fails.
///
/// By `VACUUM INTO`: it reads in one transaction, so it ends however much a server writes meanwhile. SQLite's backup API starts
/// again whenever another process has written between its steps; and if it copies all in one step, the copy has the pages
/// that nothing uses, with what was deleted. While it reads, a server cannot shorten its log.
///
/// # Errors
/// If the file exists, cannot be written, or the database cannot be read.
pub fn back_up(database: &Path, copy: &Path) -> Result<(), BackupError> {
    let name = copy.to_str().ok_or(BackupError::Name)?;
    let connection = readers::open(database)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(copy)?;
    let copied = fill(&connection, name, &file);
    if copied.is_err() {
        // The error tells more than that it cannot be removed either.
        let _ = std::fs::remove_file(copy);
    }
    copied
}

/// Copies into an empty file, which keeps its permissions.
fn fill(connection: &Connection, name: &str, file: &File) -> Result<(), BackupError> {
    connection.execute("VACUUM INTO ?1", [name])?;
    Ok(file.sync_all()?)
}
