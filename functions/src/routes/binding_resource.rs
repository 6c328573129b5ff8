//! A binding in JSON, as each API shows it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reachability_domain::directory::user::User;
use reachability_domain::identity::Identity;
use reachability_domain::push::binding::Binding;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::tag::Tag;
use reachability_domain::sid::{AccountSid, BindingSid, CredentialSid, ServiceSid, UserSid};
use reachability_domain::time::Timestamp;
use serde::Serialize;

use crate::http::request::ApiRequest;

/// Notify's version of the format in which apps get notifications. There is only this one.
pub(super) const PROTOCOL_VERSION: &str = "3";

/// Which API shows the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Conversations and Notify: the bindings of a service. They have the same paths, so the answers have the members of
    /// both.
    Service,
    /// Chat: the bindings of a service.
    Chat,
    /// Chat: the bindings of a user.
    ChatUser,
}

impl View {
    /// Renders a binding, and its device's token if that is given.
    pub(super) fn show<'a>(
        self,
        request: &ApiRequest,
        user: Option<&User>,
        binding: &'a Binding,
        address: Option<&'a str>,
        now: Timestamp,
    ) -> BindingResource<'a> {
        let (service, sid) = (binding.service_sid, binding.sid);
        let (status, reason, since) = match binding.death_at(now) {
            Some(death) => (death.status(), Some(death.reason), Some(death.at)),
            None => (binding.status(), None, binding.confirmed_at),
        };
        let version = if self == Self::Service { "v1" } else { "v2" };
        let service_url = format!("{}/{version}/Services/{service}", request.base_url);
        let links = || Links { user: format!("{service_url}/Users/{}", encode(binding.identity.as_str())) };
        let view = match self {
            Self::Service => ViewMembers::Service {
                chat_service_sid: service,
                message_types: ["new_message", "added_to_conversation", "removed_from_conversation"],
                service_sid: service,
                address,
                tags: &binding.tags,
                notification_protocol_version: PROTOCOL_VERSION,
                url: format!("{service_url}/Bindings/{sid}"),
                links: links(),
            },
            Self::Chat | Self::ChatUser => ViewMembers::Chat {
                service_sid: service,
                message_types: ["new_message", "added_to_channel", "removed_from_channel", "invited_to_channel"],
                user_sid: user.map(|user| user.sid),
                url: match user {
                    Some(user) => format!("{service_url}/Users/{}/Bindings/{sid}", user.sid),
                    None => format!("{service_url}/Bindings/{sid}"),
                },
                links: user.is_none().then(links),
            },
        };
        BindingResource {
            sid,
            account_sid: request.account_sid,
            credential_sid: binding.credential_sid,
            date_created: binding.date_created.to_seconds(),
            date_updated: binding.date_updated.to_seconds(),
            date_registered: binding.registered_at.to_seconds(),
            date_checked: binding.asked_at.max(binding.confirmed_at).map(Timestamp::to_seconds),
            endpoint: binding.endpoint.clone().unwrap_or_else(|| sid.to_string()),
            identity: &binding.identity,
            binding_type: binding.channel,
            status,
            status_reason: reason,
            status_date: since.map(Timestamp::to_seconds),
            view,
        }
    }
}

#[derive(Serialize)]
pub(super) struct BindingResource<'a> {
    sid: BindingSid,
    account_sid: AccountSid,
    credential_sid: Option<CredentialSid>,
    date_created: String,
    date_updated: String,
    date_registered: String,
    date_checked: Option<String>,
    endpoint: String,
    identity: &'a Identity,
    binding_type: Channel,
    status: &'static str,
    status_reason: Option<Reason>,
    status_date: Option<String>,
    #[serde(flatten)]
    view: ViewMembers<'a>,
}

/// The members by which the views differ.
#[derive(Serialize)]
#[serde(untagged)]
enum ViewMembers<'a> {
    Service {
        chat_service_sid: ServiceSid,
        message_types: [&'static str; 3],
        service_sid: ServiceSid,
        /// Only the answer to the registration has it, as the request gave it.
        address: Option<&'a str>,
        tags: &'a [Tag],
        notification_protocol_version: &'static str,
        url: String,
        links: Links,
    },
    Chat {
        service_sid: ServiceSid,
        message_types: [&'static str; 4],
        /// Only a user's bindings have it.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_sid: Option<UserSid>,
        url: String,
        /// Only a service's bindings have them.
        #[serde(skip_serializing_if = "Option::is_none")]
        links: Option<Links>,
    },
}

#[derive(Serialize)]
struct Links {
    user: String,
}

/// Encodes a text for a URL.
pub(super) fn encode(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}
