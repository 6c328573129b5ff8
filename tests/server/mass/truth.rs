//! What the clients of a test did, and what anybody may see because of it.

use std::time::Duration;

use tokio::time::Instant;

/// The settings of a server from which its bounds follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) ping: u64,
    pub(super) grace: u64,
    pub(super) restart_grace: u64,
}

impl Bounds {
    /// The arguments of a server with these settings.
    pub(super) fn arguments(self) -> Vec<String> {
        let settings = [
            ("--ping-seconds", self.ping),
            ("--grace-seconds", self.grace),
            ("--restart-grace-seconds", self.restart_grace),
        ];
        settings.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]).collect()
    }

    /// From the last sign of a client until the server gives it up.
    pub(super) fn silence(self) -> Duration {
        // The documented wait for an answer: 3/7 of the ping's, in whole seconds, and at most ten.
        Duration::from_secs(self.ping + (self.ping * 3).div_ceil(7).min(10))
    }

    pub(super) fn grace(self) -> Duration {
        Duration::from_secs(self.grace)
    }

    pub(super) fn restart_grace(self) -> Duration {
        Duration::from_secs(self.restart_grace)
    }

    /// From a cut cable to offline.
    pub(super) fn lost(self) -> Duration {
        self.silence() + self.grace()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    Goodbye,
    /// The connection was closed without a word, by the client or by a server that stops.
    Lost,
    /// The client neither reads nor writes any more.
    Frozen,
}

/// A connection of a user, on the driver's clock.
#[derive(Debug, Clone, Copy)]
struct Connection {
    /// A gateway reports it over REST.
    is_reported: bool,
    /// It was not open before.
    began: Instant,
    /// It was open by then.
    joined: Option<Instant>,
    ended: Option<(Instant, End)>,
    /// By then, the user's next connection may have taken its place.
    replaced: Option<Instant>,
}

/// A restart of the server: its end, and the start and the end of the next one's start.
#[derive(Debug, Clone, Copy)]
struct Restart {
    stopped: Instant,
    started: Option<Instant>,
    ready: Option<Instant>,
}

/// Names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) user: usize,
    index: usize,
}

/// What happened.
#[derive(Debug)]
pub(super) struct Truth {
    bounds: Bounds,
    users: Vec<Vec<Connection>>,
    restarts: Vec<Restart>,
}

impl Truth {
    pub(super) fn new(bounds: Bounds, users: usize) -> Self {
        Self { bounds, users: vec![vec![]; users], restarts: vec![] }
    }

    /// A client begins to open a connection.
    pub(super) fn begin(&mut self, user: usize) -> Number {
        self.add(user, false)
    }

    /// A gateway begins to report a connection.
    pub(super) fn begin_reported(&mut self, user: usize) -> Number {
        self.add(user, true)
    }

    fn add(&mut self, user: usize, is_reported: bool) -> Number {
        let began = Instant::now();
        self.users[user].push(Connection { is_reported, began, joined: None, ended: None, replaced: None });
        Number { user, index: self.users[user].len() - 1 }
    }

    /// Its `init`, or the report of it, was accepted.
    pub(super) fn joined(&mut self, number: Number) {
        self.connection(number).joined = Some(Instant::now());
    }

    /// It ends. Only the first end counts.
    pub(super) fn ended(&mut self, number: Number, end: End) {
        self.ended_at(number, end, Instant::now());
    }

    /// The same, at this time.
    pub(super) fn ended_at(&mut self, number: Number, end: End, at: Instant) {
        self.connection(number).ended.get_or_insert((at, end));
    }

    /// A connection takes the place of an earlier one. If it never came to that, the server may have done so all the same.
    pub(super) fn replaced(&mut self, earlier: Number, by: Number) {
        let by = *self.connection(by);
        self.connection(earlier).replaced = Some(by.joined.unwrap_or(by.began));
    }

    pub(super) fn stopped(&mut self) {
        self.restarts.push(Restart { stopped: Instant::now(), started: None, ready: None });
    }

    pub(super) fn started(&mut self) {
        self.restarts.last_mut().unwrap().started = Some(Instant::now());
    }

    pub(super) fn ready(&mut self) {
        self.restarts.last_mut().unwrap().ready = Some(Instant::now());
    }

    /// Whether a server is running.
    pub(super) fn is_running(&self) -> bool {
        self.restarts.last().is_none_or(|restart| restart.ready.is_some())
    }

    /// Whether the server ran all this time.
    pub(super) fn ran(&self, from: Instant, to: Instant) -> bool {
        self.restarts.iter().all(|restart| to < restart.stopped || restart.ready.is_some_and(|ready| ready < from))
    }

    fn connection(&mut self, number: Number) -> &mut Connection {
        &mut self.users[number.user][number.index]
    }

    /// Whether the user may be seen online at this time, by what is promised: the last moment at which a connection counts is
    /// its end and the stated bound.
    pub(super) fn may_be_online(&self, user: usize, at: Instant, slack: Duration) -> bool {
        self.users[user]
            .iter()
            .any(|connection| connection.began <= at && at <= self.counts_until(connection, at) + slack)
    }

