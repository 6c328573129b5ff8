//! Channels and their members.

use std::collections::HashSet;

use async_trait::async_trait;
use reachability_domain::channel::key::{ChannelKey, Cid};
use reachability_domain::channel::ports::{Channels, MembersChange, OverLimit};
use reachability_domain::channel::{Channel, MAX_CREATED, MAX_MEMBERS};
use reachability_domain::identity::{Identity, InvalidIdentity};
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, params};

use super::database::unavailable;
use super::feed::Writer;
use super::rows::{Key, Rows, create, document, execute, find, write_document};
use super::store::SqliteStore;

/// Selects one channel.
const BY_CID: &str = "service = ?1 AND cid = ?2";

#[async_trait]
impl Channels for SqliteStore {
    async fn create_channel(
        &self,
        channel: &Channel,
        members: &[Identity],
    ) -> Result<Result<Channel, OverLimit>, StoreError> {
        let (channel, members) = (channel.clone(), members.to_vec());
        self.write(move |writer| {
            let key = &channel.key;
            if writer.configuration(key.service)?.is_none() {
                return Err(StoreError::Missing);
            }
            if read(writer, key)?.is_some() {
                return Err(StoreError::Exists);
            }
            if members.iter().collect::<HashSet<_>>().len() > MAX_MEMBERS {
                return Ok(Err(OverLimit::Members));
            }
            if let Some(creator) = &channel.created_by
                && created(writer, key.service, creator)? >= MAX_CREATED
            {
                return Ok(Err(OverLimit::Created));
            }
            let insert = "INSERT INTO channels (service, cid, version, created_by, member_count, document)
                VALUES (?1, ?2, 0, ?3, 0, ?4)";
            let created_by = channel.created_by.as_ref().map(Identity::as_str);
            let row = params![Key(key.service), key.cid.to_string(), created_by, write_document(&channel)?];
            create(writer, insert, row)?;
            let added = insert_members(writer, key, &members)?;
            let channel = Channel { member_count: added.len(), version: 0, ..channel };
            writer.changes_members(change(&channel.key, added, Vec::new()));
            Ok(Ok(channel))
        })
        .await
    }

    async fn channel(&self, key: &ChannelKey) -> Result<Option<Channel>, StoreError> {
        if !self.has_service(key.service).await? {
            return Ok(None);
        }
        self.database.look_up(|connection| read(connection, key))
    }

    async fn replace_channel(&self, channel: &Channel) -> Result<(), StoreError> {
        let channel = channel.clone();
        self.write(move |writer| {
            let (service, cid) = (Key(channel.key.service), channel.key.cid.to_string());
            Rows::new("channels", BY_CID, &[&service, &cid]).replace(
                writer,
                channel.version,
                &write_document(&channel)?,
            )
        })
        .await
    }

    async fn delete_channel(&self, key: &ChannelKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |writer| {
            let (service, cid) = (Key(key.service), key.cid.to_string());
            Rows::new("members", BY_CID, &[&service, &cid]).delete(writer)?;
            let is_deleted = Rows::new("channels", BY_CID, &[&service, &cid]).delete(writer)? > 0;
            if is_deleted {
                writer.changes_members(MembersChange { is_deleted, ..change(&key, Vec::new(), Vec::new()) });
            }
            Ok(is_deleted)
        })
        .await
    }

    async fn add_members(
        &self,
        key: &ChannelKey,
        members: &[Identity],
    ) -> Result<Result<(Vec<Identity>, Channel), OverLimit>, StoreError> {
        let (key, members) = (key.clone(), members.to_vec());
        self.write(move |writer| {
            let mut channel = read(writer, &key)?.ok_or(StoreError::Missing)?;
            let added: Vec<Identity> = among(writer, &key, &members, false)?;
            if channel.member_count + added.len() > MAX_MEMBERS {
                return Ok(Err(OverLimit::Members));
            }
            let added = insert_members(writer, &key, &added)?;
            channel.member_count += added.len();
            writer.changes_members(change(&key, added.clone(), Vec::new()));
            Ok(Ok((added, channel)))
        })
        .await
    }

    async fn remove_members(
        &self,
        key: &ChannelKey,
        members: &[Identity],
    ) -> Result<(Vec<Identity>, Channel), StoreError> {
        let (key, members) = (key.clone(), members.to_vec());
        self.write(move |writer| {
            let mut channel = read(writer, &key)?.ok_or(StoreError::Missing)?;
            let removed = among(writer, &key, &members, true)?;
            let (service, cid) = (Key(key.service), key.cid.to_string());
            for member in &removed {
                let delete = "DELETE FROM members WHERE service = ?1 AND cid = ?2 AND identity = ?3";
                execute(writer, delete, params![service, cid, member.as_str()])?;
            }
            channel.member_count = channel.member_count.saturating_sub(removed.len());
            add_to_count(writer, &key, -signed(removed.len()))?;
            writer.changes_members(change(&key, Vec::new(), removed.clone()));
            Ok((removed, channel))
        })
        .await
    }

    async fn members(
        &self,
        key: &ChannelKey,
        after: Option<&Identity>,
        at_most: usize,
    ) -> Result<Vec<Identity>, StoreError> {
        if !self.has_service(key.service).await? {
            return Ok(Vec::new());
        }
        let (key, after) = (key.clone(), after.cloned());
        let select =
            "SELECT identity FROM members WHERE service = ?1 AND cid = ?2 AND identity > ?3 ORDER BY identity LIMIT ?4";
        self.database
            .read(move |connection| {
                let after = after.as_ref().map_or("", Identity::as_str);
                let parameters = params![Key(key.service), key.cid.to_string(), after, signed(at_most)];
                let mut statement = connection.prepare_cached(select).map_err(unavailable)?;
                let rows = statement.query_map(parameters, |row| Ok(identity(row.get_ref(0)?.as_str()?)));
                rows.map_err(unavailable)?.map(|row| row.map_err(unavailable)?).collect()
            })
            .await
    }

    async fn members_among(
        &self,
        channels: &[ChannelKey],
        identities: &[Identity],
    ) -> Result<Vec<Vec<Identity>>, StoreError> {
        let (channels, identities) = (channels.to_vec(), identities.to_vec());
        self.database
            .read(move |connection| channels.iter().map(|key| among(connection, key, &identities, true)).collect())
            .await
    }

    async fn channels(
        &self,
        service: ServiceSid,
        after: Option<&Cid>,
        at_most: usize,
    ) -> Result<Vec<Channel>, StoreError> {
        if !self.has_service(service).await? {
            return Ok(Vec::new());
        }
        let after = after.map(ToString::to_string).unwrap_or_default();
        let select = "SELECT document, version, member_count FROM channels WHERE service = ?1 AND cid > ?2
            ORDER BY cid LIMIT ?3";
        self.database.read(move |connection| all(connection, select, &[&Key(service), &after, &signed(at_most)])).await
    }

    async fn channels_of(
        &self,
        service: ServiceSid,
        member: &Identity,
        after: Option<&Cid>,
        at_most: usize,
    ) -> Result<Vec<Channel>, StoreError> {
        if !self.has_service(service).await? {
            return Ok(Vec::new());
        }
        let (member, after) = (member.clone(), after.map(ToString::to_string).unwrap_or_default());
        self.database
            .read(move |connection| {
                all(connection, CHANNELS_OF, &[&Key(service), &member.as_str(), &after, &signed(at_most)])
            })
            .await
    }
}

