//! What the webhook queue knows in memory: which services have webhooks to deliver, and how many of them are under way.

use std::collections::BTreeMap;
use std::time::Duration;

use reachability_domain::sid::ServiceSid;
use reachability_domain::time::Timestamp;

use super::queue::AT_ONCE;

/// How many webhooks of one service are under way at once.
const OF_ONE_SERVICE: usize = 16;

/// How many of all services.
const OF_ALL: usize = 256;

/// How many if services of which none is under way have one each, besides the others. So it takes as many slow receivers to
/// delay those of another service.
const WITH_FIRST_ONES: usize = 512;

/// For how long a service is left alone at most. Its receiver may be unavailable for longer, but what is tried next asks for the
/// URL again: its owner may have set another one, or a webhook of another service may have found this one available.
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// The services that have webhooks in the table.
#[derive(Debug, Default)]
pub(super) struct Turns {
    services: BTreeMap<ServiceSid, OfService>,
    /// How many are under way.
    under_way: usize,
    /// The service that had the last turn.
    last: Option<ServiceSid>,
}

#[derive(Debug, Default)]
struct OfService {
    /// How many webhooks are in the table.
    waiting: usize,
    /// When one that is not under way may be due; `None` if none is.
    next_due: Option<i64>,
    /// Until when none is to be tried.
    held_until: Option<Timestamp>,
    /// Whether the one under way is the first after a hold.
    is_trial: bool,
    under_way: Vec<i64>,
}

/// What to take of a service.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) service: ServiceSid,
    /// At most so many.
    pub(super) room: usize,
    /// Whether it is one to find out whether the receiver is available again.
    pub(super) is_trial: bool,
    /// Those that were taken before.
    pub(super) under_way: Vec<i64>,
}

impl OfService {
    /// How many more may be under way if so many of all services are.
    fn room(&self, of_all: usize) -> usize {
        match self.under_way.len() {
            1.. if self.is_trial => 0,
            0 if (OF_ALL..WITH_FIRST_ONES).contains(&of_all) => 1,
            under_way => OF_ONE_SERVICE.saturating_sub(under_way).min(OF_ALL.saturating_sub(of_all)),
        }
    }

    /// When something may be tried; `None` if there is nothing.
    fn is_ready_at(&self) -> Option<Timestamp> {
        let due_at = Timestamp::from_millis(self.next_due?);
        Some(self.held_until.map_or(due_at, |held_until| due_at.max(held_until)))
    }
}

impl Turns {
    /// What to take now. The services that are named count as having nothing due until they are said to again.
    pub(super) fn plan(&mut self, now: Timestamp) -> Vec<Plan> {
        let mut services: Vec<ServiceSid> = self.services.keys().copied().collect();
        let had_turns = services.partition_point(|service| Some(*service) <= self.last);
        services.rotate_left(had_turns);
        let mut plans = Vec::new();
        let mut under_way = self.under_way;
        for service in services {
            let Some(of_service) = self.services.get_mut(&service) else { continue };
            let room = of_service.room(under_way);
            if room == 0 || of_service.is_ready_at().is_none_or(|at| now < at) {
                continue;
            }
            let is_trial = of_service.held_until.is_some();
            let room = if is_trial { 1 } else { room };
            (of_service.next_due, of_service.held_until, of_service.is_trial) = (None, None, is_trial);
            under_way += room;
            plans.push(Plan { service, room, is_trial, under_way: of_service.under_way.clone() });
            self.last = Some(service);
        }
        plans
    }

    /// When there may be something to take, as far as there is room; `None` if not before something changes.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let with_room = self.services.values().filter(|of_service| of_service.room(self.under_way) > 0);
        with_room.filter_map(OfService::is_ready_at).min()
    }

    /// How many webhooks of a service are in the table, and which are under way.
    pub(super) fn waiting(&self, service: ServiceSid) -> (usize, Vec<i64>) {
        self.services.get(&service).map(|it| (it.waiting, it.under_way.clone())).unwrap_or_default()
    }

    /// How many webhooks are in the table.
    pub(super) fn all(&self) -> usize {
        self.services.values().map(|of_service| of_service.waiting).sum()
    }

    /// So many were added to the table.
    pub(super) fn added(&mut self, service: ServiceSid, webhooks: usize) {
        self.services.entry(service).or_default().waiting += webhooks;
    }

    /// So many were removed from the table.
    pub(super) fn removed(&mut self, service: ServiceSid, webhooks: usize) {
        if let Some(of_service) = self.services.get_mut(&service) {
            of_service.waiting = of_service.waiting.saturating_sub(webhooks);
        }
    }

    /// One is due at this time.
    pub(super) fn is_due(&mut self, service: ServiceSid, at: i64) {
        if let Some(of_service) = self.services.get_mut(&service) {
            of_service.next_due = Some(of_service.next_due.map_or(at, |next_due| next_due.min(at)));
        }
    }

    /// None is to be tried until this time, or for as long as a service may be held.
    pub(super) fn hold(&mut self, service: ServiceSid, until: Timestamp, now: Timestamp) {
        if let Some(of_service) = self.services.get_mut(&service) {
            of_service.held_until = of_service.held_until.max(Some(until.min(now.plus(LONGEST_HOLD))));
        }
    }

    /// Whatever was known of times is wrong: every service is looked at, and none is held back.
    pub(super) fn look_again(&mut self) {
        for of_service in self.services.values_mut() {
            of_service.held_until = None;
            of_service.next_due = Some(AT_ONCE);
        }
    }

    /// They can be tried again.
    pub(super) fn release(&mut self, service: ServiceSid) {
        if let Some(of_service) = self.services.get_mut(&service) {
            of_service.held_until = None;
        }
    }

    /// These are under way.
    pub(super) fn taken(&mut self, service: ServiceSid, ids: impl Iterator<Item = i64>) {
        if let Some(of_service) = self.services.get_mut(&service) {
            let before = of_service.under_way.len();
            of_service.under_way.extend(ids);
            self.under_way += of_service.under_way.len() - before;
        }
    }

    /// One that was taken is not under way any more.
    pub(super) fn settled(&mut self, service: ServiceSid, id: i64) {
        let Some(of_service) = self.services.get_mut(&service) else { return };
        of_service.is_trial = false;
        let before = of_service.under_way.len();
        of_service.under_way.retain(|known| *known != id);
        self.under_way -= before - of_service.under_way.len();
        if of_service.waiting == 0 && of_service.under_way.is_empty() {
            self.services.remove(&service);
        }
    }
}

