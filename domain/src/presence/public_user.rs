//! A user as our own interfaces show it: the JSON socket, and the presence of users over REST.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::identity::Identity;
use crate::json_depth::is_shallow;
use crate::presence::appearance::Viewer;
use crate::presence::status::Status;
use crate::presence::view::UserView;
use crate::time::{Timestamp, rfc3339};

/// A user, as a viewer sees it.
#[derive(Debug, Clone, Serialize)]
pub struct PublicUser<'a> {
    /// The identity.
    pub id: &'a Identity,
    /// The friendly name; `null` if there is none.
    pub name: Option<&'a str>,
    /// Whether the user has a live connection; `null` if that is unknown.
    pub online: Option<bool>,
    /// Whether the user has a push registration that is believed deliverable; `null` if that is unknown.
    pub notifiable: Option<bool>,
    /// What the user says of itself; `null`: nothing.
    pub status: Option<&'a Status>,
    /// When the user was last seen; `null`: never, or reachability is off.
    #[serde(with = "rfc3339::option")]
    pub last_active: Option<Timestamp>,
    /// Only for viewers who see invisible users: whether this is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invisible: Option<bool>,
    /// When the user was created; `null` for an identity without a user.
    #[serde(with = "rfc3339::option")]
    pub created_at: Option<Timestamp>,
    /// The attributes, if they are a JSON object, or else an empty one.
    pub custom: &'a RawValue,
    /// Orders what is seen of the user; zero for an identity without a user.
    pub revision: u64,
}

impl<'a> PublicUser<'a> {
    /// What this viewer saw of a user.
    pub fn of(view: &'a UserView, viewer: Viewer) -> Self {
        let UserView { user, appearance, sequence, .. } = view;
        Self {
            id: &user.identity,
            name: user.friendly_name.as_deref(),
            online: appearance.reachability.online,
            notifiable: appearance.reachability.notifiable,
            status: appearance.status.as_ref(),
            last_active: appearance.last_active,
            invisible: (viewer != Viewer::Other).then_some(appearance.invisible),
            created_at: Some(user.date_created),
            custom: object(&user.attributes),
            revision: *sequence,
        }
    }

    /// An identity without a user.
    pub fn nobody(id: &'a Identity) -> Self {
        Self {
            id,
            name: None,
            online: None,
            notifiable: None,
            status: None,
            last_active: None,
            invisible: None,
            created_at: None,
            custom: object(""),
            revision: 0,
        }
    }
}

/// The text if it is a JSON object that every client can read, or else an empty one.
fn object(text: &str) -> &RawValue {
    let object = Some(text.trim()).filter(|text| text.starts_with('{') && is_shallow(text));
    let parsed = object.and_then(|text| serde_json::from_str(text).ok());
    parsed.or_else(|| serde_json::from_str("{}").ok()).unwrap_or(RawValue::NULL)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::directory::user::User;
    use crate::identity::UserKey;
    use crate::presence::appearance::Appearance;
    use crate::presence::reachability::Reachability;
    use crate::sid::Sid;

    #[test]
    fn a_user_is_shown() {
        let key = UserKey { service: Sid::from_bits(1), identity: "john".parse().unwrap() };
        let at = Timestamp::from_millis(1_546_867_062_375);
        let mut user = User::new(Sid::from_bits(7), key, None, at);
        user.attributes = r#" {"color": "green"} "#.to_owned();
        let appearance = Appearance {
            reachability: Reachability { online: Some(true), notifiable: None },
            status: Status::set_to("Eating a veggie burger...").unwrap(),
            last_active: Some(at),
            invisible: true,
            revision: 3,
        };
        let mut view = UserView { user, appearance, reachability_enabled: true, sequence: 5 };
        let shown = |view: &UserView, viewer| serde_json::to_value(PublicUser::of(view, viewer)).unwrap();
        let expected = json!({
            "id": "john", "name": null, "online": true, "notifiable": null, "status": "Eating a veggie burger...",
            "last_active": "2019-01-07T13:17:42.375Z", "created_at": "2019-01-07T13:17:42.375Z",
            "custom": {"color": "green"}, "revision": 5,
        });
        assert_eq!(shown(&view, Viewer::Other), expected);
        assert_eq!(shown(&view, Viewer::Owner)["invisible"], true);
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        for attributes in ["[1]", "null", "\"{}\"", "", "{", &deep] {
            view.user.attributes = attributes.to_owned();
            assert_eq!(shown(&view, Viewer::Other)["custom"], json!({}), "{attributes}");
        }
        let nobody = serde_json::to_value(PublicUser::nobody(&"jack".parse().unwrap())).unwrap();
        assert_eq!((&nobody["created_at"], &nobody["custom"]), (&Value::Null, &json!({})));
    }
}
