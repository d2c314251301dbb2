//! What the MAC of a frame between nodes costs: to write one and to take it, with a secret and
//! without. Figures are in docs/performance.md.
//!
//!   cargo run --release -p mcp-v8-cluster --example frame_mac

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use mcp_v8_cluster::auth::Secret;
use mcp_v8_cluster::auth::session::{Greeting, Seals};
use mcp_v8_cluster::net::frame::{Frame, FrameReader};

/// How long each line is measured.
const TIME: Duration = Duration::from_millis(500);

fn seals() -> (Seals, Seals) {
    let secret = Secret::new(&[1; 32]).unwrap();
    let greeting = Greeting {
        caller_nonce: &[1; 16],
        caller_hello: b"caller",
        called_nonce: &[2; 16],
        called_hello: b"called",
    };
    (greeting.caller_seals(&secret).unwrap(), greeting.called_seals(&secret).unwrap())
}

/// Microseconds to write and to take a frame of so many bytes.
async fn measure(bytes: usize, sealed: bool) -> (f64, f64) {
    let (caller, called) = seals();
    let mut sends = sealed.then_some(caller.sends);
    let mut receives = sealed.then_some(called.receives);
    let frame = Frame { call: 1, body: vec![7; bytes] };
    let (mut wrote, mut took, mut frames) = (Duration::ZERO, Duration::ZERO, 0_u32);
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        const TOGETHER: u32 = 8;
        let mut wire = Vec::with_capacity((bytes + 64) * TOGETHER as usize);
        let from = Instant::now();
        for _ in 0..TOGETHER {
            frame.write_to(&mut wire, sends.as_mut());
        }
        wrote += from.elapsed();
        let mut reader = FrameReader::new(&wire[..], receives.take());
        let from = Instant::now();
        for _ in 0..TOGETHER {
            reader.next().await.unwrap().unwrap();
        }
        took += from.elapsed();
        receives = reader.into_seal();
        frames += TOGETHER;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(frames);
    (each(wrote), each(took))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("| bytes of a frame | write µs | with a MAC | take µs | with a MAC |");
    println!("|---|---|---|---|---|");
    for bytes in [64, 300, 1024, 16 * 1024, 512 * 1024] {
        let (plain, sealed) = (measure(bytes, false).await, measure(bytes, true).await);
        println!(
            "| {bytes} | {:.2} | {:.2} | {:.2} | {:.2} |",
            plain.0, sealed.0, plain.1, sealed.1
        );
    }
}
