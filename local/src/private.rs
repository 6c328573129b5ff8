//! Directories and files that only their owner may read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Modes with access for the owner only.
const DIRECTORY: u32 = 0o700;
const FILE: u32 = 0o600;

/// The bits of a mode that give access to the group and to others.
const FOR_OTHERS: u32 = 0o077;

/// Creates a directory, and its parents, with access for the owner only. Returns whether it did not exist before.
pub(crate) fn make(directory: &Path) -> io::Result<bool> {
    let mut builder = DirBuilder::new();
    builder.mode(DIRECTORY);
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        builder.recursive(true).create(parent)?;
    }
    match builder.recursive(false).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the access of others away from a directory or file, if they have any. Returns the mode that it had then. What does
/// not exist, and a link, is left alone.
pub(crate) fn restrict(path: &Path) -> io::Result<Option<u32>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mode = found.permissions().mode() & 0o7777;
    if found.is_symlink() || mode & FOR_OTHERS == 0 {
        return Ok(None);
    }
    let private = if found.is_dir() { DIRECTORY } else { FILE };
    fs::set_permissions(path, Permissions::from_mode(private))?;
    Ok(Some(mode))
}

/// Writes a file atomically, with access for the owner only.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft(path);
    let mut file = open_or_create(&draft)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Path of the temporary file that replaces a file when it is complete.
pub(crate) fn draft(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Opens or creates a file with access for the owner only.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE).open(path)
}
