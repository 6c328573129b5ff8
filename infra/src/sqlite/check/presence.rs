//! Users, their states, and the sockets that are open.

use std::collections::HashSet;

use reachability_domain::directory::user::User;
use reachability_domain::identity::{ConnectionKey, UserKey};
use reachability_domain::presence::connections::{Limits, Presence};
use reachability_domain::presence::message::PresenceMessage;
use reachability_domain::presence::search::looks_online;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::timer::MAX_LATE;
use reachability_domain::queue::Message;
use reachability_domain::sid::{ServiceSid, UserSid};
use reachability_domain::time::Timestamp;
use rusqlite::Row;

use super::records::document_problem;
use super::{Check, KEPT, Problems, Table, unless, unreadable};
use crate::sqlite::records::{STATE, state};
use crate::sqlite::rows::Key;
use crate::sqlite::sockets::socket;

impl Check<'_> {
    pub(super) fn presence(&mut self) {
        self.users();
        let awaited = Awaited { open: HashSet::new(), users: self.users_of_events() };
        let awaited = self.sockets(awaited);
        self.states(&awaited);
    }

    /// Each user has a state, which names it.
    fn users(&mut self) {
        let select = format!(
            "SELECT service, sid, document, identity,
             (SELECT user FROM states WHERE states.service = users.service AND states.identity = users.identity)
             FROM users WHERE {KEPT}"
        );
        self.each(&Table::new("users", &["IS", "US"]), &select, |row, checked| {
            checked.users += 1;
            let (Key(service), Key(sid)): (Key<ServiceSid>, Key<UserSid>) = (row.get(0)?, row.get(1)?);
            let document = document_problem(row, 2, |user: &User| {
                let is_of_row = (user.service_sid, user.sid) == (service, sid);
                Ok(is_of_row && user.identity.as_str() == row.get_ref(3)?.as_str()?)
            })?;
            let named: Option<Key<UserSid>> = row.get(4)?;
            let state = unless(named.is_some_and(|Key(named)| named == sid), "no state is of this user");
            Ok(document.into_iter().chain(state).collect())
        });
    }

    /// The users of whom an event waits to be handled: no more than there are events. Whether it can be read is another check.
    fn users_of_events(&mut self) -> HashSet<UserKey> {
        let mut users = HashSet::new();
        let select = "SELECT id, body FROM messages WHERE lane = 0 AND timer_of IS NULL";
        self.each(&Table::new("messages", &[""]), select, |row, _| {
            if let Ok(PresenceMessage::Event(accepted)) = PresenceMessage::parse(row.get_ref(1)?.as_bytes()?) {
                users.insert(accepted.event.user);
            }
            Ok(vec![])
        });
        users
    }

    /// Adds those that are open: no more than there are sockets.
    fn sockets(&mut self, mut awaited: Awaited) -> Awaited {
        let select = "SELECT connection, service, identity FROM sockets";
        self.each(&Table::new("sockets", &[""]), select, |row, _| {
            Ok(match socket(row) {
                Ok(socket) => {
                    awaited.open.insert(socket.connection.key());
                    awaited.users.insert(socket.user);
                    vec![]
                }
                Err(error) => vec![format!("cannot be read: {error}")],
            })
        });
        awaited
    }

    /// Each state can be read, is within its bounds, is in the index of who is online if it should be, is of a user if it names
    /// one, and has a timer if it needs one.
    fn states(&mut self, awaited: &Awaited) {
        let select = format!(
            "SELECT service, identity, shown_online, EXISTS (SELECT 1 FROM users WHERE users.service = states.service
             AND users.sid = states.user AND users.identity = states.identity),
             (SELECT iif(attempts = 0, due_at, 0) FROM messages
             WHERE messages.service = states.service AND messages.timer_of = states.identity), {STATE} FROM states WHERE {KEPT}"
        );
        self.each(&Table::new("states", &["IS", ""]), &select, |row, checked| {
            let state = match state(row, 5)? {
                Ok(state) => state,
                Err(error) => return Ok(vec![unreadable(&error)]),
            };
            checked.connections += u64::try_from(state.presence.connections.len()).unwrap_or(u64::MAX);
            let (is_shown, is_of_user): (Option<bool>, bool) = (row.get(2)?, row.get(3)?);
            let is_online = looks_online(&state);
            let index = (is_shown.unwrap_or(false) != is_online).then(|| match is_online {
                true => "the user is online, and not in the index of who is".to_owned(),
                false => "the user is not online, but in the index of who is".to_owned(),
            });
            let user = unless(state.sid.is_none() || is_of_user, "it names a user that does not exist");
            let waits: Option<i64> = row.get(4)?;
            let timer = unless(
                has_timer(&state, waits.map(Timestamp::from_millis)) || awaited.has(row)?,
                "it has no timer in time",
            );
            let mut problems = connection_problems(&state.presence, &awaited.open);
            problems.extend(index.into_iter().chain(user).chain(timer));
            Ok(problems)
        });
    }
}

/// Of whom something will still be written.
struct Awaited {
    /// The connections of sockets that are open.
    open: HashSet<ConnectionKey>,
    /// The users of sockets that are open, and of events that wait: their timers may be on their way into the queue.
    users: HashSet<UserKey>,
}

impl Awaited {
    /// Whether the user is among them whose service and identity are the first columns.
    fn has(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let Key(service): Key<ServiceSid> = row.get(0)?;
        let identity = row.get_ref(1)?.as_str()?.parse();
        Ok(identity.is_ok_and(|identity| self.users.contains(&UserKey { service, identity })))
    }
}

/// Whether somebody will tell that the user goes offline, if that is to come: its timer waits, until then. One that has failed
/// is tried again later.
fn has_timer(state: &UserState, waits: Option<Timestamp>) -> bool {
    let end = state.presence.live_until();
    let is_needed = state.as_of < end && end != Timestamp::MAX;
    let is_in_time = waits.is_some_and(|due| due <= end.plus(MAX_LATE)) && state.next_timer <= Some(end);
    !is_needed || is_in_time
}

fn connection_problems(presence: &Presence, open: &HashSet<ConnectionKey>) -> Problems {
    let (count, most) = (presence.connections.len(), Limits::MOST.connections());
    let too_many = (count > most).then(|| format!("it has {count} connections, and can have {most}"));
    let is_open = |key| presence.connections.get(key).is_some_and(|known| known.ended.is_none());
    let openings = unless(presence.openings.keys().all(is_open), "it knows how a connection began that is not open");
    // Nobody would ever end it.
    let has_ghost = presence.connections.iter().any(|(key, known)| {
        let lasts = known.is_unending() && known.ended.is_none();
        lasts && !open.contains(key)
    });
    let ghost = unless(!has_ghost, "a connection without an end is that of no socket");
    [too_many, openings, ghost].into_iter().flatten().collect()
}
