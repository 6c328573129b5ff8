//! Messages from clients, read.

use std::collections::{HashMap, HashSet};

use reachability_domain::channel::data;
use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::status::Status;
use reachability_domain::query::Query;
use reachability_domain::query::cursor::Position;
use reachability_domain::query::fields::Kind;
use reachability_domain::query::filter::Filter;
use reachability_domain::query::sort::Sort;
use reachability_domain::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json::close::Closing;
use crate::json::command::{ChannelData, Command, RestoredWatch, Watched};
use crate::json::error::{Failure, Word};
use crate::json::fields::{Fields, Object, required};
use crate::json::input::RequestNumber;
use crate::json::kinds::ClientKind;
use crate::json::settings::{
    DEFAULT_CHANNELS, DEFAULT_USERS, MAX_CHANNELS, MAX_DEVICE, MAX_MEMBERS, MAX_MESSAGE, MAX_NUMBER, MAX_RESTORE,
    MAX_USERS, MAX_WATCHES, Settings,
};

/// A message from a client.
pub(crate) struct Message<'a> {
    /// What it is; `None` if there is no such type.
    pub(crate) kind: Option<ClientKind>,
    pub(crate) fields: Fields<'a>,
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// If it is none. The client cannot be told by a request's number, so the socket is closed.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Closing> {
        if bytes.len() > MAX_RESTORE {
            return Err(Closing::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Closing::NotText)?;
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|_| Closing::NotJson)?;
        let kind = fields.text("type").ok().flatten().ok_or(Closing::NoType)?;
        let kind = ClientKind::of(&kind);
        if bytes.len() > MAX_MESSAGE && kind != Some(ClientKind::Restore) {
            return Err(Closing::TooLarge);
        }
        Ok(Self { kind, fields })
    }

    /// The number of a request: greater than that of every one before, of which the last is updated.
    pub(crate) fn number(&self, last: &mut RequestNumber) -> Result<RequestNumber, Failure> {
        let number = RequestNumber(required("id", self.fields.number("id")?)?);
        if number <= *last {
            return Err(Failure::field(
                "id",
                format_args!("must be greater than that of the request before: {}", last.0),
            ));
        }
        *last = number;
        Ok(number)
    }
}

/// What `connect` has.
pub(crate) struct Connect {
    pub(crate) token: Secret,
    pub(crate) continuation_token: Option<String>,
    pub(crate) disclose: Disclose,
    pub(crate) device: Option<String>,
}

pub(crate) fn connect(fields: &Fields<'_>) -> Result<Connect, Failure> {
    let device = fields.text("device")?.filter(|device| !device.is_empty());
    if device.as_ref().is_some_and(|device| device.len() > MAX_DEVICE) {
        return Err(Failure::field("device", format_args!("is longer than {MAX_DEVICE} bytes")));
    }
    Ok(Connect {
        token: token(fields)?,
        continuation_token: fields.text("continuation_token")?,
        disclose: disclose(fields)?,
        device,
    })
}

pub(crate) fn token(fields: &Fields<'_>) -> Result<Secret, Failure> {
    required("token", fields.text("token")?).map(Secret::new)
}

/// Reads what a request asks for. `None`: the session answers it itself.
pub(crate) fn command(
    kind: ClientKind,
    request: RequestNumber,
    fields: &Fields<'_>,
    settings: &Settings,
) -> Result<Option<Command>, Failure> {
    Ok(Some(match kind {
        ClientKind::SetUser => Command::SetUser(disclose(fields)?),
        ClientKind::QueryUsers => query_users(fields, settings)?,
        ClientKind::QueryChannels => {
            let query = query(fields, Kind::Channels, DEFAULT_CHANNELS, MAX_CHANNELS)?;
            Command::QueryChannels { query, presence: presence(fields)? }
        }
        ClientKind::WatchChannel => Command::WatchChannel {
            channel: channel(fields)?,
            data: channel_data(fields)?,
            presence: presence(fields)?,
        },
        ClientKind::AddMembers => Command::AddMembers { channel: channel(fields)?, members: members(fields)? },
        ClientKind::RemoveMembers => Command::RemoveMembers { channel: channel(fields)?, members: members(fields)? },
        ClientKind::Unwatch => Command::Unwatch { watch: RequestNumber(required("watch", fields.number("watch")?)?) },
        ClientKind::Restore => restore(request, fields, settings)?,
        ClientKind::Connect | ClientKind::Token | ClientKind::Ping | ClientKind::Pong | ClientKind::Close => {
            return Ok(None);
        }
    }))
}

fn disclose(fields: &Fields<'_>) -> Result<Disclose, Failure> {
    let status = fields.read::<String>("status", "a text or null")?.unwrap_or_default();
    let status = Status::set_to(&status)?;
    Ok(Disclose { status: fields.has("status").then_some(status), invisible: fields.flag("invisible")? })
}

fn presence(fields: &Fields<'_>) -> Result<bool, Failure> {
    Ok(fields.flag("presence")?.unwrap_or_default())
}

fn query_users(fields: &Fields<'_>, settings: &Settings) -> Result<Command, Failure> {
    let presence = presence(fields)?;
    let watched = u64::from(settings.users_per_watch);
    if presence && fields.number("limit")?.is_some_and(|limit| limit > watched) {
        return Err(Failure::too_many_users(watched));
    }
    let most = if presence { watched } else { MAX_USERS };
    Ok(Command::QueryUsers { query: query(fields, Kind::Users, DEFAULT_USERS.min(most), most)?, presence })
}

