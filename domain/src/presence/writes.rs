//! What every store writes when it joins events to a user's state, and when it deletes a user.

use crate::presence::connections::Presence;
use crate::presence::state::UserState;
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// What a store writes when it joins events to a user's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinWrites {
    /// The state to store; `None` if the events add nothing.
    pub state: Option<UserState>,
    /// Whether to create the user if it does not exist: there was a new connect or renewal.
    pub creates_user: bool,
}

impl JoinWrites {
    /// Joins events to a stored state and prunes it.
    pub fn of(before: &UserState, news: &Presence, now: Timestamp) -> Self {
        let mut state = before.clone();
        let learned = state.join(news, now);
        if learned.anything {
            state.presence.prune(now);
        }
        Self { state: learned.anything.then_some(state), creates_user: learned.lease }
    }

    /// The state after the write.
    pub fn after<'a>(&'a self, before: &'a UserState) -> &'a UserState {
        self.state.as_ref().unwrap_or(before)
    }
}

/// What a store writes when it deletes a user, besides removing the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionWrites {
    /// The state, marked as deleted. A store that has no state of the user need not write it.
    pub state: UserState,
    /// The bindings to delete.
    pub delete: Vec<BindingSid>,
}

impl DeletionWrites {
    /// Marks a state as deleted.
    pub fn of(before: &UserState, now: Timestamp) -> Self {
        let delete = before.registrations.devices().map(|(sid, _)| sid).collect();
        let mut state = before.clone();
        state.mark_deleted(now);
        Self { state, delete }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::directory::configuration::Generation;
    use crate::presence::connections::{Connection, Ending, Lease};
    use crate::push::registration::Registration;
    use crate::sid::Sid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn presence(id: &str, connection: Connection) -> Presence {
        Presence::from_parts(BTreeMap::from([(id.parse().unwrap(), connection)]), Generation(1), None)
    }

    fn opened(at: Timestamp) -> Connection {
        Connection { lease: Some(Lease { at, until: at.plus(Duration::from_secs(120)) }), ended: None }
    }

    fn ended(at: Timestamp) -> Connection {
        Connection { lease: None, ended: Some(Ending { at, recorded_at: at }) }
    }

    #[test]
    fn a_connect_or_renewal_creates_the_user() {
        let writes = JoinWrites::of(&UserState::default(), &presence("c-1", opened(NOW)), NOW);
        assert!(writes.creates_user);
        let state = writes.state.unwrap();
        assert_eq!(state.presence.connection(&"c-1".parse().unwrap()), opened(NOW));

        let again = JoinWrites::of(&state, &presence("c-1", opened(NOW)), later(1));
        assert_eq!(again, JoinWrites { state: None, creates_user: false });
        assert_eq!(again.after(&state), &state);

        let goodbye = JoinWrites::of(&UserState::default(), &presence("c-1", ended(NOW)), NOW);
        assert!(goodbye.state.is_some() && !goodbye.creates_user);
    }

    #[test]
    fn a_write_prunes_the_state() {
        let state = JoinWrites::of(&UserState::default(), &presence("c-1", opened(NOW)), NOW).state.unwrap();
        let a_day_later = later(86_400);
        let writes = JoinWrites::of(&state, &presence("c-2", opened(a_day_later)), a_day_later);
        let after = writes.after(&state);
        assert_eq!(after.revision, state.revision + 1);
        let ids: Vec<&str> = after.presence.connections().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["c-2"]);
    }

    #[test]
    fn a_deleted_user_keeps_only_tombstones() {
        let mut state = JoinWrites::of(&UserState::default(), &presence("c-1", opened(NOW)), NOW).state.unwrap();
        let device = Sid::from_bits(5);
        let registration = Registration { registered_at: NOW, confirmed_at: None, is_dead: false };
        assert_eq!(state.add_device(device, registration, None, NOW), None);
        let DeletionWrites { state: deleted, delete } = DeletionWrites::of(&state, later(1));
        assert_eq!(delete, [device]);
        assert_eq!((deleted.revision, deleted.as_of), (state.revision + 1, later(1)));
        assert_eq!(deleted.registrations.devices().len(), 0);
        let renewal = JoinWrites::of(&deleted, &presence("c-1", opened(later(2))), later(2));
        assert!(!renewal.creates_user, "a renewal does not recreate the user");
    }
}
