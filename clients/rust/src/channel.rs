//! Channels: what is known of one, and what can be asked of one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answers::WatchedChannel;
use crate::client::Client;
use crate::error::Error;
use crate::request::{ChannelRequest, Request};

/// A channel. Times are RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id; unique within its type.
    pub id: String,
    /// Its name among all channels: `type:id`.
    pub cid: Arc<str>,
    /// The identities of its members: only the first 100 in the answer to a query without `presence`, none in that to a change of
    /// them.
    #[serde(default)]
    pub members: Vec<Arc<str>>,
    /// How many members it has.
    #[serde(default)]
    pub member_count: u64,
    /// What the application keeps of it.
    #[serde(default)]
    pub custom: Map<String, Value>,
    /// Who created it; `None` if that was the application's server.
    #[serde(default)]
    pub created_by: Option<String>,
    /// When it was created.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it, or its members, last changed.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// When the application says that the last message came; `None` if it never said so.
    #[serde(default)]
    pub last_message_at: Option<String>,
}

/// A channel to ask for, whether it is there or not; made by [`Client::channel`].
#[derive(Debug, Clone)]
pub struct ChannelRef<'a> {
    pub(crate) client: &'a Client,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl ChannelRef<'_> {
    /// Fetches the channel with its members; creates it if it is not there, with the data given to [`Client::channel`]. With
    /// `presence`, its members are watched until the [`Watch`](crate::Watch) in the answer is stopped or dropped.
    ///
    /// # Errors
    /// [`Error`]; the server refuses with `forbidden` (not a member), `too_many_users` (to watch), `invalid_channel` and others.
    pub async fn watch(&self, presence: bool) -> Result<WatchedChannel, Error> {
        let request = ChannelRequest { data: self.data.clone(), presence, ..self.request(None) };
        self.client.ask(Request::WatchChannel(request)).await?.try_into()
    }

    /// Adds members, at most 100 at once. Returns the channel without its members. Who is one already stays one.
    ///
    /// # Errors
    /// [`Error`]; the server refuses with `forbidden`, `not_found`, `too_many_members` and others.
    pub async fn add_members<I: Into<String>>(&self, members: impl IntoIterator<Item = I>) -> Result<Channel, Error> {
        self.change(Request::AddMembers(self.request(Some(members.into_iter().map(Into::into).collect())))).await
    }

    /// Removes members, at most 100 at once. Returns the channel without its members. Who is none stays none.
    ///
    /// # Errors
    /// [`Error`]; the server refuses with `forbidden`, `not_found` and others.
    pub async fn remove_members<I: Into<String>>(
        &self,
        members: impl IntoIterator<Item = I>,
    ) -> Result<Channel, Error> {
        self.change(Request::RemoveMembers(self.request(Some(members.into_iter().map(Into::into).collect())))).await
    }

    async fn change(&self, request: Request) -> Result<Channel, Error> {
        self.client.ask(request).await?.done.channel.ok_or_else(|| Error::missing("channel"))
    }

    fn request(&self, members: Option<Vec<String>>) -> ChannelRequest {
        ChannelRequest {
            channel_type: self.kind.clone(),
            channel_id: self.id.clone(),
            members,
            ..ChannelRequest::default()
        }
    }
}
