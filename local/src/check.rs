//! `reachability check`: checks what is stored, beside a server that may be running.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use reachability_infra::sqlite::{Checked, Finding, OpenError, check};

use crate::data_dir::{DataDirError, known_account};

#[derive(Debug, Args)]
pub(crate) struct CheckSettings {
    /// Data directory of the server
    #[arg(long, env = "REACHABILITY_DATA_DIR", value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
}

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckCommandError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot write the result")]
    Write(#[from] io::Error),
    #[error("findings: {0}")]
    Found(u64),
}

/// Prints one line for each finding, or how much was checked if there is none.
pub(crate) fn run(settings: &CheckSettings) -> Result<(), CheckCommandError> {
    let (_, database) = known_account(&settings.data_dir)?;
    let mut output = BufWriter::new(io::stdout());
    let mut written = Ok(());
    let mut print = |finding: Finding| {
        if written.is_ok() {
            written = writeln!(output, "{finding}");
        }
    };
    let checked = check(&database, &mut print)?;
    written?;
    if checked.findings > 0 {
        output.flush()?;
        return Err(CheckCommandError::Found(checked.findings));
    }
    let Checked { services, users, connections, bindings, channels, .. } = checked;
    let Checked { events, timers, pushes, webhooks, dead_letters, .. } = checked;
    writeln!(
        output,
        "nothing found: {services} services, {users} users, {connections} connections, {bindings} push registrations, \
         {channels} channels\nwaiting: {events} events, {timers} timers, {pushes} pushes, {webhooks} webhooks; \
         dead letters: {dead_letters}"
    )?;
    Ok(output.flush()?)
}
