//! Readers of the streams of changes, who come back after a cut where they were.

use std::time::Duration;

use futures_util::future::join_all;
use reachability_tests::changes::changes_after;
use reachability_tests::stream::Stream;
use tokio::time::sleep;

use crate::world::{SERVICES, World};

/// The position of each service's stream.
pub(crate) struct Listeners(Vec<u64>);

/// Reads what the log has already.
pub(crate) async fn begin(world: &World) -> Listeners {
    let mut positions = vec![];
    for service in 0..SERVICES {
        let (changes, position) = changes_after(&world.owner, &world.services[service], None).await;
        world.changes[service].borrow_mut().extend(changes);
        positions.push(position);
    }
    Listeners(positions)
}

impl Listeners {
    /// Reads the streams until everything is judged.
    pub(crate) async fn listen(&self, world: &World) {
        join_all(self.0.iter().enumerate().map(|(service, position)| listen(world, service, *position))).await;
    }
}

async fn listen(world: &World, service: usize, mut last: u64) {
    let done = async {
        while !world.is_done.get() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let read = async {
        loop {
            match Stream::open(&world.owner, &world.services[service], "", Some(last)).await {
                Ok(mut stream) => {
                    world.count("streams opened", 1);
                    while let Some(sent) = stream.next().await {
                        last = sent.id.unwrap_or(last);
                        if sent.event.is_none() && sent.id.is_some() {
                            world.changes[service].borrow_mut().push(sent.change());
                            world.count("changes streamed", 1);
                        }
                    }
                }
                // There is no server, or it cannot serve now.
                Err(0 | 503) => {}
                Err(status) => world.complain(format!("the stream after {last} is answered with {status}")),
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = done => {}
        () = read => {}
    }
}
