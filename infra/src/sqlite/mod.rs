//! SQLite: the store and the queue of a single process, in one file.
//!
//! All writes go through one thread, which commits all waiting writes together. A killed process loses nothing that was
//! committed. After a power cut, a prefix of the commits is left: up to the last flush of the journal, or further. So a write
//! says whether somebody is promised that it survives (an accepted event, a write of the owner), and such a commit is flushed
//! before it is answered; what can be derived again (the join of an event that waits, its removal from the queue) is not. What
//! leaves the machine waits for a flush. Readers have their own connections and never wait for writers. A short read runs
//! where it is asked for.
//!
//! The module `database` opens the file, `migrations` brings it up to date, `sealed` tells whether a key opens the secrets in
//! it, `writer` is that thread, and `readers` runs reads. `upkeep` moves the log to the database, and says whether both still
//! work; `files` knows whether they are still there. `rows` reads and writes rows,
//! `presence` is the form of a user's connections, `records` has the writes that several ports share, and `known` keeps
//! services and API keys in memory. `events` is the event queue: `waiting` is what it has in memory, `loading` gets more
//! from the table, and `ages` knows since when events wait. `webhooks` is the webhook queue, with `webhook_turns` in memory; `webhook_retries`
//! brings dead letters back into it.
//! `dead_letters` is what none of them could handle, and `backlog` says what waits in all of them. `purges` removes what
//! deleted services leave behind, and `set_back` makes what waits due sooner after a step of the clock.
//! Every other module implements ports and depends on none of its siblings.

mod ages;
mod backlog;
mod backup;
mod bindings;
mod channels;
mod check;
mod credentials;
mod database;
mod dead_letters;
mod directory;
mod events;
mod feed;
mod files;
mod garbage;
mod keys;
mod known;
mod loading;
mod migrations;
mod notifications;
mod presence;
mod purges;
mod queue;
mod readers;
mod records;
mod reports;
mod rows;
mod sealed;
mod set_back;
mod snapshots;
mod sockets;
mod states;
mod store;
mod upkeep;
mod users;
mod waiting;
mod webhook_retries;
mod webhook_turns;
mod webhooks;
mod writer;

pub use backup::{BackupError, back_up};
pub use check::{Checked, Finding, check};
pub use database::{Database, OpenError};
pub use dead_letters::{DeadLetter, Letters, NoSuchLetter, QueueName};
pub use events::EventQueue;
pub use feed::{FeedRow, Retention, SqliteFeed};
pub use files::FileLost;
pub use queue::{Delivered, Outcome, PushQueue};
pub use sealed::{Locked, SealedSecrets};
pub use set_back::Done as DoneSooner;
pub use store::SqliteStore;
pub use waiting::{Receipt, Taken, WaitingLimits};
pub use webhooks::{MAX_WAITING_WEBHOOKS, Settled, TakenWebhook, WebhookQueue};
pub use writer::{WriterPanicked, is_disk_full};
