//! Updates that join events to a state.
//!
//! [`UserState::join`] takes the later of two times, the greater of two generations and the earliest end. An update cannot
//! compare, but its condition can. The first try assumes the usual case ([`JoinUpdate::unread`]): the user exists, what
//! is stored is behind, a connection that opens is new or renews its lease, and one that ends was live. So it needs no
//! read. If its condition does not hold, the answer shows the stored state, and the next update writes what the domain
//! made of that ([`JoinUpdate::of_read`]). It depends only on the connections that the events name, and on what was ahead. What
//! is ahead stays ahead, so however many write the same user, each needs a few tries.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use reachability_domain::directory::configuration::Generation;
use reachability_domain::identity::{ConnectionKey, Identity};
use reachability_domain::presence::connection::Connection;
use reachability_domain::presence::connections::Presence;
use reachability_domain::presence::news::{News, Said};
use reachability_domain::presence::opening::Opening;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::timer::due_for;
use reachability_domain::time::Timestamp;
use serde::Serialize;

use super::{connection, state};

/// An update with its condition.
#[derive(Debug, Default)]
pub(super) struct JoinUpdate {
    set: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    /// The timer that it sets, or removes; `None`: the stored one stays.
    pub(super) timer: Option<Option<Timestamp>>,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl JoinUpdate {
    /// Joins news to the state of this user, which was not read. `None` if the news name no connection.
    pub(super) fn unread(news: &News, identity: &Identity, now: Timestamp) -> Option<Self> {
        let earliest = news.said().iter().map(|said| said.occurred_at).min()?;
        let mut said = Presence::default();
        news.join_to(&mut said, None);
        if said.connections.is_empty() {
            return None;
        }
        let mut update = Self::default();
        update.conditions.push("attribute_exists(sid)".to_owned());
        // A connect shows those again who were invisible before. Whoever still is looks as before.
        update.conditions.push("(attribute_not_exists(hid) OR attribute_exists(inv))".to_owned());
        update.floor_is_before(earliest);
        let earliest = update.value(&earliest);
        update.conditions.push(format!("(attribute_not_exists(del) OR del < {earliest})"));
        update.write(now, &said, &UserState::default());
        for (key, connection) in &said.connections {
            update.take(*key, connection);
        }
        for (key, opening) in &said.openings {
            update.open(*key, opening);
        }
        // Whether the stored timer will do is not known. For a renewal it mostly will. Whoever comes or is lost gets one of its
        // own, which is never too late: the user is online until then, or longer.
        let ends = said.connections.values().filter_map(|it| it.leased_until.or(it.ended.map(|ending| ending.at)));
        let end = ends.filter(|end| now < *end && *end < Timestamp::MAX).max();
        if let Some(end) = end
            && (!said.openings.is_empty() || said.connections.values().any(|it| it.ended.is_some()))
        {
            update.set_timer(Some(due_for(identity, end, now)));
        }
        Some(update)
    }

    /// Replaces the connections that the news name, as they were `before`, by what the domain made of them.
    pub(super) fn of_read(before: &UserState, after: &UserState, news: &News, now: Timestamp) -> Self {
        let mut update = Self::default();
        update.same("sid", before.sid.as_ref(), after.sid.as_ref());
        update.same("del", before.deleted_at.as_ref(), after.deleted_at.as_ref());
        update.same("hid", before.disclosure.hidden.as_ref(), after.disclosure.hidden.as_ref());
        update.same("inv", before.disclosure.invisible.then_some(&true), after.disclosure.invisible.then_some(&true));
        match (before.sid, after.sid) {
            (None, Some(_)) => {
                if let Some(created_by) = &after.created_by {
                    update.set("by".to_owned(), created_by);
                }
                update.remove("ttl".to_owned());
            }
            // The state of a user that does not exist is removed some time after its last write.
            (None, None) => update.set("ttl".to_owned(), &state::expires_at(after.as_of)),
            (Some(_), _) => {}
        }
        let mut said = Presence::default();
        news.join_to(&mut said, before.deleted_at);
        update.write(now, &said, before);
        let named = |said: &Said| said.connection.map(|(key, _)| key);
        // A connection that is new here may have come, ended and been forgotten since the state was read.
        let is_new = |said: &&Said| {
            let (was, is) = (&before.presence, &after.presence);
            let key = named(said).filter(|key| !was.connections.contains_key(key));
            was.floor < Some(said.occurred_at) && key.is_some_and(|key| is.connections.contains_key(&key))
        };
        if let Some(earliest) = news.said().iter().filter(is_new).map(|said| said.occurred_at).min() {
            update.floor_is_before(earliest);
        }
        let named: BTreeSet<ConnectionKey> = news.said().iter().filter_map(named).collect();
        for key in named {
            update.replace(key, &before.presence, &after.presence);
        }
        if before.next_timer != after.next_timer {
            update.set_timer(after.next_timer);
        }
        update
    }

    /// Sets another timer, if the state is still as it was. That is no change, so there is no new revision.
    pub(super) fn of_timer(before: &UserState, due: Timestamp) -> Self {
        let mut update = Self::default();
        let revision = (before.revision > 0).then_some(&before.revision);
        update.same("rev", revision, revision);
        update.same("t", before.next_timer.as_ref(), before.next_timer.as_ref());
        update.set_timer(Some(due));
        update
    }

    /// Drops connections from a state, at most so many. Forgetting is no change, so there is no new revision.
    pub(super) fn of_forgetting(before: &Presence, after: &Presence, at_most: usize) -> Self {
        let mut update = Self::default();
        let gone = before.connections.keys().filter(|key| !after.connections.contains_key(*key));
        for key in gone.take(at_most) {
            update.replace(*key, before, after);
        }
        if let Some(floor) = &after.floor {
            update.greatest("floor", floor, false);
        }
        update
    }

    /// What to do.
    pub(super) fn expression(&self) -> String {
        let part = |verb: &str, items: &[String]| match items {
            [] => String::new(),
            items => format!("{verb} {} ", items.join(", ")),
        };
        format!("{}{}", part("SET", &self.set), part("REMOVE", &self.remove))
    }

    /// The condition.
    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    /// The revision, the times and the generation of a write. The state that was read tells which of them are ahead.
    fn write(&mut self, now: Timestamp, said: &Presence, read: &UserState) {
        let is_ahead = read.revision > 0 && i64::try_from(read.revision).unwrap_or(i64::MAX) >= now.as_millis();
        let now_value = self.value(&now);
        if is_ahead {
            let one = self.value(&1);
            self.conditions.push(format!("rev >= {now_value}"));
            self.set.push(format!("rev = rev + {one}"));
        } else {
            self.conditions.push(format!("(attribute_not_exists(rev) OR rev < {now_value})"));
            self.set.push(format!("rev = {now_value}"));
        }
        self.greatest("as_of", &now, read.as_of > now);
        if let Some(last_active) = &said.last_active {
            self.greatest("active", last_active, read.presence.last_active > said.last_active);
        }
        if let Some(connected_at) = &said.connected_at {
            self.greatest("seen", connected_at, read.presence.connected_at > said.connected_at);
        }
        if said.online_generation > Generation::default() {
            let is_ahead = read.presence.online_generation > said.online_generation;
            self.greatest("gen", &said.online_generation, is_ahead);
        }
    }

    /// Requires that no connection is forgotten that an event from this time on may be about.
    fn floor_is_before(&mut self, earliest: Timestamp) {
        let earliest = self.value(&earliest);
        self.conditions.push(format!("(attribute_not_exists(floor) OR floor < {earliest})"));
    }

    /// Joins what events say about a connection: one without an end to an unknown or a live one, one that has just ended
    /// to a live one, and one that began and ended to an unknown one.
    fn take(&mut self, key: ConnectionKey, said: &Connection) {
        let (live, ended) = (self.name(connection::live(key)), self.name(connection::ended(key)));
        self.conditions.push(format!("attribute_not_exists({ended})"));
        match (said.leased_until, said.ended) {
            (Some(until), None) => {
                let until = self.value(&until);
                self.conditions.push(format!("(attribute_not_exists({live}) OR {live} < {until})"));
                self.set.push(format!("{live} = {until}"));
            }
            (None, Some(ending)) => {
                let end = self.value(&ending.at);
                self.conditions.push(format!("{live} >= {end}"));
                self.remove.push(live);
                self.remove(connection::opened(key));
                self.put(&ended, key, &Connection { leased_until: Some(ending.at), ..*said });
            }
            _ => {
                self.conditions.push(format!("attribute_not_exists({live})"));
                self.put(&ended, key, said);
            }
        }
    }

    /// Joins how a connection began, if nothing else is known of that: a connect is repeated as it was.
    fn open(&mut self, key: ConnectionKey, opening: &Opening) {
        let name = self.name(connection::opened(key));
        let value = self.value_of(connection::write_opening(opening));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} = {value})"));
        self.set.push(format!("{name} = {value}"));
    }

    /// Replaces a connection, and how it began, if they are still as they were.
    fn replace(&mut self, key: ConnectionKey, was: &Presence, is: &Presence) {
        let is_open = is.connections.get(&key).is_some_and(|connection| connection.ended.is_none());
        match (was.openings.get(&key), is.openings.get(&key)) {
            (known, Some(opening)) if known != Some(opening) => {
                let name = self.name(connection::opened(key));
                match known.map(|known| self.value_of(connection::write_opening(known))) {
                    Some(known) => self.conditions.push(format!("{name} = {known}")),
                    None if was.connections.contains_key(&key) => {
                        self.conditions.push(format!("attribute_not_exists({name})"));
                    }
                    // What is left of a forgotten one is replaced.
                    None => {}
                }
                let value = self.value_of(connection::write_opening(opening));
                self.set.push(format!("{name} = {value}"));
            }
            (_, None) if !is_open => self.remove(connection::opened(key)),
            _ => {}
        }
        let (before, after) = (was.connection(key), is.connection(key));
        let (before, after) = (connection::write(key, &before), connection::write(key, &after));
        match &before {
            Some((name, value)) => {
                let (name, value) = (self.name(name.clone()), self.value_of(value.clone()));
                self.conditions.push(format!("{name} = {value}"));
            }
            None => {
                for name in [connection::live(key), connection::ended(key)] {
                    let name = self.name(name);
                    self.conditions.push(format!("attribute_not_exists({name})"));
                }
            }
        }
        let has_name = |name: &str, other: &Option<(String, _)>| other.as_ref().is_some_and(|(other, _)| other == name);
        if let Some((name, _)) = before.as_ref().filter(|(name, _)| !has_name(name, &after)) {
            self.remove(name.clone());
        }
        if let Some((name, value)) = after {
            let (name, value) = (self.name(name), self.value_of(value));
            self.set.push(format!("{name} = {value}"));
        }
    }

    fn put(&mut self, name: &str, key: ConnectionKey, connection: &Connection) {
        if let Some((_, value)) = connection::write(key, connection) {
            let value = self.value_of(value);
            self.set.push(format!("{name} = {value}"));
        }
    }

    /// Requires an attribute to be as it was, and sets it if it is another now.
    fn same<T: Serialize + PartialEq>(&mut self, attribute: &str, before: Option<&T>, after: Option<&T>) {
        let name = self.name(attribute.to_owned());
        match before {
            Some(before) => {
                let before = self.value(before);
                self.conditions.push(format!("{name} = {before}"));
            }
            None => self.conditions.push(format!("attribute_not_exists({name})")),
        }
        if before != after {
            match after {
                Some(after) => self.set(attribute.to_owned(), after),
                None => self.remove(attribute.to_owned()),
            }
        }
    }

    /// Sets an attribute to a value that is the greatest so far, or leaves it alone if it is ahead.
    fn greatest(&mut self, attribute: &str, value: &impl Serialize, is_ahead: bool) {
        let (name, value) = (self.name(attribute.to_owned()), self.value(value));
        if is_ahead {
            self.conditions.push(format!("{name} > {value}"));
        } else {
            self.conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {value})"));
            self.set.push(format!("{name} = {value}"));
        }
    }

    fn set_timer(&mut self, due: Option<Timestamp>) {
        match &due {
            Some(due) => self.set("t".to_owned(), due),
            None => self.remove("t".to_owned()),
        }
        self.timer = Some(due);
    }

    fn set(&mut self, attribute: String, value: &impl Serialize) {
        let (name, value) = (self.name(attribute), self.value(value));
        self.set.push(format!("{name} = {value}"));
    }

    fn remove(&mut self, attribute: String) {
        let name = self.name(attribute);
        self.remove.push(name);
    }

    fn name(&mut self, attribute: String) -> String {
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), attribute);
        placeholder
    }

    fn value(&mut self, value: &impl Serialize) -> String {
        self.value_of(state::write(value))
    }

    fn value_of(&mut self, value: serde_dynamo::AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.into());
        placeholder
    }
}
