//! Checks what is stored: whether the file is intact, every record can be read, and records agree with each other. It reads one
//! row after the other, as of one moment, on a connection that cannot write.

mod presence;
mod queues;
mod records;

use std::fmt::{self, Write};
use std::path::Path;

use reachability_domain::error_chain::ErrorChain;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::database::OpenError;
use super::migrations::SCHEMA_VERSION;
use super::readers;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The row: the name of its table, and its key.
    pub row: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Finding {
    /// One line, whatever is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {}", self.row, self.problem);
        f.write_str(&line.replace(char::is_control, " "))
    }
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Services.
    pub services: u64,
    /// Users.
    pub users: u64,
    /// Connections in the records of users.
    pub connections: u64,
    /// Push registrations.
    pub bindings: u64,
    /// Channels.
    pub channels: u64,
    /// Events that wait to be handled.
    pub events: u64,
    /// Timers.
    pub timers: u64,
    /// Messages for push providers that wait.
    pub pushes: u64,
    /// Webhooks that wait.
    pub webhooks: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// What was found.
    pub findings: u64,
}

/// Checks the database in this file, which a server may be using. Tells each finding when it comes upon it.
///
/// # Errors
/// If the file is no database, or another version of this program wrote it.
pub fn check(path: &Path, found: &mut dyn FnMut(Finding)) -> Result<Checked, OpenError> {
    let sqlite_error = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let connection = readers::open(path).map_err(sqlite_error)?;
    // While it lasts, a server cannot shorten its log.
    let snapshot = connection.unchecked_transaction().map_err(sqlite_error)?;
    let version: i32 = snapshot.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite_error)?;
    if version != SCHEMA_VERSION {
        return Err(OpenError::Other { path: path.to_owned(), found: version });
    }
    let mut check = Check { connection: &snapshot, found, checked: Checked::default() };
    check.integrity();
    check.directory();
    check.pushes();
    check.channels();
    check.presence();
    check.messages();
    check.webhooks();
    check.feed();
    check.services_exist();
    Ok(check.checked)
}

/// The rows that are not about to be removed with their service.
const KEPT: &str = "service NOT IN (SELECT sid FROM deleted_services)";

/// What is wrong with a row: mostly nothing.
type Problems = Vec<String>;

/// A check that is under way.
struct Check<'a> {
    connection: &'a Connection,
    found: &'a mut dyn FnMut(Finding),
    checked: Checked,
}

/// A table whose rows are looked at.
struct Table {
    name: &'static str,
    /// The prefixes of the sids in its key, which are the first columns of what is selected; empty for another value.
    key: &'static [&'static str],
}

impl Table {
    const fn new(name: &'static str, key: &'static [&'static str]) -> Self {
        Self { name, key }
    }

    /// Names a row by its key, whatever is in it.
    fn row(&self, row: &Row<'_>) -> String {
        let mut name = format!("{} ", self.name);
        for (column, prefix) in self.key.iter().enumerate() {
            let separator = if column > 0 { "/" } else { "" };
            // Writing to a text does not fail.
            let _ = match row.get_ref(column) {
                Ok(ValueRef::Integer(number)) => write!(name, "{separator}{number}"),
                Ok(ValueRef::Text(text)) => write!(name, "{separator}{}", String::from_utf8_lossy(text)),
                Ok(ValueRef::Blob(bytes)) => {
                    name.extend([separator, *prefix]);
                    bytes.iter().try_for_each(|byte| write!(name, "{byte:02x}"))
                }
                _ => write!(name, "{separator}?"),
            };
        }
        name
    }
}

impl Check<'_> {
    fn find(&mut self, row: String, problem: String) {
        self.checked.findings += 1;
        (self.found)(Finding { row, problem });
    }

    /// Looks at each row that is selected. A row, or the rest of a table, that cannot be read is a finding too.
    fn each(
        &mut self,
        table: &Table,
        select: &str,
        mut look: impl FnMut(&Row<'_>, &mut Checked) -> rusqlite::Result<Problems>,
    ) {
        let connection = self.connection;
        let read = || -> rusqlite::Result<()> {
            let mut statement = connection.prepare(select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let problems = look(row, &mut self.checked).unwrap_or_else(|error| vec![unreadable(&error)]);
                for problem in problems {
                    self.find(table.row(row), problem);
                }
            }
            Ok(())
        };
        if let Err(error) = { read }() {
            self.find(table.name.to_owned(), unreadable(&error));
        }
    }

    /// SQLite's own check of pages, indexes and columns.
    fn integrity(&mut self) {
        self.each(&Table::new("the file", &[]), "PRAGMA integrity_check", |row, _| {
            let said: String = row.get(0)?;
            Ok(if said == "ok" { vec![] } else { vec![said] })
        });
    }

    /// Nothing is left of a service that was deleted, except what is still to be removed, and what ends by itself: messages,
    /// notifications, the feed, and the rows of sockets that are being closed.
    fn services_exist(&mut self) {
        let both = "SELECT sid FROM deleted_services WHERE sid IN (SELECT sid FROM services)";
        self.each(&Table::new("deleted_services", &["IS"]), both, |_, _| Ok(vec!["the service exists".to_owned()]));
        for name in ["users", "states", "bindings", "channels", "members"] {
            let select = format!(
                "SELECT service, count(*) FROM {name} WHERE service NOT IN (SELECT sid FROM services) AND {KEPT}
                 GROUP BY service"
            );
            self.each(&Table { name, key: &["IS"] }, &select, |row, _| {
                let rows: u64 = row.get(1)?;
                Ok(vec![format!("there is no such service, and {rows} rows of it")])
            });
        }
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> String {
    format!("cannot be read: {}", ErrorChain(error))
}

/// Says so if something does not hold.
fn unless(holds: bool, problem: &str) -> Option<String> {
    (!holds).then(|| problem.to_owned())
}
