//! What `tests/tools/setup` has unpacked of Debian's packages.

use std::path::{Path, PathBuf};

use super::installed;

/// The file of a package. Fails if the packages could not be had.
pub fn file(path: &str) -> Result<PathBuf, String> {
    let file = installed("debian")?.join("debian").join(path);
    if file.exists() { Ok(file) } else { Err(format!("{} is not in Debian's packages", file.display())) }
}

/// The library in the directory of the machine's architecture, such as `usr/lib/x86_64-linux-gnu`.
pub fn library(path: &str) -> Result<PathBuf, String> {
    let of_architecture = Path::new("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    file(&of_architecture.join(path).to_string_lossy())
}
