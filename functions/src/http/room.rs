//! The room for bodies: how much memory the bodies of all requests together may take in a process, from their first bytes
//! until their requests are answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::body::{DEFAULT_LIMIT, Limit};

/// How much of each body needs no room: nearly all requests are smaller. Their number is limited by that of connections.
const FREE: usize = 16 * 1024;

/// The room for what bodies have beyond [`FREE`], up to [`DEFAULT_LIMIT`], in bytes.
const SMALL: usize = 32 * 1024 * 1024;

/// The room for what bodies have beyond [`DEFAULT_LIMIT`], in bytes. It is apart, so that large bodies leave the room of the
/// others alone.
const LARGE: usize = 64 * 1024 * 1024;

/// The bodies from this size on, in bytes, are handled one after the other: what is made of them takes a multiple of their
/// size.
const IN_TURN: usize = 64 * 1024;

/// How many of them are handled at a time: one is parsed while another is written.
const TURNS: usize = 2;

/// The room of a process.
#[derive(Debug)]
pub(crate) struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let of = |places| Arc::new(Semaphore::new(places));
        Self { small: of(SMALL), large: of(LARGE), turns: of(TURNS) }
    }
}

/// The share of one body. Dropping it gives it back.
#[derive(Debug, Default)]
pub(crate) struct Share {
    small: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Takes what a body of this length needs, in bytes. Returns whether there is room for it.
    pub(crate) fn grow(&mut self, room: &Room, length: usize) -> bool {
        let Limit(limit) = DEFAULT_LIMIT;
        take(&room.small, &mut self.small, length.min(limit).saturating_sub(FREE))
            && take(&room.large, &mut self.large, length.saturating_sub(limit))
    }

    /// Waits until a body of this length may be handled.
    pub(crate) async fn wait_for_turn(&mut self, room: &Room, length: usize) {
        if is_large(length) {
            // The semaphore is never closed.
            self.turn = Arc::clone(&room.turns).acquire_owned().await.ok();
        }
    }
}

/// Whether work on a body of this length, in bytes, takes so long that it would delay other requests.
pub(crate) fn is_large(length: usize) -> bool {
    length >= IN_TURN
}

/// Takes more until so many bytes are held. Returns whether they are.
fn take(from: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
    let missing = bytes.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    if missing == 0 {
        return true;
    }
    let Ok(missing) = u32::try_from(missing) else { return false };
    let Ok(more) = Arc::clone(from).try_acquire_many_owned(missing) else { return false };
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_leave_the_room_of_small_ones_alone() {
        let room = Room::default();
        let mut large: Vec<Share> = Vec::new();
        loop {
            let mut share = Share::default();
            if !share.grow(&room, 8 << 20) {
                break;
            }
            large.push(share);
        }
        assert_eq!(large.len(), 8);
        let mut small = Share::default();
        assert!(small.grow(&room, 256 << 10));
        assert!(!small.grow(&room, 8 << 20));
        // What was given back can be taken again.
        large.pop();
        assert!(small.grow(&room, 8 << 20));
    }

    #[test]
    fn the_room_of_small_bodies_is_limited_too() {
        let room = Room::default();
        let shares: Vec<Share> = (0..1_000)
            .map_while(|_| {
                let mut share = Share::default();
                share.grow(&room, 256 << 10).then_some(share)
            })
            .collect();
        assert_eq!(shares.len(), SMALL / ((256 << 10) - FREE));
        // Nearly all requests need none.
        assert!(Share::default().grow(&room, FREE));
    }

    #[tokio::test]
    async fn large_bodies_are_handled_in_turn() {
        let room = Room::default();
        let (mut first, mut second, mut third) = (Share::default(), Share::default(), Share::default());
        first.wait_for_turn(&room, IN_TURN).await;
        second.wait_for_turn(&room, IN_TURN).await;
        Share::default().wait_for_turn(&room, IN_TURN - 1).await;
        let wait = third.wait_for_turn(&room, IN_TURN);
        tokio::select! {
            biased;
            () = wait => panic!("there are {TURNS} turns"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        third.wait_for_turn(&room, IN_TURN).await;
        drop((second, third));
    }
}
