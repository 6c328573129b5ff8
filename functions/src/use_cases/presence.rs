//! The presence of users: finding, reading and setting it.

use std::sync::Arc;

use reachability_domain::directory::ports::Users;
use reachability_domain::directory::service::Service;
use reachability_domain::directory::user::{User, UserRef};
use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::opening::Opening;
use reachability_domain::presence::ports::States;
use reachability_domain::presence::search::{UserRow, UserSearch};
use reachability_domain::presence::snapshot::UserSnapshot;
use reachability_domain::presence::state::UserState;
use reachability_domain::presence::view::UserView;
use reachability_domain::query::Query;
use reachability_domain::query::cursor::InvalidCursor;
use reachability_domain::query::plan::Plan;
use reachability_domain::sid::ServiceSid;
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use serde::Serialize;

use crate::use_cases::asker::Asker;
use crate::use_cases::scan::{QueryError, Source, scan, select};

/// The answer to a query for users.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundUsers {
    /// The users, in the order that was asked for, each with who sees it so.
    pub users: Vec<(UserView, Viewer)>,
    /// The cursor of the users after them; `None` if there are none. Before a cursor there may be fewer users than were asked
    /// for, or none.
    pub cursor: Option<String>,
    /// The index that answered; `None` if all users of the service were looked at.
    pub index: Option<&'static str>,
    /// How many users were looked at.
    pub looked_at: usize,
}

/// Finds users of a service. Filters and sorts see what others see, unless the asker is the owner and asks for invisible
/// users. The asker's own user is shown as it is.
///
/// # Errors
/// If it is too broad, or the store fails.
pub async fn query_users(
    search: &dyn UserSearch,
    service: ServiceSid,
    query: &Query,
    asker: &Asker,
    now: Timestamp,
) -> Result<FoundUsers, QueryError> {
    let viewer = asker.viewer_of_queries();
    let plan = match query.plan() {
        // The index has what others see.
        Plan::Online if viewer != Viewer::Other => Plan::All,
        plan => plan,
    };
    let found = match &plan {
        Plan::Keys(ids) => {
            // What is not an identity names nobody.
            let identities: Vec<Identity> = ids.iter().filter_map(|id| id.parse().ok()).collect();
            let snapshots = search.users_by_identity(service, &identities).await?;
            let rows = snapshots.into_iter().map(|snapshot| UserRow::of(snapshot, now, viewer)).collect();
            select(rows, ids.len(), query).await
        }
        plan => {
            let only_online = *plan == Plan::Online;
            scan(&UsersOf { search, service, only_online, viewer, now }, query).await?
        }
    };
    let show = |UserRow { snapshot, .. }: UserRow| {
        let viewer = asker.viewer_of(&snapshot.user.identity);
        (UserView::of(&snapshot, now, viewer), viewer)
    };
    Ok(FoundUsers {
        users: found.rows.into_iter().map(show).collect(),
        cursor: found.cursor,
        index: plan.index(query),
        looked_at: found.looked_at,
    })
}

/// The users of a service, or those who are online.
struct UsersOf<'a> {
    search: &'a dyn UserSearch,
    service: ServiceSid,
    only_online: bool,
    viewer: Viewer,
    now: Timestamp,
}

impl Source for UsersOf<'_> {
    type Row = UserRow;

    async fn read(&self, after: Option<&str>, at_most: usize) -> Result<Vec<UserRow>, QueryError> {
        let after: Option<Identity> = after.map(|id| id.parse().map_err(|_| InvalidCursor)).transpose()?;
        let snapshots = if self.only_online {
            self.search.online_after(self.service, after.as_ref(), at_most).await?
        } else {
            self.search.users_after(self.service, after.as_ref(), at_most).await?
        };
        Ok(snapshots.into_iter().map(|snapshot| UserRow::of(snapshot, self.now, self.viewer)).collect())
    }
}

/// A user with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPresence {
    snapshot: UserSnapshot,
    state: UserState,
}

/// A live connection of a user, as the owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownConnection {
    /// What the client says that it runs on; `null` if that is not known.
    pub device: Option<Arc<str>>,
    /// Since when it is there, by the clock of who reported it; `null` if that is not known.
    #[serde(with = "reachability_domain::time::rfc3339::option")]
    pub since: Option<Timestamp>,
    /// Until when it counts as live without a renewal; `null` for a socket of this server, which needs none.
    #[serde(with = "reachability_domain::time::rfc3339::option")]
    pub until: Option<Timestamp>,
}

impl UserPresence {
    fn of(service: &Service, user: User, state: UserState) -> Self {
        let snapshot = UserSnapshot { configuration: service.configuration, user, state: (&state).into() };
        Self { snapshot, state }
    }

    /// What a viewer sees of the user.
    pub fn view(&self, now: Timestamp, viewer: Viewer) -> UserView {
        UserView::of(&self.snapshot, now, viewer)
    }

    /// The live connections, those that end first before the others. A viewer to whom the user is invisible sees none.
    pub fn connections(&self, now: Timestamp, viewer: Viewer) -> Vec<ShownConnection> {
        if self.state.disclosure.hidden.is_some() && viewer == Viewer::Other {
            return Vec::new();
        }
        let (presence, now) = (&self.state.presence, now.max(self.state.as_of));
        let live =
            presence.connections.iter().map(|(key, connection)| (connection.live_until(), presence.openings.get(key)));
        let mut live: Vec<(Timestamp, Option<&Opening>)> = live.filter(|(end, _)| now < *end).collect();
        live.sort_unstable();
        let shown = |(end, opening): (Timestamp, Option<&Opening>)| ShownConnection {
            device: opening.and_then(|opening| opening.device.clone()),
            since: opening.map(|opening| opening.at),
            until: Some(end).filter(|end| *end < Timestamp::MAX),
        };
        live.into_iter().map(shown).collect()
    }
}

/// Reads a user of a service; `None` if there is none.
///
/// # Errors
/// If the store fails.
pub async fn read_presence(
    users: &dyn Users,
    states: &dyn States,
    service: &Service,
    user: &UserRef,
) -> Result<Option<UserPresence>, StoreError> {
    let Some(user) = users.user(service.sid, user).await? else { return Ok(None) };
    let state = states.states(&[user.key()]).await?.pop().unwrap_or_default();
    Ok(Some(UserPresence::of(service, user, state)))
}

/// Sets what a user shows to others. Returns the user as it is then; `None` if there is none.
///
/// # Errors
/// If the store fails. [`StoreError::Missing`]: the service was deleted.
pub async fn set_presence(
    users: &dyn Users,
    states: &dyn States,
    service: &Service,
    user: &UserRef,
    wish: &Disclose,
    now: Timestamp,
) -> Result<Option<UserPresence>, StoreError> {
    let Some(user) = users.user(service.sid, user).await? else { return Ok(None) };
    // It may have been deleted since.
    let state = states.disclose(&user, wish, now).await?;
    Ok(state.map(|state| UserPresence::of(service, user, state)))
}
