//! What every store writes when a command changes a device's binding: the binding, with the states of the users concerned.

use crate::directory::user::User;
use crate::identity::Identity;
use crate::presence::change_reason::ChangeReason;
use crate::presence::state::UserState;
use crate::push::binding::Binding;
use crate::push::registration::Registration;
use crate::push::transition::Transition;
use crate::sid::BindingSid;
use crate::time::Timestamp;

/// What a store writes for a [`Transition`], atomically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionWrites {
    /// The state of the user who loses the device.
    pub leaver: Option<(Identity, UserState)>,
    /// The state of the user who owns the device.
    pub owner: Option<(Identity, UserState)>,
    /// The user to create, if it does not exist.
    pub create: Option<User>,
    /// The bindings to delete: the leaver's binding to this device, and the owner's oldest one if the owner had too
    /// many.
    pub delete: Vec<BindingSid>,
    /// The device's new binding; `None` if it has none afterwards.
    pub put: Option<Binding>,
}

impl TransitionWrites {
    /// What to write, given the stored states (`None` if not stored) and the profile to create if the owner does not exist
    /// yet.
    pub fn of(
        transition: Transition,
        leaver: Option<UserState>,
        owner: Option<UserState>,
        user: Option<&User>,
        now: Timestamp,
    ) -> Self {
        let mut delete = Vec::new();
        let leaver = transition.leaves.map(|(identity, sid)| {
            let mut state = leaver.unwrap_or_default();
            state.remove_device(sid, now);
            delete.push(sid);
            (identity, state)
        });
        let mut create = None;
        let owner = transition.binding.as_ref().map(|binding| {
            let mut state = owner.unwrap_or_default();
            if let (None, Some(user)) = (state.sid, user) {
                (state.sid, state.created_by) = (Some(user.sid), Some(ChangeReason::Registered));
                create = Some(user.clone());
            }
            delete.extend(state.add_device(binding.sid, Registration::of(binding), transition.announced_in, now));
            (binding.identity.clone(), state)
        });
        Self { leaver, owner, create, delete, put: transition.binding }
    }

