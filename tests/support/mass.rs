//! Services of very many users, written straight into a database.

use reachability_domain::sid::{ServiceSid, Sid};
use rusqlite::{Connection, params};

/// How many rows [`fill`] writes for each user.
pub const RECORDS: usize = 5;

/// The tables whose rows belong to a service.
const TABLES: [&str; 5] = ["users", "states", "bindings", "channels", "members"];

/// Gives a service so many users, each with a state, a push registration, and a channel with itself as its member. Only their
/// keys are as they should be.
pub fn fill(database: &Connection, service: ServiceSid, users: usize) {
    let counter =
        "WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ?2) INSERT INTO";
    for insert in [
        "users (service, sid, identity, version, document) SELECT ?1, randomblob(16), 'user-' || n, 0, '{}'",
        "states (service, identity, revision, as_of, presence) SELECT ?1, 'user-' || n, 1, 0, x''",
        "bindings (service, sid, channel, identity, version, document)
            SELECT ?1, randomblob(16), 'apn', 'user-' || n, 0, '{}'",
        "channels (service, cid, version, member_count, document) SELECT ?1, 'team:' || n, 0, 1, '{}'",
        "members (service, cid, identity) SELECT ?1, 'team:' || n, 'user-' || n",
    ] {
        let insert = format!("{counter} {insert} FROM counter");
        database.execute(&insert, params![service.bits().to_be_bytes(), users]).unwrap();
    }
}

/// How many rows are left of a service.
pub fn left(database: &Connection, service: ServiceSid) -> usize {
    let count = |table: &&str| -> usize {
        let select = format!("SELECT count(*) FROM {table} WHERE service = ?1");
        database.query_row(&select, [service.bits().to_be_bytes()], |row| row.get(0)).unwrap()
    };
    TABLES.iter().map(count).sum()
}
