//! Whether the files of an open database are still where they were opened.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file was removed, renamed or replaced while it was open. It still works for those who have it open, and nobody else
/// will find what they write to it.
#[derive(Debug, thiserror::Error)]
pub enum FileLost {
    /// The database.
    #[error("the database {0} was removed or replaced while it was in use")]
    Database(PathBuf),
    /// Its log, which has the latest writes.
    #[error("the log {0} was removed or replaced while it was in use")]
    Log(PathBuf),
    /// The locks, and the index of the log. Another process makes a new one, and then neither sees the other's locks.
    #[error("the locks {0} were removed or replaced while they were in use")]
    Locks(PathBuf),
}

/// A file as the system knows it, whatever its name: no other one has the same device and inode while it is open.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }
}

/// The files of an open database.
#[derive(Debug)]
pub(super) struct OpenFiles {
    database: (PathBuf, Identity),
    log: (PathBuf, Identity),
    locks: (PathBuf, Identity),
}

impl OpenFiles {
    /// The files of a database that was opened just now.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let known = |suffix: &str| {
            let mut path = database.as_os_str().to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            Identity::of(&path).map(|identity| (path, identity))
        };
        Ok(Self { database: known("")?, log: known("-wal")?, locks: known("-shm")? })
    }

    /// The sizes of the database and of its log, in bytes.
    pub(super) fn sizes(&self) -> io::Result<(u64, u64)> {
        Ok((self.database.0.metadata()?.len(), self.log.0.metadata()?.len()))
    }

    /// # Errors
    /// If one of them is not there any more.
    pub(super) fn check(&self) -> Result<(), FileLost> {
        let is_lost = |(path, known): &(PathBuf, Identity)| match Identity::of(path) {
            Ok(found) => found != *known,
            // Other errors do not say whether it is there.
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        };
        if is_lost(&self.database) {
            return Err(FileLost::Database(self.database.0.clone()));
        }
        if is_lost(&self.log) {
            return Err(FileLost::Log(self.log.0.clone()));
        }
        if is_lost(&self.locks) { Err(FileLost::Locks(self.locks.0.clone())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_not_there_any_more_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let [database, log, locks, other] =
            ["test.db", "test.db-wal", "test.db-shm", "other"].map(|name| directory.path().join(name));
        // Open, as SQLite has them: its inode is not taken by another file.
        let open = |path: &Path| fs::File::options().create(true).append(true).open(path).unwrap();
        let _open = [open(&database), open(&log), open(&locks)];
        let files = OpenFiles::of(&database).unwrap();
        files.check().unwrap();
        fs::rename(&log, &other).unwrap();
        assert!(matches!(files.check(), Err(FileLost::Log(path)) if path == log));
        drop(open(&log));
        assert!(matches!(files.check(), Err(FileLost::Log(_))));
        fs::rename(&other, &log).unwrap();
        files.check().unwrap();
        fs::rename(&locks, &other).unwrap();
        assert!(matches!(files.check(), Err(FileLost::Locks(path)) if path == locks));
        fs::rename(&other, &locks).unwrap();
        files.check().unwrap();
        fs::rename(&database, &other).unwrap();
        assert!(matches!(files.check(), Err(FileLost::Database(path)) if path == database));
        fs::copy(&other, &database).unwrap();
        assert!(matches!(files.check(), Err(FileLost::Database(_))));
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(matches!(files.check(), Err(FileLost::Database(_))));
    }
}