    /// The states to write.
    pub fn states(&self) -> impl Iterator<Item = &(Identity, UserState)> {
        self.leaver.iter().chain(&self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::configuration::Generation;
    use crate::identity::UserKey;
    use crate::push::channel::Channel;
    use crate::push::command::BindingCommand;
    use crate::push::device::{Address, Device};
    use crate::push::lifetime::Lifetime;
    use crate::push::registration::MAX_DEVICES;
    use crate::sid::{ServiceSid, Sid};

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);
    const LATER: Timestamp = Timestamp::from_millis(1_795_132_801_000);
    const GENERATION: Generation = Generation(2);

    fn user(identity: &str) -> User {
        let key = UserKey { service: ServiceSid::from_bits(1), identity: identity.parse().unwrap() };
        User::new(Sid::from_bits(7), key, None, NOW)
    }

    fn binding(identity: &str, token: &str, at: Timestamp) -> Binding {
        let (user, address) = (user(identity), Address::new(Channel::Fcm, token).unwrap());
        Binding {
            sid: Device::new(user.service_sid, Channel::Fcm, &address).binding_sid(&user.identity),
            service_sid: user.service_sid,
            identity: user.identity,
            channel: Channel::Fcm,
            address,
            credential_sid: None,
            endpoint: None,
            tags: vec![],
            date_created: at,
            date_updated: at,
            registered_at: at,
            lifetime: Lifetime::YEAR,
            confirmed_at: None,
            asked_at: None,
            learnt_with: Timestamp::default(),
            environment: None,
            death: None,
            version: 0,
        }
    }

    fn register(binding: &Binding, current: Option<&Binding>, now: Timestamp) -> Transition {
        let command = BindingCommand::Register { binding: binding.clone(), generation: GENERATION };
        command.transition(current, now).unwrap()
    }

    fn devices(state: Option<&(Identity, UserState)>) -> Vec<BindingSid> {
        let (_, state) = state.unwrap();
        state.registrations.devices().map(|(sid, _)| sid).collect()
    }

    #[test]
    fn a_first_registration_creates_the_user() {
        let (alice, hers) = (user("alice"), binding("alice", "token", NOW));
        let transition = register(&hers, None, NOW);
        assert_eq!((transition.leaver(), transition.owner()), (None, Some(&alice.identity)));
        let writes = TransitionWrites::of(transition.clone(), None, None, Some(&alice), NOW);
        assert_eq!(writes.leaver, None);
        assert_eq!(devices(writes.owner.as_ref()), [hers.sid]);
        let (_, state) = writes.owner.unwrap();
        assert_eq!((state.revision, state.as_of), (NOW.as_millis() as u64, NOW));
        assert_eq!(state.registrations.announced_in(), Some(GENERATION));
        assert_eq!((writes.create, writes.delete, writes.put), (Some(alice), vec![], Some(hers)));
        assert_eq!(TransitionWrites::of(transition, None, None, None, NOW).create, None, "the user exists");
    }

    #[test]
    fn a_device_that_changes_its_user_changes_two_states() {
        let (hers, his) = (binding("alice", "token", NOW), binding("bob", "token", LATER));
        let before = TransitionWrites::of(register(&hers, None, NOW), None, None, None, NOW).owner;
        let (alice, state) = before.unwrap();
        let transition = register(&his, Some(&hers), LATER);
        assert_eq!((transition.leaver(), transition.owner()), (Some(&alice), Some(&his.identity)));
        let writes = TransitionWrites::of(transition, Some(state.clone()), None, None, LATER);
        assert!(devices(writes.leaver.as_ref()).is_empty());
        assert_eq!(devices(writes.owner.as_ref()), [his.sid]);
        assert_eq!(writes.states().map(|(identity, _)| identity.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
        assert!(writes.leaver.unwrap().1.revision > state.revision);
        assert_eq!((writes.delete, writes.put.unwrap().sid), (vec![hers.sid], his.sid));
    }

    #[test]
    fn a_device_that_unregisters_leaves_no_binding() {
        let hers = binding("alice", "token", NOW);
        let (_, state) = TransitionWrites::of(register(&hers, None, NOW), None, None, None, NOW).owner.unwrap();
        let transition = BindingCommand::Unregister(hers.sid).transition(Some(&hers), LATER).unwrap();
        assert_eq!((transition.leaver(), transition.owner()), (Some(&hers.identity), None));
        let writes = TransitionWrites::of(transition, Some(state), None, Some(&user("alice")), LATER);
        assert!(devices(writes.leaver.as_ref()).is_empty());
        assert!(writes.leaver.unwrap().1.registrations.ever(), "the state remembers the registration");
        assert_eq!((writes.owner, writes.create, writes.put), (None, None, None));
        assert_eq!(writes.delete, [hers.sid]);
    }

    #[test]
    fn a_device_over_the_limit_replaces_the_oldest() {
        let at = |n: usize| Timestamp::from_millis(NOW.as_millis() + n as i64);
        let all: Vec<Binding> = (0..=MAX_DEVICES).map(|n| binding("alice", &format!("token-{n}"), at(n))).collect();
        let mut state = None;
        for (n, binding) in all.iter().enumerate() {
            let writes = TransitionWrites::of(register(binding, None, at(n)), None, state, None, at(n));
            let gone: &[BindingSid] = if n < MAX_DEVICES { &[] } else { &[all[0].sid] };
            assert_eq!(writes.delete, gone, "{n}");
            assert_eq!(writes.put.as_ref(), Some(binding));
            state = writes.owner.map(|(_, state)| state);
        }
        assert_eq!(state.unwrap().registrations.devices().len(), MAX_DEVICES);
    }
}