fn query(fields: &Fields<'_>, kind: Kind, default: u64, most: u64) -> Result<Query, Failure> {
    let limit = fields.number("limit")?.unwrap_or(default);
    if !(1..=most).contains(&limit) {
        return Err(Failure::field("limit", format_args!("must be from 1 to {most}")));
    }
    let filter: Option<Value> = fields.read("filter", "JSON that can be read")?;
    let sort: Option<Value> = fields.read("sort", "JSON that can be read")?;
    let sort = Sort::parse(&sort.unwrap_or_default(), kind)?;
    Ok(Query {
        filter: filter.map_or_else(|| Ok(Filter::everything(kind)), |filter| Filter::parse(&filter, kind))?,
        after: fields.text("cursor")?.map(|cursor| Position::parse(&cursor, &sort)).transpose()?,
        sort,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    })
}

fn channel(fields: &Fields<'_>) -> Result<Cid, Failure> {
    let text = |name| required(name, fields.text(name)?);
    let (kind, id) = (text("channel_type")?, text("channel_id")?);
    Ok(Cid { kind: kind.parse()?, id: id.parse()? })
}

fn channel_data(fields: &Fields<'_>) -> Result<Option<ChannelData>, Failure> {
    let Some(mut custom) = fields.read::<Map<String, Value>>("data", "an object")? else { return Ok(None) };
    let members = match custom.shift_remove("members") {
        None | Some(Value::Null) => vec![],
        Some(members) => serde_json::from_value(members)
            .map_err(|_| Failure::field("data", "must have a list of texts as `members`"))?,
    };
    Ok(Some(ChannelData { members: identities(&members)?, custom: data::custom(Value::Object(custom))? }))
}

fn members(fields: &Fields<'_>) -> Result<Vec<Identity>, Failure> {
    let members: Vec<String> = required("members", fields.read("members", "a list of texts")?)?;
    if members.len() as u64 > MAX_MEMBERS {
        let message = format!("One request adds or removes at most {MAX_MEMBERS} members");
        return Err(Failure::new(Word::TooManyMembers, message).with_limit(MAX_MEMBERS));
    }
    identities(&members)
}

fn identities(texts: &[String]) -> Result<Vec<Identity>, Failure> {
    texts.iter().map(|text| Ok(text.parse()?)).collect()
}

/// A watch in `restore`.
#[derive(Deserialize)]
struct Entry {
    watch: u64,
    users: Option<Vec<String>>,
    channels: Option<Vec<String>>,
}

fn restore(request: RequestNumber, fields: &Fields<'_>, settings: &Settings) -> Result<Command, Failure> {
    let what = "a list of objects with `watch`, and with `users` or `channels`";
    let invalid = || Failure::field("watches", format_args!("must be {what}"));
    let entries: Vec<Object<Entry>> = required("watches", fields.read("watches", what)?)?;
    if entries.len() as u64 > MAX_WATCHES {
        let message = format!("A socket has at most {MAX_WATCHES} watches");
        return Err(Failure::new(Word::LimitReached, message).with_limit(MAX_WATCHES));
    }
    let mut seen = HashSet::new();
    let mut users: HashSet<Identity> = HashSet::new();
    let mut watches = Vec::with_capacity(entries.len());
    for Object(Entry { watch, users: list, channels }) in entries {
        if watch >= request.0 || !seen.insert(watch) {
            return Err(Failure::field("watches", "must have each watch once, and only those of earlier requests"));
        }
        let of = match (list, channels) {
            (Some(list), None) => {
                let few = |count: usize, most: u32| {
                    let is_over = count as u64 > most.into();
                    if is_over { Err(Failure::too_many_users(most.into())) } else { Ok(()) }
                };
                few(list.len(), settings.users_per_watch)?;
                let list = identities(&list)?;
                users.extend(list.iter().cloned());
                few(users.len(), settings.watched_users)?;
                Watched::Users(list)
            }
            (None, Some(channels)) if channels.len() as u64 <= MAX_CHANNELS => {
                Watched::Channels(channels.iter().map(|cid| cid.parse()).collect::<Result<_, _>>()?)
            }
            (None, Some(_)) => {
                return Err(Failure::field("watches", format_args!("must have at most {MAX_CHANNELS} channels each")));
            }
            (Some(_), Some(_)) | (None, None) => return Err(invalid()),
        };
        watches.push(RestoredWatch { watch: RequestNumber(watch), of });
    }
    Ok(Command::Restore { watches, known: known(fields, settings)? })
}

fn known(fields: &Fields<'_>, settings: &Settings) -> Result<HashMap<Identity, u64>, Failure> {
    let what = "an object with a revision for each identity";
    let known: HashMap<String, u64> = fields.read("known", what)?.unwrap_or_default();
    if known.values().any(|revision| *revision >= MAX_NUMBER) {
        return Err(Failure::field("known", format_args!("must be {what}")));
    }
    // Whoever is left out is told anyway.
    let few = known.iter().take(usize::try_from(settings.watched_users).unwrap_or(usize::MAX));
    few.map(|(id, revision)| Ok((id.parse()?, *revision))).collect()
}
