//! The parts of answers: users and members, told as the client takes them.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use reachability_domain::channel::key::Cid;
use reachability_domain::identity::Identity;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::view::UserView;
use reachability_gateway::json::parts;
use reachability_gateway::json::settings::{MEMBERS_IN_PART, REQUEST_WITHIN};
use reachability_infra::clock;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::commands::Asked;
use super::failure::Failure;
use super::outcome::Shown;
use super::watches::Watches;

/// How many users are read at a time.
const READ_AT_ONCE: usize = 50;

/// Waits until a request is done; `None` if that takes too long. The time in which the client is slow to read does not count.
pub(super) async fn in_time<T>(watches: &Watches, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut late) = (pin!(work), pin!(sleep(REQUEST_WITHIN)));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if watches.wire().has_room() {
            return late.as_mut().poll(context).map(|()| None);
        }
        late.as_mut().reset(Instant::now() + REQUEST_WITHIN);
        Poll::Pending
    })
    .await
}

impl Asked {
    /// Tells users as they are seen now, in this order, unless they are not to be told. Returns how many are.
    pub(super) async fn tell_users(
        &mut self,
        users: &[Identity],
        is_told: impl Fn(&Shown) -> bool,
    ) -> Result<usize, Failure> {
        let mut told = 0;
        for some in users.chunks(READ_AT_ONCE) {
            // What is read waits in memory until it is sent.
            self.watches.wire().room().await;
            let read = self.read(some).await?;
            told += self.tell(read.into_iter().filter(&is_told).collect()).await;
            yield_now().await;
        }
        Ok(told)
    }

    /// Tells users. Returns how many.
    pub(super) async fn tell(&self, users: Vec<Shown>) -> usize {
        let parts = parts::users(self.number, &users.iter().map(Shown::public).collect::<Vec<_>>());
        let told = users.len();
        drop(users);
        self.send(parts).await;
        told
    }

    /// Tells the members of a channel.
    pub(super) async fn tell_list(&self, cid: &Cid, members: &[Identity]) {
        if members.is_empty() {
            self.send(parts::members(self.number, cid, members)).await;
        }
        for some in members.chunks(MEMBERS_IN_PART) {
            self.send(parts::members(self.number, cid, some)).await;
        }
    }

    async fn send(&self, parts: Vec<Bytes>) {
        for part in parts {
            self.watches.send(&part).await;
        }
    }

    async fn read(&mut self, users: &[Identity]) -> Result<Vec<Shown>, Failure> {
        self.looks_at(users.len());
        let (service, own) = (self.watches.user().service, &self.watches.user().identity);
        let found = self.ports.search.users_by_identity(service, users).await?;
        let now = clock::now();
        let mut found: HashMap<Identity, UserView> = found
            .iter()
            .map(|it| (it.user.identity.clone(), UserView::of(it, now, Viewer::at(&it.user.identity, own))))
            .collect();
        let shown = users.iter().map(|user| match found.remove(user) {
            Some(view) => Shown::User(Box::new(view), Viewer::at(user, own)),
            None => Shown::Nobody(user.clone()),
        });
        Ok(shown.collect())
    }
}
