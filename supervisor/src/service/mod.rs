//! What the service manager is told: systemd's `Type=notify` and `WatchdogSec=` (sd_notify(3)).
//!
//! # Contract
//! * `READY=1` once the server wants traffic; [`READY_WITHIN`] after its ports were opened in any
//!   case: a node that finds no majority, or waits for room on its disk, waits for others, and
//!   starting it again would not help. `STATUS=` says what it waits for, then and later.
//! * `WATCHDOG=1` three times in the time that the manager grants, each time after the threads that
//!   serve requests and Raft's main loop have had a turn, and only then: where either stands still,
//!   the manager hears nothing. How well the node is, is no matter: one without a majority, with a
//!   full disk, or with workers that do not start is not made well by ending it.
//! * `STOPPING=1` when it is told to stop, with the time that this may take.
//! * Nobody is told anything by a server on stdin and stdout: it may be a part of another service,
//!   whose socket is in its environment.

mod socket;

use std::fmt::Write as _;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::socket::Socket;
use crate::app::SharedApp;
use crate::limits::{READY_WITHIN, SERVICE_LOOK, SERVICE_SEND_MAX, SERVICE_STATUS_BYTES_MAX};

/// Turns of the proof in the time that the manager grants: one may take as long as the pause before
/// it.
const PINGS: u32 = 3;

/// How far the server is.
#[derive(Debug, Clone)]
enum Phase {
    /// Its ports are open, and it waits for this before it goes on.
    Waits(&'static str),
    /// It answers.
    Serves(SharedApp),
    /// It was told to stop.
    Stops(SharedApp),
}

impl Phase {
    /// Why it wants no traffic; nothing when it does.
    fn not_ready(&self) -> Option<String> {
        match self {
            Self::Waits(what) => Some(format!("starting: waits for {what}")),
            Self::Serves(app) => {
                let reasons = app.not_ready();
                (!reasons.is_empty()).then(|| format!("not ready: {}", reasons.join("; ")))
            }
            Self::Stops(app) => {
                Some(format!("stopping: {} executions are still here", app.executions.active()))
            }
        }
    }
}

/// The service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Service {
    manager: Option<(Socket, watch::Sender<Phase>)>,
}

impl Service {
    /// The one named in the environment; to be called when all ports are open.
    pub fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let socket = match Socket::new(&name) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(?name, %error, "NOTIFY_SOCKET: the service manager is not told anything");
                return Self::default();
            }
        };
        let phase = watch::Sender::new(Phase::Waits("its store"));
        tokio::spawn(tell(socket.clone(), phase.subscribe()));
        if let Some(granted) = watchdog() {
            tokio::spawn(ping(socket.clone(), phase.subscribe(), granted / PINGS));
        }
        Self { manager: Some((socket, phase)) }
    }

    /// It waits for this before it goes on.
    pub fn waits_for(&self, what: &'static str) {
        self.enter(Phase::Waits(what));
    }

    /// It answers.
    pub fn serves(&self, app: SharedApp) {
        self.enter(Phase::Serves(app));
    }

    /// It was told to stop, which takes so long at most.
    pub async fn stops(&self, app: SharedApp, at_most: Duration) {
        self.enter(Phase::Stops(app));
        if let Some((socket, _)) = &self.manager {
            say(socket, &format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", at_most.as_micros())).await;
        }
    }

    fn enter(&self, phase: Phase) {
        if let Some((_, phases)) = &self.manager {
            phases.send_replace(phase);
        }
    }
}

/// How long the manager waits for a sign of life of this process, if it does.
fn watchdog() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    granted(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id())
}

fn granted(usec: Option<String>, of: Option<String>, own: u32) -> Option<Duration> {
    // Another process's, which started this one.
    if of.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec))
}

/// Sends what there is to say, if the manager takes it.
async fn say(socket: &Socket, lines: &str) {
    let sent = timeout(SERVICE_SEND_MAX, socket.send(lines)).await;
    let sent = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    if let Err(error) = sent {
        tracing::warn!(%error, lines, "the service manager was not told");
    }
}

/// Says that the server is ready, and what it is doing.
async fn tell(socket: Socket, mut phases: watch::Receiver<Phase>) {
    let opened = Instant::now();
    let (mut ready, mut said) = (false, String::new());
    let mut looks = interval(SERVICE_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let not_ready = phases.borrow_and_update().not_ready();
        let mut lines = String::new();
        if !ready && (not_ready.is_none() || opened.elapsed() >= READY_WITHIN) {
            ready = true;
            lines.push_str("READY=1\n");
        }
        let status = line(not_ready.as_deref().unwrap_or("ready"));
        if said != status {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "STATUS={status}");
            said = status;
        }
        if !lines.is_empty() {
            say(&socket, lines.trim_end()).await;
        }
        tokio::select! {
            _ = looks.tick() => {}
            changed = phases.changed() => if changed.is_err() { return },
        }
    }
}

/// A text as one line that is not too long.
fn line(text: &str) -> String {
    let end = text.floor_char_boundary(SERVICE_STATUS_BYTES_MAX);
    text[..end].replace(['\n', '\r'], " ")
}

/// Gives signs of life.
async fn ping(socket: Socket, phases: watch::Receiver<Phase>, every: Duration) {
    let mut pings = interval(every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pings.tick().await;
        let phase = phases.borrow().clone();
        if timeout(every, takes_turns(&phase)).await.is_ok() {
            say(&socket, "WATCHDOG=1").await;
        } else {
            tracing::error!(
                "the node stands still: the watchdog of the service manager is not told"
            );
        }
    }
}

/// Returns once everything has had a turn that the server cannot do without.
async fn takes_turns(phase: &Phase) {
    // On whichever thread takes it from the queue. It cannot fail.
    let _ = tokio::spawn(async {}).await;
    // A node that stops ends its own loop.
    if let Phase::Serves(app) = phase
        && let Some(node) = &app.node
    {
        node.take_turn().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_asked_for_in_microseconds_and_by_process() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(granted(text("60000000"), None, 7), Some(Duration::from_secs(60)));
        assert_eq!(granted(text("1"), text("7"), 7), Some(Duration::from_micros(1)));
        assert_eq!(granted(text("60000000"), text("8"), 7), None);
        assert_eq!(granted(text("60000000"), text(""), 7), None);
        for none in [None, text(""), text("0"), text("-1"), text("soon")] {
            assert_eq!(granted(none, None, 7), None);
        }
    }

    #[test]
    fn a_status_is_one_line_within_its_bound() {
        assert_eq!(line("a\nb\r\nc"), "a b  c");
        let longest = "é".repeat(SERVICE_STATUS_BYTES_MAX / 2);
        assert_eq!(line(&longest), longest);
        assert_eq!(line(&format!("{longest}x")), longest);
        assert_eq!(line(&format!("x{longest}")).len(), SERVICE_STATUS_BYTES_MAX - 1);
    }
}
