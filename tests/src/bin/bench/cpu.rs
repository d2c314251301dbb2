//! Scripts that calculate: what isolation takes from them.
//!
//! Each runs in turns
//! * bare: the same V8 without sandbox or fork, in one process for all rounds, in which memory that
//!   one script gave back is warm for the next;
//! * fresh: the same, in a process that has run nothing but `1` before;
//! * isolated: through the pool, forked, with the sandbox required.
//!
//! Times are those a caller sees: from a ready process until the isolate, or the process, is gone.

use std::time::{Duration, Instant};

use mcp_v8_supervisor::pool::{Pool, Processes};
use mcp_v8_tests::cpu_seconds;

use crate::Options;
use crate::bare::Bare;
use crate::load::{ms, run_in, start_pool};

const SCRIPTS: &[(&str, &str)] = &[
    ("recursion", include_str!("cpu/recursion.js")),
    ("garbage", include_str!("cpu/garbage.js")),
    ("JSON", include_str!("cpu/json.js")),
    ("floats", include_str!("cpu/floats.js")),
    ("collections", include_str!("cpu/collections.js")),
    ("strings", include_str!("cpu/strings.js")),
    ("regexps", include_str!("cpu/regexps.js")),
    ("big-ints", include_str!("cpu/big-ints.js")),
    ("sorting", include_str!("cpu/sorting.js")),
];

/// One run.
#[derive(Default, Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu_secs: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu_secs += other.cpu_secs;
    }
}

/// The three runs of one round.
#[derive(Default, Clone, Copy)]
struct Round {
    bare: Cost,
    fresh: Cost,
    isolated: Cost,
}

/// Prints a table.
pub async fn run(options: &Options) {
    let pool = start_pool(Processes::Fork, true, 1);
    let mut bare = Bare::start();
    let scripts: Vec<_> = SCRIPTS.iter().filter(|(name, _)| options.chosen(name)).collect();
    let mut all: Vec<Vec<Round>> = scripts.iter().map(|_| Vec::new()).collect();
    // The first round is not counted.
    for counted in (0..=options.rounds).map(|round| round > 0) {
        for ((name, code), rounds) in scripts.iter().zip(&mut all) {
            let (result, isolated) = isolated(&pool, code).await;
            assert!(result.is_some(), "{name} has a result to compare");
            let (same, bare) = in_process(&mut bare, code);
            assert_eq!(same, result, "{name}");
            let mut process = Bare::start();
            process.run("1");
            let (same, fresh) = in_process(&mut process, code);
            assert_eq!(same, result, "{name}");
            if counted {
                rounds.push(Round { bare, fresh, isolated });
            }
        }
    }
    pool.stop().await;
    println!("{} rounds, in turns", options.rounds);
    println!();
    println!(
        "| script | bare ms | fresh ms | isolated ms | isolated / bare | isolated / fresh | CPU: isolated / bare |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut totals = vec![Round::default(); options.rounds];
    for ((name, _), rounds) in scripts.iter().zip(&all) {
        print(name, rounds);
        for (total, round) in totals.iter_mut().zip(rounds) {
            total.bare += round.bare;
            total.fresh += round.fresh;
            total.isolated += round.isolated;
        }
    }
    print("all", &totals);
}

/// Runs a script in a worker. The CPU time is that of all the pool does meanwhile.
async fn isolated(pool: &Pool, code: &str) -> (Option<String>, Cost) {
    let cpu = cpu_seconds(std::process::id());
    let (result, wall) = run_in(pool, code).await;
    (result, Cost { wall, cpu_secs: cpu_seconds(std::process::id()) - cpu })
}

/// Runs a script in a process without isolation.
fn in_process(bare: &mut Bare, code: &str) -> (Option<String>, Cost) {
    let (cpu, begun) = (cpu_seconds(bare.pid()), Instant::now());
    let result = bare.run(code);
    (result, Cost { wall: begun.elapsed(), cpu_secs: cpu_seconds(bare.pid()) - cpu })
}

/// Medians of the times, and of what each round says of their ratio: neighbours in time are compared,
/// since a machine is not as fast at all times. CPU time is counted in steps that are coarse for one
/// run, so its ratio is that of the sums.
fn print(name: &str, rounds: &[Round]) {
    let wall = |of: fn(&Round) -> Cost| median(rounds.iter().map(|round| ms(of(round).wall)));
    let ratio = |to: fn(&Round) -> Cost| {
        median(rounds.iter().map(|round| ms(round.isolated.wall) / ms(to(round).wall)))
    };
    let cpu = |of: fn(&Round) -> Cost| rounds.iter().map(|round| of(round).cpu_secs).sum::<f64>();
    println!(
        "| {name} | {:.0} | {:.0} | {:.0} | {:.3} | {:.3} | {:.3} |",
        wall(|round| round.bare),
        wall(|round| round.fresh),
        wall(|round| round.isolated),
        ratio(|round| round.bare),
        ratio(|round| round.fresh),
        cpu(|round| round.isolated) / cpu(|round| round.bare),
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
