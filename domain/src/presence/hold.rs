//! Whether a notification for those who are offline is for a user.
//!
//! What counts is what others see ([`Viewer::Other`]), so one who is invisible is offline. One who is online may have been lost
//! without a goodbye: nobody knows before the lease runs out, or before a socket of this server's own has been silent for too
//! long. So the notification waits for as long as that takes for the connections that the user had when it was accepted, and is
//! sent as soon as others see the user offline. A sign of life that came later shows that the user was there.

use std::time::Duration;

use crate::directory::configuration::Configuration;
use crate::presence::appearance::{Appearance, Viewer};
use crate::presence::connection::Connection;
use crate::presence::state::UserState;
use crate::push::recipient::Hold;
use crate::time::Timestamp;

/// How often a user is looked at who is waited for: at first after this time.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// And at last after this time.
const LAST_LOOK: Duration = Duration::from_secs(30);

/// What is done with a notification for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is sent: the user is offline, or it is not known whether it is online.
    Send,
    /// It is not sent: the user is online.
    Skip,
    /// It waits until this time at most: that is when the user is offline if nothing is heard of it, or when it is decided.
    Wait(Timestamp),
}

/// What is waited for if a notification is accepted `now`; `None`: it is to be sent. `lost_within`: how long it takes until
/// somebody is shown as offline whose socket of this server's own was lost.
pub fn hold(configuration: &Configuration, state: &UserState, lost_within: Duration, now: Timestamp) -> Option<Hold> {
    if !is_online(configuration, state, now) {
        return None;
    }
    let bound = |connection: &Connection| match connection.is_unending() {
        true => now.plus(lost_within),
        false => connection.live_until(),
    };
    let until = live(state, now).map(bound).max().unwrap_or(now);
    Some(Hold { until, connected_at: state.presence.connected_at })
}

/// What is done `now`. `held`: what [`hold`] said when the notification was accepted. It waits for nobody beyond `ends_at`.
pub fn decide(
    configuration: &Configuration,
    state: &UserState,
    held: Option<&Hold>,
    ends_at: Timestamp,
    now: Timestamp,
) -> Decision {
    if !is_online(configuration, state, now) {
        return Decision::Send;
    }
    // Who was offline has come since.
    let Some(held) = held else { return Decision::Skip };
    let is_alive = |connection: &Connection| {
        !connection.is_unending() && connection.ended.is_none() && held.until < connection.live_until()
    };
    let has_connected = held.connected_at < state.presence.connected_at;
    if ends_at <= now || has_connected || live(state, now).any(is_alive) {
        return Decision::Skip;
    }
    let live_until = state.presence.live_until();
    let is_lost = live(state, now).all(|connection| connection.ended.is_some());
    match () {
        () if now < held.until => Decision::Wait(held.until.min(live_until).min(ends_at)),
        // It had a sign of life after all, and is lost now. Grace periods are short.
        () if is_lost => Decision::Wait(live_until.min(ends_at)),
        () => Decision::Skip,
    }
}

/// When to look next at a user who is waited for until this time: soon at first, and then after half of the time that it has
/// taken since the notification was accepted.
pub fn next_look(accepted_at: Timestamp, until: Timestamp, now: Timestamp) -> Timestamp {
    now.plus((now.since(accepted_at) / 2).clamp(FIRST_LOOK, LAST_LOOK)).min(until)
}

fn is_online(configuration: &Configuration, state: &UserState, now: Timestamp) -> bool {
    Appearance::of(configuration, state, now, Viewer::Other).reachability.online == Some(true)
}

