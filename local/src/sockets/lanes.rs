//! What waits to be told to watchers: a lane for each service, so that none waits for what another has to tell.
//!
//! A task of its own empties each lane, in order. A change of a user is combined with an earlier one that still waits: a user who
//! is watched by many and changes all the time makes no backlog.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use reachability_domain::panics;
use reachability_domain::sid::ServiceSid;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::coop::consume_budget;
use tracing::error;

/// How many changes may wait in a lane. Watchers of more are cut off, and read what they missed when they are back.
pub(super) const MAX_WAITING: usize = 16_384;

/// Something to tell.
pub(super) trait Tell: Sized {
    /// Combines this with a later change of the same user, if both can be told as one. Otherwise gives the later one back.
    fn absorb(&mut self, later: Self) -> Result<(), Self>;
}

/// Who empties lanes.
pub(super) trait Teller: Send + Sync + 'static {
    type Told: Tell + Send + Sync;

    /// Tells those whom it concerns.
    fn tell(&self, told: &Self::Told) -> impl Future<Output = ()> + Send;

    /// Cuts them off, since it cannot be told: they read it when they are back.
    fn cut(&self, told: &Self::Told);
}

/// The lanes. A lane is there while something waits in it, or is being told.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: Mutex<HashMap<ServiceSid, Lane<T>>>,
    begun: UnboundedSender<ServiceSid>,
}

/// The services whose lanes have begun, and need a task.
pub(super) type Begun = UnboundedReceiver<ServiceSid>;

#[derive(Debug)]
struct Lane<T> {
    /// With the hashes of the users whom it concerns.
    waiting: VecDeque<(Option<u64>, T)>,
    /// How many have left the lane.
    gone: usize,
    /// The number of the last of each user that waits, by the user's hash.
    latest: HashMap<u64, usize>,
}

impl<T: Tell> Lanes<T> {
    pub(super) fn new() -> (Arc<Self>, Begun) {
        let (begun, tasks) = mpsc::unbounded_channel();
        (Arc::new(Self { lanes: Mutex::default(), begun }), tasks)
    }

    /// Adds something of a service, and of the user with this hash; `None` if it concerns others too.
    ///
    /// # Errors
    /// If too much waits. What was to be told is given back.
    pub(super) fn push(&self, service: ServiceSid, user: Option<u64>, told: T) -> Result<(), T> {
        let mut lanes = self.lock();
        let lane = lanes.entry(service).or_insert_with(|| {
            // The tasks are there until the process ends.
            let _ = self.begun.send(service);
            Lane { waiting: VecDeque::new(), gone: 0, latest: HashMap::new() }
        });
        lane.push(user, told)
    }

    /// The next of a service. If there is none, the lane is gone.
    fn next(&self, service: ServiceSid) -> Option<T> {
        let mut lanes = self.lock();
        let next = lanes.get_mut(&service).and_then(Lane::pop);
        if next.is_none() {
            lanes.remove(&service);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceSid, Lane<T>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Tell> Lane<T> {
    fn push(&mut self, user: Option<u64>, mut told: T) -> Result<(), T> {
        match user {
            Some(user) => {
                let waiting = self.latest.get(&user).and_then(|number| self.waiting.get_mut(number - self.gone));
                if let Some((_, waiting)) = waiting {
                    match waiting.absorb(told) {
                        Ok(()) => return Ok(()),
                        Err(later) => told = later,
                    }
                }
                if self.waiting.len() < MAX_WAITING {
                    self.latest.insert(user, self.gone + self.waiting.len());
                }
            }
            // Nothing that comes later may be told before it.
            None => self.latest.clear(),
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(told);
        }
        self.waiting.push_back((user, told));
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        let (user, told) = self.waiting.pop_front()?;
        if let Some(user) = user
            && self.latest.get(&user) == Some(&self.gone)
        {
            self.latest.remove(&user);
        }
        self.gone += 1;
        Some(told)
    }
}

/// Empties lanes, as long as they are there.
pub(super) async fn empty<T: Teller>(lanes: Arc<Lanes<T::Told>>, mut begun: Begun, teller: Arc<T>) {
    while let Some(service) = begun.recv().await {
        let (lanes, teller) = (lanes.clone(), teller.clone());
        tokio::spawn(async move {
            while let Some(told) = lanes.next(service) {
                consume_budget().await;
                if let Err(panic) = AssertUnwindSafe(teller.tell(&told)).catch_unwind().await {
                    error!(reason = panics::message(&*panic), "watchers are cut off, since telling them panicked");
                    teller.cut(&told);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
