//! `reachability dead-letters`: shows the messages that could not be handled, has them retried, or drops them. And the server's
//! part of it: what is to be retried goes back into its queue.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::secret::Secret;
use reachability_domain::store::StoreError;
use reachability_infra::clock;
use reachability_infra::credentials::seal::Seal;
use reachability_infra::sqlite::{
    Database, DeadLetter, EventQueue, Letters, NoSuchLetter, OpenError, PushQueue, WebhookQueue,
};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::data_dir::{DataDirError, known_account};

/// How often the server looks for dead letters to retry.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct DeadLettersSettings {
    #[command(subcommand)]
    command: DeadLettersCommand,

    /// Data directory of the server
    #[arg(long, env = "REACHABILITY_DATA_DIR", value_name = "DIR", default_value = "./data", global = true)]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// Print a table of them, the newest at the end
    List {
        /// How many are shown at most
        #[arg(long, value_name = "COUNT", default_value_t = 50, allow_negative_numbers = true,
              value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Print the message of one, as it is
    Show {
        #[arg(value_name = "ID")]
        id: i64,
    },
    /// Put them back into their queues: done by the server within seconds, or when it starts
    Retry(Which),
    /// Delete them
    Drop(Which),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    #[arg(value_name = "ID")]
    ids: Vec<i64>,

    /// All that there are
    #[arg(long)]
    all: bool,
}

impl From<Which> for Letters {
    fn from(which: Which) -> Self {
        if which.all { Self::All } else { Self::These(which.ids) }
    }
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadLettersError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Missing(NoSuchLetter),
    #[error("nothing was changed")]
    Unchanged(#[source] NoSuchLetter),
    #[error("cannot write the result")]
    Write(#[from] io::Error),
}

pub(crate) async fn run(settings: DeadLettersSettings) -> Result<(), DeadLettersError> {
    let (_, database) = known_account(&settings.data_dir)?;
    // No secret is read here, so a lost credentials key is no obstacle.
    let no_seal = Arc::new(Seal::new(&Secret::new("")));
    let database = Database::open_beside_server(&database, no_seal)?;
    let mut output = BufWriter::new(io::stdout());
    match settings.command {
        DeadLettersCommand::List { limit } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let (all, letters) = (database.count_dead_letters().await?, database.dead_letters(limit).await?);
            write_table(&mut output, &letters, all)?;
        }
        DeadLettersCommand::Show { id } => {
            let letter = database.dead_letter(id).await?.ok_or(DeadLettersError::Missing(NoSuchLetter(id)))?;
            writeln!(output, "{}", letter.body)?;
        }
        DeadLettersCommand::Retry(which) => {
            let letters = database.retry_dead_letters(which.into()).await?.map_err(DeadLettersError::Unchanged)?;
            writeln!(output, "to be retried: {letters} (within seconds, or when the server starts)")?;
        }
        DeadLettersCommand::Drop(which) => {
            let letters = database.drop_dead_letters(which.into()).await?.map_err(DeadLettersError::Unchanged)?;
            writeln!(output, "dropped: {letters}")?;
        }
    }
    match output.flush() {
        // The reader of the pipe has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        flushed => Ok(flushed?),
    }
}

/// The header has the width of the columns: a time has 24 characters, and a sid has 34.
fn write_table(output: &mut impl Write, letters: &[DeadLetter], all: usize) -> io::Result<()> {
    if !letters.is_empty() {
        writeln!(output, "{:>9}  {:8}  {:24}  {:34}  REASON", "ID", "QUEUE", "WHEN", "SERVICE")?;
    }
    for letter in letters {
        let (id, queue, when) = (letter.id, letter.queue, letter.died_at.to_string());
        let service = letter.service().map(|sid| sid.to_string()).unwrap_or_default();
        let retry = if letter.is_to_retry { "(to be retried) " } else { "" };
        // It may quote what somebody sent, which must not drive the terminal.
        let reason = letter.reason.replace(char::is_control, " ");
        writeln!(output, "{id:>9}  {queue:8}  {when:24}  {service:34}  {retry}{reason}")?;
    }
    match all - all.min(letters.len()) {
        0 => writeln!(output, "dead letters: {all}"),
        older => writeln!(output, "dead letters: {all}, of which {older} older ones are not shown (--limit)"),
    }
}

/// Puts the dead letters back into their queues that the command has marked, for as long as the server runs.
pub(crate) async fn retry_marked(events: EventQueue, pushes: PushQueue, webhooks: WebhookQueue) {
    loop {
        match retry(&events, &pushes, &webhooks).await {
            Ok(0) => {}
            Ok(retried) => info!(retried, "dead letters are back in their queues"),
            Err(error) => warn!(error = %ErrorChain(&error), "dead letters could not be put back into their queues"),
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn retry(events: &EventQueue, pushes: &PushQueue, webhooks: &WebhookQueue) -> Result<usize, StoreError> {
    let mut all = 0;
    loop {
        let of_events = events.retry_dead_letters(clock::now()).await?;
        let retried = of_events + pushes.retry_dead_letters().await? + webhooks.retry_dead_letters().await?;
        if retried == 0 {
            return Ok(all);
        }
        all += retried;
    }
}
