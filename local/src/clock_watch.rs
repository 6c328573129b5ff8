//! Notices that the time of day was set, by the monotonic clock beside it.
//!
//! The rules read the time of day, which every store and every gateway has, so what waits for a time waits by that clock. When it
//! is set ahead, what is due by the new time happens at once. When it is set back, what waits is made due as much sooner, so it
//! waits no longer than it would have.
//!
//! Slewing, as of NTP, is no step. The monotonic clock of Linux stands still while the machine sleeps, so waking up looks as if
//! the clock were set ahead. That is right: leases have run out meanwhile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reachability_domain::metrics::{Counter, Metrics};
use reachability_domain::store::StoreError;
use reachability_domain::time::Timestamp;
use reachability_infra::clock;
use reachability_infra::sqlite::{Database, DoneSooner, EventQueue, PushQueue, WebhookQueue};
use tokio::time::sleep;
use tracing::warn;

use crate::consumer::pause;

/// How often the clocks are compared.
const EVERY: Duration = Duration::from_secs(1);

/// The smallest difference that is a step, in milliseconds. NTP corrects less than 128 ms in one step without being told to.
const STEP: i64 = 1_000;

/// How often what comes late is looked for after a step back.
const LOOKS: u32 = 60;

/// How long it may take to read both clocks.
const TOGETHER: Duration = Duration::from_millis(100);

/// What waits for a time of day.
pub(crate) struct Queues {
    pub(crate) database: Database,
    pub(crate) events: EventQueue,
    pub(crate) pushes: PushQueue,
    pub(crate) webhooks: WebhookQueue,
}

/// Looks at the clocks for ever.
pub(crate) async fn run(queues: Queues, metrics: Arc<dyn Metrics>) -> Infallible {
    let (mut clocks, mut set_back) = (Clocks::read(), None);
    loop {
        sleep(EVERY).await;
        let now = Clocks::read();
        let step = now.step_since(&clocks);
        clocks = now;
        let by = Duration::from_millis(step.unsigned_abs());
        if step != 0 {
            metrics.add(Counter::ClockSteps);
        }
        if step > 0 {
            warn!(seconds = by.as_secs_f64(), "the clock was set ahead, or the machine was asleep");
        } else if step < 0 {
            warn!(seconds = by.as_secs_f64(), "the clock was set back");
            set_back = Some(SetBack { by, looks: 0, done: DoneSooner::default() });
        }
        let mut is_changed = step != 0;
        if let Some(it) = &mut set_back {
            match it.follow(&queues.database, now.time_of_day).await {
                Ok(any) => is_changed |= any,
                Err(error) => pause(&error).await,
            }
        }
        if is_changed {
            queues.events.look_again();
            queues.pushes.look_again();
            queues.webhooks.look_again();
        }
        set_back = set_back.filter(|it| it.looks <= LOOKS);
    }
}

/// What is done after the clock was set back. What was on its way then reads the old time, and is written only later.
struct SetBack {
    by: Duration,
    /// How often this was done.
    looks: u32,
    done: DoneSooner,
}

impl SetBack {
    /// Makes what waits due sooner. Returns whether that may be anything. After a failure it goes on the next time.
    async fn follow(&mut self, database: &Database, now: Timestamp) -> Result<bool, StoreError> {
        if self.looks < 2 {
            self.done = database.make_due_sooner(self.by, self.done).await?;
        }
        let late = database.make_late_ones_due(now, self.done).await?;
        self.looks += 1;
        Ok(self.looks <= 2 || late > 0)
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    monotonic: Instant,
    time_of_day: Timestamp,
}

impl Clocks {
    fn read() -> Self {
        loop {
            let clocks = Self { monotonic: Instant::now(), time_of_day: clock::now() };
            // If the process was interrupted in between, they are of different moments.
            if clocks.monotonic.elapsed() < TOGETHER {
                return clocks;
            }
        }
    }

    /// By how many milliseconds the time of day was set ahead in between, or back if negative; zero if it was not.
    fn step_since(&self, earlier: &Self) -> i64 {
        let passed = i64::try_from(self.monotonic.duration_since(earlier.monotonic).as_millis()).unwrap_or(i64::MAX);
        let step = self.time_of_day.as_millis() - earlier.time_of_day.as_millis() - passed;
        if step.abs() < STEP { 0 } else { step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_second_or_more_is_a_step() {
        let (start, noon) = (Instant::now(), Timestamp::from_millis(1_795_132_800_000));
        let clocks = |passed: u64, shown: i64| Clocks {
            monotonic: start + Duration::from_millis(passed),
            time_of_day: Timestamp::from_millis(noon.as_millis() + shown),
        };
        for (passed, shown, step) in [
            (1_000, 1_000, 0),
            (1_000, 1_999, 0),
            (1_000, 1, 0),
            (1_000, 2_000, 1_000),
            (1_000, 0, -1_000),
            (60_000, 3_660_000, 3_600_000),
            (1_000, -7_199_000, -7_200_000),
        ] {
            assert_eq!(clocks(passed, shown).step_since(&clocks(0, 0)), step, "{passed} {shown}");
        }
    }
}