#[cfg(test)]
mod tests {
    use reachability_domain::sid::Sid;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

    fn service(n: usize) -> ServiceSid {
        Sid::from_bits(n as u128)
    }

    /// Services with many webhooks that are due.
    fn with_services(count: usize) -> Turns {
        let mut turns = Turns::default();
        for n in 0..count {
            turns.added(service(n), 1_000);
            turns.is_due(service(n), 0);
        }
        turns
    }

    /// Takes all that there is room for. Returns how many of each service.
    fn take(turns: &mut Turns) -> Vec<(ServiceSid, usize)> {
        let plans = turns.plan(NOW);
        for plan in &plans {
            let first = 1_000 * plan.service.bits() as i64 + plan.under_way.len() as i64;
            turns.taken(plan.service, first..first + plan.room as i64);
            turns.is_due(plan.service, 0);
        }
        plans.into_iter().map(|plan| (plan.service, plan.room)).collect()
    }

    #[test]
    fn a_service_whose_receiver_is_slow_leaves_room_for_others() {
        let mut turns = with_services(1);
        assert_eq!(take(&mut turns), [(service(0), 16)]);
        assert_eq!((take(&mut turns), turns.next_due()), (vec![], None), "no more until one is settled");
        turns.settled(service(0), 5);
        assert_eq!(turns.next_due(), Some(Timestamp::from_millis(0)));
        assert_eq!(take(&mut turns), [(service(0), 1)]);
    }

    #[test]
    fn many_slow_receivers_leave_room_for_the_first_webhook_of_others() {
        let mut turns = with_services(16);
        assert!(take(&mut turns).iter().all(|(_, room)| *room == 16));
        for n in 100..400 {
            turns.added(service(n), 1);
            turns.is_due(service(n), 0);
        }
        let taken = take(&mut turns);
        assert!(taken.iter().all(|(service, room)| service.bits() >= 100 && *room == 1));
        assert_eq!(taken.len(), 256);
        assert_eq!(take(&mut turns), []);
        // Whoever had no turn has the next one.
        turns.settled(service(100), 100_000);
        turns.is_due(service(100), 0);
        assert_eq!(take(&mut turns), [(service(356), 1)]);
    }

    #[test]
    fn a_service_that_is_held_waits() {
        let later = NOW.plus(Duration::from_secs(1));
        let mut turns = with_services(2);
        turns.hold(service(0), later, NOW);
        assert_eq!(take(&mut turns), [(service(1), 16)]);
        assert_eq!(turns.next_due(), Some(later));
        turns.release(service(0));
        assert_eq!(take(&mut turns), [(service(0), 16)]);
    }

    #[test]
    fn a_service_is_not_held_for_long() {
        let mut turns = with_services(1);
        turns.hold(service(0), NOW.plus(Duration::from_secs(60)), NOW);
        assert_eq!(turns.next_due(), Some(NOW.plus(LONGEST_HOLD)));
    }

    #[test]
    fn after_a_hold_there_is_one_trial() {
        let mut turns = with_services(1);
        turns.hold(service(0), NOW, NOW);
        assert_eq!(take(&mut turns), [(service(0), 1)]);
        assert_eq!((take(&mut turns), turns.next_due()), (vec![], None), "the others wait for its outcome");
        turns.settled(service(0), 0);
        assert_eq!(take(&mut turns), [(service(0), 16)]);
    }

    #[test]
    fn nothing_is_kept_of_a_service_without_webhooks() {
        let mut turns = with_services(1);
        take(&mut turns);
        turns.removed(service(0), 1_000);
        (0..16).for_each(|id| turns.settled(service(0), id));
        assert!(turns.services.is_empty());
        assert_eq!(turns.under_way, 0);
    }
}
