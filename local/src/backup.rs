//! `reachability backup`: copies the database of a server that may be running.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use reachability_infra::sqlite::{BackupError, back_up};

use crate::data_dir::{DataDirError, files_besides_database, known_account};

#[derive(Debug, Args)]
pub(crate) struct BackupSettings {
    /// File to write, which must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Data directory of the server
    #[arg(long, env = "REACHABILITY_DATA_DIR", value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupCommandError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{0} exists already, and is left as it is")]
    Exists(PathBuf),
    #[error("{0} is there: another backup is writing it, or one was interrupted, and it is to be removed")]
    Unfinished(PathBuf),
    #[error("cannot copy the database into {file}")]
    Copy {
        file: PathBuf,
        #[source]
        source: BackupError,
    },
    #[error("cannot write {file}")]
    Publish {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write what belongs to the backup")]
    Write(#[source] io::Error),
}

pub(crate) fn run(settings: &BackupSettings) -> Result<(), BackupCommandError> {
    let (_, database) = known_account(&settings.data_dir)?;
    let file = &settings.file;
    // Whoever finds a file by this name finds a whole one.
    let draft = file.with_added_extension("unfinished");
    let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
    if exists(file) {
        return Err(BackupCommandError::Exists(file.clone()));
    }
    if exists(&draft) {
        return Err(BackupCommandError::Unfinished(draft));
    }
    back_up(&database, &draft).map_err(|source| BackupCommandError::Copy { file: draft.clone(), source })?;
    let size = publish(&draft, file).map_err(|source| {
        let _ = fs::remove_file(&draft);
        match source.kind() {
            io::ErrorKind::AlreadyExists => BackupCommandError::Exists(file.clone()),
            _ => BackupCommandError::Publish { file: file.clone(), source },
        }
    })?;
    let besides: Vec<String> =
        files_besides_database(&settings.data_dir).iter().map(|path| format!("  {}\n", path.display())).collect();
    let text = format!(
        "{} is a copy of the database, {size} bytes.\nThe backup is complete with these files, which are not in it:\n{}",
        file.display(),
        besides.concat()
    );
    io::stdout().write_all(text.as_bytes()).map_err(BackupCommandError::Write)
}

/// Gives a file its name, unless there is one by that name. Returns its size.
fn publish(draft: &Path, file: &Path) -> io::Result<u64> {
    let size = fs::metadata(draft)?.len();
    // To rename it would replace a file that was written meanwhile.
    match fs::hard_link(draft, file) {
        Ok(()) => fs::remove_file(draft)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // Some file systems have no links.
        Err(_) => fs::rename(draft, file)?,
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()?;
    Ok(size)
}