/// Selects the channels of a member, in the order of the index of members.
const CHANNELS_OF: &str = "SELECT document, version, member_count FROM members CROSS JOIN channels USING (service, cid)
    WHERE members.service = ?1 AND identity = ?2 AND members.cid > ?3 ORDER BY members.cid LIMIT ?4";

fn change(key: &ChannelKey, added: Vec<Identity>, removed: Vec<Identity>) -> MembersChange {
    MembersChange { channel: key.clone(), added, removed, is_deleted: false }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many channels this user has created.
fn created(connection: &Connection, service: ServiceSid, creator: &Identity) -> Result<usize, StoreError> {
    let count = "SELECT count(*) FROM channels WHERE service = ?1 AND created_by = ?2";
    let created = find(connection, count, params![Key(service), creator.as_str()], |row| row.get(0))?;
    Ok(created.unwrap_or_default())
}

/// Reads a channel from the columns `document`, `version` and `member_count`.
fn channel(row: &Row<'_>) -> rusqlite::Result<Result<Channel, StoreError>> {
    let (version, member_count) = (row.get(1)?, row.get(2)?);
    Ok(document(row, 0)?.map(|channel: Channel| Channel { version, member_count, ..channel }))
}

fn read(connection: &Connection, key: &ChannelKey) -> Result<Option<Channel>, StoreError> {
    let select = "SELECT document, version, member_count FROM channels WHERE service = ?1 AND cid = ?2";
    find(connection, select, params![Key(key.service), key.cid.to_string()], channel)?.transpose()
}

fn all(connection: &Connection, select: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Channel>, StoreError> {
    let mut statement = connection.prepare_cached(select).map_err(unavailable)?;
    let rows = statement.query_map(parameters, channel).map_err(unavailable)?;
    rows.map(|row| row.map_err(unavailable)?).collect()
}

fn identity(text: &str) -> Result<Identity, StoreError> {
    text.parse().map_err(|error: InvalidIdentity| StoreError::Corrupt(error.into()))
}

/// Those of the identities that are members, or those that are not, in order and without repetitions.
fn among(
    connection: &Connection,
    key: &ChannelKey,
    identities: &[Identity],
    wanted: bool,
) -> Result<Vec<Identity>, StoreError> {
    let select = "SELECT 1 FROM members WHERE service = ?1 AND cid = ?2 AND identity = ?3";
    let mut statement = connection.prepare_cached(select).map_err(unavailable)?;
    let (service, cid) = (Key(key.service), key.cid.to_string());
    let mut found = Vec::new();
    for identity in identities {
        let is_member = statement.exists(params![service, cid, identity.as_str()]).map_err(unavailable)?;
        if is_member == wanted {
            found.push(identity.clone());
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Adds members, and counts them. Returns those that were none before, in order.
fn insert_members(writer: &Writer<'_>, key: &ChannelKey, members: &[Identity]) -> Result<Vec<Identity>, StoreError> {
    let (service, cid) = (Key(key.service), key.cid.to_string());
    let mut added = Vec::new();
    for member in members {
        let insert = "INSERT INTO members (service, cid, identity) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        if execute(writer, insert, params![service, cid, member.as_str()])? > 0 {
            added.push(member.clone());
        }
    }
    add_to_count(writer, key, signed(added.len()))?;
    added.sort_unstable();
    Ok(added)
}

fn add_to_count(writer: &Writer<'_>, key: &ChannelKey, more: i64) -> Result<(), StoreError> {
    let count = "UPDATE channels SET member_count = member_count + ?3 WHERE service = ?1 AND cid = ?2";
    execute(writer, count, params![Key(key.service), key.cid.to_string(), more]).map(drop)
}
