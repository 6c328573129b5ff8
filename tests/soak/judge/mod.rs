//! Compares what can be seen in the end with what was acknowledged.

mod told;
mod users;
mod views;

use std::path::Path;
use std::time::{Duration, Instant};

use reachability_tests::command::{reachability, run};
use rusqlite::Connection;
use tokio::time::sleep;

use self::users::Shown;
use crate::devices::Devices;
use crate::ledger::Key;
use crate::pushes::Phones;
use crate::talkers::Talkers;
use crate::world::{LOG_ROWS, SERVICES, World};

/// How long it may take until all is quiet: leases end, a connection that was lost under a clock that was ahead is given up,
/// and what failed is tried again.
const PATIENCE: Duration = Duration::from_secs(75);

/// By how many rows the log of changes may be too long before that is noticed.
const LOG_SLACK: usize = 1_000;

/// How many webhooks of all services may wait. That all were told was judged before; the devices that left since then lead to
/// some more.
const WAITING_WEBHOOKS: usize = 100_000 * SERVICES;

/// Something that differs, of a user if it is one's.
type Difference = (Option<Key>, String);

/// Waits until all is as it should be, restarts the server, and waits again. What is still different then is wrong.
pub(crate) async fn settled(world: &World, devices: &Devices, talkers: &Talkers, phones: &Phones) {
    settle(world, devices, talkers, None).await;
    // What is due later is due now, as if the time had passed.
    world.end("TERM").await;
    pass_time(&world.data());
    world.start().await;
    world.say("the server is started for the last time");
    phones.notify_all(world).await;
    settle(world, devices, talkers, Some(phones)).await;
    told::judge(world).await;
}

async fn settle(world: &World, devices: &Devices, talkers: &Talkers, phones: Option<&Phones>) {
    let until = Instant::now() + PATIENCE;
    loop {
        let differences = differences(world, devices, talkers, phones).await;
        if differences.is_empty() {
            return;
        }
        if Instant::now() > until {
            for (key, what) in differences.iter().take(20) {
                match key {
                    Some(key) => world.complain_of(key, what),
                    None => world.complain(what.clone()),
                }
            }
            return world.complain(format!("{} differences are left", differences.len()));
        }
        sleep(Duration::from_millis(300)).await;
    }
}

async fn differences(world: &World, devices: &Devices, talkers: &Talkers, phones: Option<&Phones>) -> Vec<Difference> {
    let shown = Shown::read(world).await;
    let mut differences = users::differences(world, &shown);
    differences.extend(views::of_devices(world, devices, &shown));
    differences.extend(views::of_talkers(world, talkers, &shown));
    if let Some(phones) = phones {
        let (of_phones, count) = phones.differences(world);
        world.checked("notifications that phones show", count);
        differences.extend(of_phones.into_iter().map(|(key, what)| (Some(key), what)));
        differences.extend(told::differences(world, &shown));
    }
    differences
}

/// What was put off is tried again at once: a webhook or a push that has failed often waits for many minutes.
fn pass_time(data: &Path) {
    let database = Connection::open(data.join("reachability.db")).unwrap();
    database.execute("UPDATE webhooks SET due_at = 0 WHERE due_at IS NOT NULL", []).unwrap();
    database.execute("UPDATE messages SET due_at = 0 WHERE lane = 1", []).unwrap();
}

/// Stops the server, and looks at what it leaves behind.
pub(crate) async fn stopped(world: &World) {
    world.end("TERM").await;
    let data = world.data();
    let data = data.to_str().unwrap();
    for (arguments, says) in [(&["check"][..], "nothing found: "), (&["dead-letters", "list"], "")] {
        let outcome = run(&mut reachability(&[arguments, &["--data-dir", data]].concat()), b"");
        let is_right = outcome.code == Some(0) && outcome.stderr.is_empty() && outcome.stdout.starts_with(says);
        world.say(&format!("{}: {}", arguments.join(" "), outcome.stdout.trim()));
        if !is_right {
            world.complain(format!("{arguments:?}: {outcome:?}"));
        }
    }
    let database = Connection::open(world.data().join("reachability.db")).unwrap();
    let rows = |table: &str| {
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, usize>(0)).unwrap()
    };
    for (table, most) in [("feed", LOG_ROWS + LOG_SLACK), ("webhooks", WAITING_WEBHOOKS), ("dead_letters", 0)] {
        let rows = rows(table);
        world.say(&format!("rows of {table}: {rows}"));
        if rows > most {
            world.complain(format!("{table} has {rows} rows, and at most {most} are right"));
        }
    }
}