    fn counts_until(&self, connection: &Connection, now: Instant) -> Instant {
        let Some((ended, end)) = connection.ended else { return now };
        let (unnoticed, bound) = match end {
            End::Goodbye => (Duration::ZERO, Duration::ZERO),
            End::Lost => (Duration::ZERO, self.bounds.grace()),
            End::Frozen => (self.bounds.silence(), self.bounds.lost()),
        };
        // If the server stopped before it had noticed the end, or dealt with it, the next one ends the connection.
        let noticed = ended + unnoticed + Duration::from_secs(1);
        let next = self.restarts.iter().filter(|restart| restart.stopped <= noticed.max(ended + bound));
        let next = next.filter_map(|restart| match restart.ready {
            Some(ready) if ready < ended => None,
            Some(ready) => Some(ready + self.bounds.restart_grace()),
            None => Some(now),
        });
        next.fold(ended + bound, Instant::max)
    }

    /// Whether the user must have been online all this time: no pause between two connections was longer than is promised.
    /// Reachability is on since then: a connection that had ended before does not count.
    pub(super) fn was_held(&self, user: usize, from: Instant, to: Instant, enabled: Instant) -> bool {
        let counts = |connection: &&Connection| {
            // What ends then may have ended before.
            let ends_later = connection.ended.is_none_or(|(ended, _)| enabled + Duration::from_secs(1) < ended);
            // One that is reported is known again only when it is renewed.
            ends_later && (!connection.is_reported || enabled < connection.began)
        };
        let mut spans: Vec<(Instant, Instant)> = self.users[user]
            .iter()
            .filter(counts)
            .filter_map(|connection| Some((self.holds_from(connection)?, self.holds_until(connection, to))))
            .collect();
        spans.sort_unstable();
        let mut reached = from;
        for (start, end) in spans {
            if start <= reached {
                reached = reached.max(end);
            }
        }
        // A pause that ends exactly then.
        reached >= to
    }

    fn holds_from(&self, connection: &Connection) -> Option<Instant> {
        let mut from = connection.joined?;
        // What is accepted over REST waits in a queue, also while the server is away.
        for restart in self.restarts.iter().filter(|_| connection.is_reported) {
            if restart.stopped <= from + Duration::from_secs(1) {
                from = from.max(restart.ready? + Duration::from_secs(1));
            }
        }
        Some(from)
    }

    fn holds_until(&self, connection: &Connection, now: Instant) -> Instant {
        let Some((ended, end)) = connection.ended else { return now };
        // The server rounds to milliseconds.
        let early = Duration::from_millis(100);
        let held = match end {
            End::Goodbye => ended,
            End::Lost | End::Frozen => ended + self.bounds.grace() - early,
        };
        // Those of a server that stops wait for the next one.
        let with_server = self.restarts.iter().find(|restart| {
            end != End::Goodbye && restart.stopped <= ended && restart.ready.is_none_or(|ready| ended < ready)
        });
        let held = match with_server {
            Some(Restart { started: Some(started), .. }) => held.max(*started + self.bounds.restart_grace() - early),
            Some(Restart { started: None, .. }) => now,
            None => held,
        };
        connection.replaced.map_or(held, |replaced| held.min(replaced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { ping: 14, grace: 10, restart_grace: 30 };

    #[test]
    fn the_default_bound_is_thirty_seconds() {
        assert_eq!(BOUNDS.lost(), Duration::from_secs(30));
        assert_eq!(Bounds { ping: 4, grace: 4, ..BOUNDS }.lost(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_longer_than_the_grace_period_is_one() {
        let mut truth = Truth::new(BOUNDS, 1);
        let at = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let enabled = Instant::now();
        at(2).await;
        let start = Instant::now();
        let first = truth.begin(0);
        truth.joined(first);
        at(5).await;
        truth.ended(first, End::Lost);
        at(5).await;
        let second = truth.begin(0);
        truth.joined(second);
        truth.replaced(first, second);
        at(5).await;
        let now = Instant::now();
        assert!(truth.was_held(0, start, now, enabled));
        truth.ended(second, End::Goodbye);
        at(5).await;
        assert!(!truth.was_held(0, start, Instant::now(), enabled));
        assert!(!truth.may_be_online(0, Instant::now(), Duration::from_secs(1)));
        assert!(truth.may_be_online(0, now, Duration::ZERO));
        // One that is lost counts for as long as that may take to find out.
        let third = truth.begin(0);
        truth.joined(third);
        truth.ended(third, End::Frozen);
        at(29).await;
        assert!(truth.may_be_online(0, Instant::now(), Duration::ZERO));
        at(2).await;
        assert!(!truth.may_be_online(0, Instant::now(), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_leaves_time_to_come_back() {
        let mut truth = Truth::new(BOUNDS, 1);
        let enabled = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let start = Instant::now();
        let number = truth.begin(0);
        truth.joined(number);
        truth.stopped();
        truth.ended(number, End::Lost);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(!truth.is_running());
        truth.started();
        truth.ready();
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(truth.was_held(0, start, Instant::now(), enabled));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!truth.was_held(0, start, Instant::now(), enabled));
        assert!(!truth.may_be_online(0, Instant::now(), Duration::ZERO));
        assert!(truth.may_be_online(0, Instant::now(), Duration::from_secs(1)));
    }
}
