//! What one execution of `1+1` costs: without isolation, over the worker pool alone (take a worker,
//! run, process gone), and over HTTP. Then what is held in memory meanwhile.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_v8_supervisor::pool::Processes;
use mcp_v8_tests::Server;
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::load::{Row, measure, ms, run_in, start_pool};
use crate::{Options, memory};

const SCRIPT: &str = "1+1";
const RESULT: &str = "2";
const STARTS: usize = 20;

/// The ways a process for a script comes to be, and whether it has an isolate before its job.
const WAYS: &[((Processes, bool), &str)] = &[
    ((Processes::Fork, true), "forked with its isolate"),
    ((Processes::Fork, false), "forked without an isolate"),
    ((Processes::Exec, true), "started from the program"),
];

/// Prints all of it.
pub async fn run(options: &Options) {
    if options.chosen("start") {
        start().await;
    }
    println!("{}", Row::HEAD);
    let name = "no isolation: fresh isolate and context in one process, 1 at once";
    if options.chosen(name) {
        in_process(name.to_owned(), options.time).await.print();
    }
    for (way, name) in WAYS {
        for clients in [1, 2] {
            let name = format!("pool, {name}, {clients} at once");
            if options.chosen(&name) {
                pool(name, *way, clients, options.time).await.print();
            }
        }
    }
    for (flags, kept) in [(&[][..], "kept on disk"), (&["--stateless"][..], "--stateless")] {
        for (clients, name) in [(1, "1 client"), (16, "16 clients")] {
            let name = format!("POST /api/exec?wait, {kept}, {name}");
            if options.chosen(&name) {
                http(name, flags, clients, options.time).await.print();
            }
        }
    }
    if options.chosen("memory") {
        println!();
        memory::run().await;
    }
}

/// Time from starting the server to its first "ready".
async fn start() {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        drop(Server::start(&[]).await);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!(
        "start to ready: median {:.0} ms, worst {:.0} ms of {STARTS}",
        ms(times[STARTS / 2]),
        ms(times[STARTS - 1])
    );
    println!();
}

/// What a server that runs scripts in its own process would pay.
async fn in_process(name: String, time: Duration) -> Row {
    let bare = Bare::start();
    let pid = bare.pid();
    let bare = Arc::new(Mutex::new(bare));
    let inner = Arc::clone(&bare);
    let once = move || {
        let bare = Arc::clone(&inner);
        async move { assert_eq!(bare.lock().unwrap().run(SCRIPT).as_deref(), Some(RESULT)) }
    };
    let row = measure(name, pid, 1, time, once).await;
    // It lives until its CPU time has been read.
    drop(bare);
    row
}

/// The pool inside this process: dispatch to result, process gone.
async fn pool(name: String, how: (Processes, bool), clients: usize, time: Duration) -> Row {
    let pool = start_pool(how.0, how.1, clients.max(2));
    let inner = pool.clone();
    let once = move || {
        let pool = inner.clone();
        async move { assert_eq!(run_in(&pool, SCRIPT).await.0.as_deref(), Some(RESULT)) }
    };
    let row = measure(name, std::process::id(), clients, time, once).await;
    pool.stop().await;
    row
}

/// A server of its own, over HTTP.
async fn http(name: String, flags: &[&str], clients: usize, time: Duration) -> Row {
    let server = Server::start(flags).await;
    let (client, url) = (server.client.clone(), format!("{}/api/exec?wait=30", server.url));
    let once = move || {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let request = client.post(&url).json(&json!({ "code": SCRIPT }));
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["result"], RESULT, "{answer}");
        }
    };
    measure(name, server.pid(), clients, time, once).await
}
