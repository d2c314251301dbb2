//! What three nodes still do when one of them is killed, stopped, behind, restarted or frozen. Each
//! row says what was measured, what is promised, and under which load.

mod balance;
mod behind;
mod freeze;
mod kill;
mod stop;
mod writers;

use std::fmt::Display;
use std::time::Duration;

use crate::Options;
use crate::load::{at_share, ms};

/// A row of the table: what, the value, the promise, and the load it was measured under.
fn row(what: &str, value: impl Display, target: &str, load: impl Display) {
    println!("| {what} | {value} | {target} | {load} |");
}

/// Median, 99th percentile and worst of some times, in milliseconds.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let worst = times.last().copied().unwrap_or_default();
    format!(
        "p50 {:.0} ms, p99 {:.0} ms, worst {:.0} ms",
        ms(at_share(times, 0.50)),
        ms(at_share(times, 0.99)),
        ms(worst)
    )
}

/// The middle one.
fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

/// Prints a table.
pub async fn run(options: &Options) {
    println!("| what | value | promised | load |");
    println!("|---|---|---|---|");
    if options.chosen("leader killed") {
        kill::run(options.kills).await;
    }
    if options.chosen("leader stopped") {
        stop::run(options.stops).await;
    }
    if options.chosen("follower frozen") {
        freeze::run(options.freezes, options.time).await;
    }
    if options.chosen("behind") {
        behind::catch_up(options.behind).await;
    }
    if options.chosen("restart") {
        behind::restart(options.entries).await;
    }
}
