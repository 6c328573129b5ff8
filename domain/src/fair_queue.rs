//! A queue that is fair to those who wait in it: whoever fills it delays the others by little.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How many items of one user are taken in one turn at most: enough that a user's items become few writes.
const TURN: usize = 64;

/// Items of users of services. Services take turns, and within a service its users. A user's items keep their order.
#[derive(Debug)]
pub struct FairQueue<S, U, T> {
    services: HashMap<S, Line<U, T>>,
    /// The services with items, the next one first.
    turns: VecDeque<S>,
    len: usize,
}

/// The items of one service.
#[derive(Debug)]
struct Line<U, T> {
    users: HashMap<U, VecDeque<T>>,
    /// The users with items, the next one first.
    turns: VecDeque<U>,
}

impl<S, U, T> Default for FairQueue<S, U, T> {
    fn default() -> Self {
        Self { services: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<S: Copy + Eq + Hash, U: Copy + Eq + Hash, T> FairQueue<S, U, T> {
    /// Adds an item of a user of a service.
    pub fn push(&mut self, service: S, user: U, item: T) {
        let line = self.services.entry(service).or_insert_with(|| {
            self.turns.push_back(service);
            Line { users: HashMap::new(), turns: VecDeque::new() }
        });
        // Most users have one item: a deque of that size.
        let items = line.users.entry(user).or_insert_with(|| {
            line.turns.push_back(user);
            VecDeque::with_capacity(1)
        });
        items.push_back(item);
        self.len += 1;
    }

    /// Takes items with their services, at most so many. If no more than so many services have items, each gives at least
    /// one.
    pub fn take(&mut self, at_most: usize) -> Vec<(S, T)> {
        let mut taken = Vec::with_capacity(at_most.min(self.len));
        let turn = TURN.min(at_most / self.turns.len().max(1)).max(1);
        while taken.len() < at_most
            && let Some(service) = self.turns.pop_front()
        {
            let Some(line) = self.services.get_mut(&service) else { continue };
            let items = line.take_turn(turn.min(at_most - taken.len()));
            taken.extend(items.map(|item| (service, item)));
            if line.turns.is_empty() {
                self.services.remove(&service);
            } else {
                self.turns.push_back(service);
            }
        }
        self.len -= taken.len();
        taken
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<U: Copy + Eq + Hash, T> Line<U, T> {
    /// Takes items of the next user.
    fn take_turn(&mut self, at_most: usize) -> impl Iterator<Item = T> {
        let mut taken = Vec::new();
        if let Some(user) = self.turns.pop_front()
            && let Some(items) = self.users.get_mut(&user)
        {
            taken.extend(items.drain(..at_most.min(items.len())));
            if items.is_empty() {
                self.users.remove(&user);
            } else {
                self.turns.push_back(user);
            }
        }
        taken.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(items: impl IntoIterator<Item = (u8, u32, u32)>) -> FairQueue<u8, u32, (u32, u32)> {
        let mut queue = FairQueue::default();
        items.into_iter().for_each(|(service, user, n)| queue.push(service, user, (user, n)));
        queue
    }

    #[test]
    fn a_service_that_floods_does_not_delay_another() {
        let flood = (0..100_000).map(|n| (1, n, n));
        let mut queue = queue(flood.chain([(2, 7, 0)]));
        assert!(queue.take(1_000).contains(&(2, (7, 0))));
        assert_eq!(queue.len(), 99_001);
    }

    #[test]
    fn a_user_that_floods_its_service_does_not_delay_another() {
        let flood = (0..100_000).map(|n| (1, 1, n));
        let mut queue = queue(flood.chain([(1, 2, 0)]));
        let taken = queue.take(1_000);
        assert_eq!(taken.len(), 1_000);
        assert!(taken.contains(&(1, (2, 0))));
    }

    #[test]
    fn every_service_has_a_turn_in_each_batch_whatever_the_others_have() {
        let floods = (0..100_000).map(|n| ((n % 200) as u8, 0, n));
        let mut queue = queue(floods);
        for _ in 0..10 {
            let taken = queue.take(1_000);
            let services: std::collections::HashSet<u8> = taken.iter().map(|(service, ..)| *service).collect();
            assert_eq!((taken.len(), services.len()), (1_000, 200));
        }
    }

    #[test]
    fn an_empty_queue_gives_nothing() {
        let mut queue = queue([]);
        assert!(queue.take(10).is_empty() && queue.is_empty());
        queue.push(1, 1, (1, 1));
        assert!(queue.take(0).is_empty());
        assert_eq!(queue.take(10), [(1, (1, 1))]);
        assert!(queue.is_empty() && queue.services.is_empty() && queue.turns.is_empty());
    }
}
