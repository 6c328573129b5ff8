//! Roles. A service has those that it was created with, and nobody can add or change any.

use crate::directory::service::{DefaultRoles, Service};
use crate::sid::RoleSid;

/// A role of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The role's sid.
    pub sid: RoleSid,
    /// Who has it.
    pub kind: RoleKind,
}

/// Who has a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// The creator of a conversation (Chat: channel creator).
    ConversationCreator,
    /// A participant of a conversation (Chat: channel member).
    Conversation,
    /// A user of the service.
    ServiceUser,
}

impl RoleKind {
    /// The name that the vendor gives the role.
    pub fn friendly_name(self) -> &'static str {
        match self {
            Self::ConversationCreator => "channel admin",
            Self::Conversation => "channel user",
            Self::ServiceUser => "service user",
        }
    }

    /// What who has it may do here. There are no conversations here, so it is nothing in them.
    pub fn permissions(self) -> &'static [&'static str] {
        match self {
            Self::ConversationCreator | Self::Conversation => &[],
            Self::ServiceUser => &["editOwnUserInfo"],
        }
    }
}

impl DefaultRoles {
    fn roles(self) -> [Role; 3] {
        let role = |sid, kind| Role { sid, kind };
        [
            role(self.conversation_creator, RoleKind::ConversationCreator),
            role(self.conversation, RoleKind::Conversation),
            role(self.service_user, RoleKind::ServiceUser),
        ]
    }
}

impl Service {
    /// Changes the roles that are assigned by default. Those that the service was created with stay.
    pub fn set_default_roles(&mut self, roles: DefaultRoles) {
        if roles != self.default_roles {
            self.built_in_roles.get_or_insert(self.default_roles);
            self.default_roles = roles;
        }
    }

    /// The service's roles, each once: those that it was created with, and other sids that are assigned by default.
    pub fn roles(&self) -> Vec<Role> {
        let built_in = self.built_in_roles.unwrap_or(self.default_roles);
        let mut roles: Vec<Role> = Vec::new();
        for role in built_in.roles().into_iter().chain(self.default_roles.roles()) {
            if roles.iter().all(|known| known.sid != role.sid) {
                roles.push(role);
            }
        }
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sid::Sid;
    use crate::time::Timestamp;

    fn default_roles(sids: [u128; 3]) -> DefaultRoles {
        let [conversation_creator, conversation, service_user] = sids.map(RoleSid::from_bits);
        DefaultRoles { conversation_creator, conversation, service_user }
    }

    #[test]
    fn roles_stay_when_others_become_the_default() {
        let mut service =
            Service::new(Sid::from_bits(1), String::new(), default_roles([1, 2, 3]), Timestamp::default());
        let sids = |service: &Service| service.roles().iter().map(|role| role.sid.bits()).collect::<Vec<_>>();
        assert_eq!(sids(&service), [1, 2, 3]);
        service.set_default_roles(default_roles([1, 2, 3]));
        assert_eq!(service.built_in_roles, None);
        service.set_default_roles(default_roles([1, 2, 9]));
        assert_eq!(sids(&service), [1, 2, 3, 9]);
        service.set_default_roles(default_roles([1, 3, 8]));
        assert_eq!(sids(&service), [1, 2, 3, 8]);
        let kinds: Vec<RoleKind> = service.roles().iter().map(|role| role.kind).collect();
        assert_eq!(
            kinds,
            [RoleKind::ConversationCreator, RoleKind::Conversation, RoleKind::ServiceUser, RoleKind::ServiceUser]
        );
        service.set_default_roles(default_roles([1, 2, 3]));
        assert_eq!(sids(&service), [1, 2, 3]);
    }

    #[test]
    fn a_service_of_an_earlier_version_is_read() {
        let service = Service::new(Sid::from_bits(1), String::new(), default_roles([1, 2, 3]), Timestamp::default());
        let stored = serde_json::to_string(&service).unwrap();
        assert!(!stored.contains("built_in_roles"), "{stored}");
        assert_eq!(serde_json::from_str::<Service>(&stored).unwrap(), service);
        let mut changed = service;
        changed.set_default_roles(default_roles([4, 5, 6]));
        let stored = serde_json::to_string(&changed).unwrap();
        assert_eq!(serde_json::from_str::<Service>(&stored).unwrap(), changed);
    }
}
