//! `reachability`: the functions and the worker in one process, with SQLite as the store and the queue.

mod backup;
mod check;
mod clock_watch;
mod connections;
mod consumer;
mod credentials_key;
mod data_dir;
mod dead_letters;
mod feed;
mod files;
mod log;
mod metrics;
mod private;
mod proxies;
mod purges;
mod readiness;
mod refusal;
mod replay;
mod serve;
mod server;
mod settings;
mod sockets;
mod stop;
mod token;
mod upkeep;
mod webhooks;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;
use reachability_domain::error_chain::ErrorChain;

use crate::log::LogError;
use crate::settings::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::read();
    match log::start() {
        Ok(()) => {}
        Err(error @ LogError::Filter(_)) => {
            let text = format!("{}\n", ErrorChain(&error));
            Cli::command().error(ErrorKind::ValueValidation, text).exit();
        }
        Err(error) => return fail(&error),
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let done = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(settings) => serve::run(settings).await.map_err(Box::<dyn Error>::from),
            Command::Token(settings) => succeed(token::run(settings).await),
            Command::DeadLetters(settings) => succeed(dead_letters::run(settings).await),
            Command::Backup(settings) => succeed(backup::run(&settings)),
            Command::Check(settings) => succeed(check::run(&settings)),
            Command::Replay(settings) => succeed(replay::run(settings).await),
        }
    });
    done.unwrap_or_else(|error| fail(error.as_ref()))
}

fn succeed<E: Error + 'static>(done: Result<(), E>) -> Result<ExitCode, Box<dyn Error>> {
    done.map(|()| ExitCode::SUCCESS).map_err(Box::from)
}

/// Prints an error with its causes.
fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "reachability: {}", ErrorChain(error));
    ExitCode::FAILURE
}