fn live(state: &UserState, now: Timestamp) -> impl Iterator<Item = &Connection> {
    state.presence.connections.values().filter(move |connection| now < connection.live_until())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::configuration::Generation;
    use crate::identity::ConnectionId;
    use crate::presence::connection::Ending;
    use crate::presence::disclosure::Disclose;
    use crate::presence::event::EndReason;

    const LOST_WITHIN: Duration = Duration::from_secs(31);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_795_132_800_000 + second * 1_000)
    }

    fn on() -> Configuration {
        let mut configuration = Configuration::default();
        configuration.set_reachability_enabled(true, at(-1_000));
        configuration
    }

    fn leased(until: i64) -> Connection {
        Connection { leased_until: Some(at(until)), ended: None }
    }

    const SOCKET: Connection = Connection { leased_until: Some(Timestamp::MAX), ended: None };

    /// A connection that was lost, and counts until this second.
    fn lost(until: i64) -> Connection {
        let ending = Ending { at: at(until), reason: EndReason::ConnectionLost, occurred_at: at(until - 10) };
        Connection { leased_until: Some(at(until)), ended: Some(ending) }
    }

    /// A user with these connections, the latest of which began at this second.
    fn user(connections: &[Connection], connected: i64) -> UserState {
        let mut state = UserState { sid: Some(crate::sid::Sid::from_bits(1)), ..UserState::default() };
        state.presence.online_generation = Generation(1);
        state.presence.connected_at = Some(at(connected));
        for (n, connection) in connections.iter().enumerate() {
            let key = format!("c-{n}").parse::<ConnectionId>().unwrap().key();
            state.presence.connections.insert(key, *connection);
        }
        state
    }

    /// What is waited for if a notification is accepted at second 0.
    #[test]
    fn a_user_who_is_online_is_waited_for_as_long_as_a_loss_takes() {
        for (connections, until) in [
            (&[] as &[Connection], None),
            (&[leased(0)], None),
            (&[leased(-5), lost(0)], None),
            (&[leased(100)], Some(100)),
            (&[leased(60), leased(100)], Some(100)),
            (&[lost(7)], Some(7)),
            (&[lost(7), leased(5)], Some(7)),
            (&[SOCKET], Some(31)),
            (&[SOCKET, leased(20), lost(7)], Some(31)),
            (&[SOCKET, leased(100)], Some(100)),
        ] {
            let held = hold(&on(), &user(connections, -50), LOST_WITHIN, at(0));
            assert_eq!(held.map(|held| held.until), until.map(at), "{connections:?}");
            assert!(held.is_none_or(|held| held.connected_at == Some(at(-50))));
        }
        assert_eq!(hold(&on(), &UserState::default(), LOST_WITHIN, at(0)), None);
        let without_sockets = hold(&on(), &user(&[SOCKET], -50), Duration::ZERO, at(0));
        assert_eq!(without_sockets.map(|held| held.until), Some(at(0)));
    }

    /// Nobody knows whether they are online.
    #[test]
    fn it_is_sent_to_those_of_whom_others_know_nothing() {
        let state = user(&[SOCKET], -50);
        let mut off = on();
        off.set_reachability_enabled(false, at(-1));
        let mut again = off;
        again.set_reachability_enabled(true, at(-1));
        for configuration in [Configuration::default(), off, again] {
            assert_eq!(hold(&configuration, &state, LOST_WITHIN, at(0)), None, "{configuration:?}");
            assert_eq!(decide(&configuration, &state, None, at(1_000), at(0)), Decision::Send, "{configuration:?}");
        }
    }

    #[test]
    fn who_is_invisible_is_offline() {
        let mut state = user(&[SOCKET, leased(100)], -50);
        let held = hold(&on(), &state, LOST_WITHIN, at(0));
        assert!(state.disclose(&Disclose { invisible: Some(true), ..Disclose::default() }, at(1)));
        assert_eq!(hold(&on(), &state, LOST_WITHIN, at(2)), None);
        assert_eq!(decide(&on(), &state, held.as_ref(), at(1_000), at(2)), Decision::Send);
        // For others this is a connect.
        assert!(state.disclose(&Disclose { invisible: Some(false), ..Disclose::default() }, at(3)));
        assert_eq!(decide(&on(), &state, held.as_ref(), at(1_000), at(4)), Decision::Skip);
        assert_eq!(decide(&on(), &state, None, at(1_000), at(4)), Decision::Skip);
    }

    /// Accepted at second 0, when the latest connect was that of second -50. It ends at second 1,000 unless it says otherwise.
    #[test]
    fn what_is_known_later_decides() {
        use Decision::{Send, Skip, Wait};
        let until = |second| Wait(at(second));
        let never = 1_000;
        for (held_until, ends_at, connections, connected, now, expected) in [
            // Offline when it was accepted.
            (None, never, &[] as &[Connection], -50, 5, Send),
            (None, never, &[leased(4)], -50, 5, Send),
            (None, never, &[leased(100)], 3, 5, Skip),
            (None, never, &[lost(6)], 3, 5, Skip),
            // A lease.
            (Some(100), never, &[leased(100)], -50, 1, until(100)),
            (Some(100), never, &[leased(100)], -50, 99, until(100)),
            (Some(100), never, &[leased(100)], -50, 100, Send),
            (Some(100), never, &[leased(101)], -50, 1, Skip),
            (Some(100), never, &[leased(100)], 0, 1, Skip),
            (Some(100), never, &[], -50, 1, Send),
            // Lost, as its gateway says: sooner than the lease, and for nobody longer.
            (Some(100), never, &[lost(15)], -50, 6, until(15)),
            (Some(100), never, &[lost(15)], -50, 15, Send),
            // Two connections. The one that ended first was renewed, which changes nothing yet.
            (Some(100), never, &[leased(100), leased(60)], -50, 70, until(100)),
            (Some(100), never, &[leased(100), leased(90)], -50, 70, until(100)),
            (Some(100), never, &[leased(100), leased(101)], -50, 70, Skip),
            (Some(100), never, &[lost(80), leased(90)], -50, 70, until(90)),
            // A socket of the server's own.
            (Some(31), never, &[SOCKET], -50, 30, until(31)),
            (Some(31), never, &[SOCKET], -50, 31, Skip),
            (Some(31), never, &[SOCKET], 1, 2, Skip),
            (Some(31), never, &[SOCKET, SOCKET], -50, 2, until(31)),
            (Some(31), never, &[lost(30)], -50, 22, until(30)),
            (Some(31), never, &[lost(30)], -50, 30, Send),
            (Some(31), never, &[lost(39)], -50, 30, until(31)),
            (Some(31), never, &[lost(39)], -50, 31, until(39)),
            (Some(31), never, &[lost(39), SOCKET], -50, 31, Skip),
            (Some(31), never, &[lost(39)], -50, 39, Send),
            // It expires before.
            (Some(100), 50, &[leased(100)], -50, 1, until(50)),
            (Some(100), 50, &[leased(100)], -50, 50, Skip),
            (Some(31), 35, &[lost(39)], -50, 32, until(35)),
            (Some(31), 35, &[lost(39)], -50, 35, Skip),
            (Some(100), 50, &[], -50, 60, Send),
        ] {
            let held = held_until.map(|until| Hold { until: at(until), connected_at: Some(at(-50)) });
            let decision = decide(&on(), &user(connections, connected), held.as_ref(), at(ends_at), at(now));
            assert_eq!(decision, expected, "{held_until:?} {ends_at} {connections:?} {connected} {now}");
        }
        let unknown = Hold { until: at(100), connected_at: None };
        assert_eq!(
            decide(&on(), &user(&[leased(100)], -50), Some(&unknown), at(never), at(1)),
            Skip,
            "it has come since"
        );
    }

    #[test]
    fn looks_become_rare() {
        let (mut now, mut looks) = (at(0), vec![]);
        while now < at(120) {
            now = next_look(at(0), at(120), now);
            looks.push(now.since(at(0)).as_millis());
        }
        assert_eq!(
            looks,
            [1_000, 2_000, 3_000, 4_500, 6_750, 10_125, 15_187, 22_780, 34_170, 51_255, 76_882, 106_882, 120_000]
        );
    }
}
