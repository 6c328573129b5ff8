//! What happened, as it is printed at the end.

use crate::files::Sizes;
use crate::world::World;

/// What must have happened, or else the soak has tested nothing.
const NEEDED: [&str; 12] = [
    "changes streamed",
    "events accepted",
    "events of the flood accepted",
    "floods",
    "full disks",
    "kills",
    "notifications acknowledged",
    "requests answered with 503",
    "sessions of /v1/Socket",
    "stops",
    "Twilsock sessions",
    "webhooks repeated",
];

/// Prints it, and returns whether all was right.
pub(crate) fn print(world: &World, seconds: u64, sizes: &Sizes) -> bool {
    println!("\n| what happened in {seconds} s, with the seed {} | |\n|---|--:|", world.seed);
    let counts = world.counts();
    for (what, count) in &counts {
        println!("| {what} | {count} |");
    }
    println!("\n| what was compared | |\n|---|--:|");
    for (what, count) in &world.checks() {
        println!("| {what} | {count} |");
    }
    println!("\n| file | at most | limit |\n|---|--:|--:|");
    for (file, most) in &*sizes.files.borrow() {
        let limit = Sizes::limit(world, file);
        println!("| {file} | {} | {} |", kib(*most), limit.map_or("unknown".to_owned(), kib));
        if limit.is_none_or(|limit| *most > limit) {
            world.complain(format!("{file} had {most} bytes, and {limit:?} are right"));
        }
    }
    let [begin, most, end] = [0, 1, 2].map(|n| sizes.memory[n].get() / 1_024);
    println!("\nmemory of the server: {begin} MiB at the beginning, {most} MiB at most, {end} MiB at the end");
    for needed in NEEDED.iter().filter(|needed| counts.get(**needed).is_none_or(|count| *count == 0)) {
        world.complain(format!("too little happened: no {needed}"));
    }
    match world.wrong() {
        0 => println!("seed {}: all was right", world.seed),
        wrong => println!("seed {}: {wrong} things were wrong; the lines with WRONG say which", world.seed),
    }
    world.wrong() == 0
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1_024))
}
