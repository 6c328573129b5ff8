//! What a session does about what it hears.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::answers::Reply;
use crate::book::Source;
use crate::error::{Error, ErrorCode, Refusal};
use crate::incoming::{Deleted, Done, Incoming, Part};
use crate::pending::Purpose;
use crate::request::PONG;
use crate::session::{End, Session};
use crate::socket::Heard;
use crate::watch::Watch;

impl Session<'_> {
    /// Returns how the connection ends, if it does.
    pub(crate) fn hear(&mut self, heard: &Heard) -> Option<End> {
        let text = match heard {
            Heard::Text(text) => text,
            Heard::Ended(why) => return Some(End::Lost { why: why.clone(), retry_after: Duration::ZERO }),
        };
        let message = match Incoming::parse(text) {
            Ok(message) => message,
            // Whatever it was, the next connection restores what is true.
            Err(error) => return Some(End::lost(format!("a message of the server was not understood: {error}"))),
        };
        match message {
            Incoming::Done { id, done } => self.done(id, done),
            Incoming::Pong { id } => self.done(id, Box::default()),
            Incoming::Refused { id, refusal } => return self.refused(id?, refusal),
            Incoming::Part(part) => self.part(part),
            Incoming::Ping => self.socket.send(PONG, &self.driver.opener.counters),
            Incoming::TokenExpiring => {
                if self.driver.opener.is_renewable() && self.token.is_none() {
                    self.token = Some(self.driver.opener.fetch());
                }
            }
            Incoming::Connected(_) | Incoming::Unknown => {}
            event => self.event(event),
        }
        None
    }

    fn event(&mut self, event: Incoming) {
        self.driver.opener.counters.events.fetch_add(1, Ordering::Relaxed);
        let mut state = self.driver.shared.lock();
        let mut events = Vec::new();
        let book = &mut state.book;
        match event {
            Incoming::PresenceChanged(changed) => {
                book.learn(changed.user, Source::Presence, changed.at.as_ref(), &mut events);
            }
            Incoming::UserUpdated(changed) => {
                book.learn(changed.user, Source::Profile, changed.at.as_ref(), &mut events);
            }
            Incoming::UserDeleted(Deleted { id, revision, at }) => book.user_deleted(&id, revision, at, &mut events),
            Incoming::MemberAdded { cid, user } => book.member_added(cid, user, &mut events),
            Incoming::MemberRemoved { cid, id } => book.member_removed(cid, id, &mut events),
            Incoming::ChannelDeleted { cid } => book.channel_deleted(cid, &mut events),
            _ => {}
        }
        state.tell(events);
    }

    fn part(&mut self, part: Part) {
        let Some(pending) = self.pending.get_mut(&part.id) else { return };
        let mut state = self.driver.shared.lock();
        let mut events = Vec::new();
        for user in part.users {
            if matches!(pending.purpose, Purpose::Restore) {
                state.book.restored_user(user, &mut events);
            } else {
                pending.users.push(state.book.learn(user, Source::Answer, None, &mut events));
            }
        }
        if let Some(cid) = part.channel {
            pending.members.entry(cid).or_default().extend(part.members);
        }
        state.tell(events);
    }

    fn done(&mut self, id: u64, mut done: Box<Done>) {
        let Some(mut pending) = self.pending.remove(&id) else { return };
        let mut state = self.driver.shared.lock();
        let mut events = Vec::new();
        match pending.purpose {
            Purpose::Token | Purpose::Alive => {}
            Purpose::Restore => {
                state.book.restored(pending.members, done.gone, &mut events);
                state.book.awaits_no_more();
                state.tell(events);
                drop(state);
                self.restore();
            }
            Purpose::Asked { reply, .. } => {
                if let Some(user) = done.user.take() {
                    state.book.learn(user, Source::Answer, None, &mut events);
                }
                for channel in done.channels.iter_mut().chain(&mut done.channel) {
                    channel.members.extend(pending.members.remove(&channel.cid).unwrap_or_default());
                }
                let users: Vec<_> = pending.users.into_iter().map(|user| state.book.newest(user)).collect();
                let watch = pending.target.map(|target| {
                    let channels = done.channels.iter_mut().chain(&mut done.channel);
                    state.book.watch(target, id, &users, channels.map(|channel| (&channel.cid, &mut channel.members)));
                    state.book.awaits_no_more();
                    Watch::new(id, self.driver.handle.clone(), Arc::clone(&self.driver.shared))
                });
                state.tell(events);
                drop(state);
                // If nobody waits any more, the watch is dropped with the answer, and so stopped.
                let _ = reply.send(Ok(Reply { done, users, watch }));
                self.ask_waiting();
            }
        }
    }

    fn refused(&mut self, id: u64, refusal: Refusal) -> Option<End> {
        let pending = self.pending.remove(&id)?;
        if pending.target.is_some() || matches!(pending.purpose, Purpose::Restore) {
            self.driver.shared.lock().book.awaits_no_more();
        }
        match pending.purpose {
            Purpose::Restore => match refusal.code {
                ErrorCode::Unavailable | ErrorCode::TooManyRequests => {
                    let error = Error::Refused(refusal);
                    return Some(End::Lost { why: error.to_disconnect(), retry_after: error.retry_after() });
                }
                _ => self.lose_watches(refusal),
            },
            Purpose::Token => self.fetch_later(),
            Purpose::Alive => {}
            Purpose::Asked { .. } => {
                pending.refused(refusal.into());
                self.ask_waiting();
            }
        }
        None
    }
}
