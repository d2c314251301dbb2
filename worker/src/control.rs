//! The thread beside a running script: hears `Stop` and the end of the stream, and lets console
//! text out.
//!
//! It runs no script and takes no lock that is held while waiting, so it answers whatever the
//! script is doing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_v8_protocol::{Fatal, FatalKind, FromWorker, ToWorker};
use mcp_v8_runtime::Stopper;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stdin;

use crate::limits::{CONSOLE_FLUSH_MS, CONTROL_STACK_BYTES, STOP_REPEAT_MS};
use crate::outbox::{self, Outbox, Pending};
use crate::receive::{Received, Receiver};

/// Starts the thread. It ends with the process.
pub(crate) fn start(
    outbox: Arc<Outbox>,
    receiver: Receiver,
    stopper: Stopper,
) -> std::io::Result<()> {
    let control = Control { outbox, receiver, stopper, stopping: false, flush_at: None };
    std::thread::Builder::new()
        .name("control".to_owned())
        .stack_size(CONTROL_STACK_BYTES + crate::limits::READ_BYTES)
        .spawn(move || control.run())?;
    Ok(())
}

struct Control {
    outbox: Arc<Outbox>,
    receiver: Receiver,
    stopper: Stopper,
    stopping: bool,
    /// When console text has waited long enough.
    flush_at: Option<Instant>,
}

impl Control {
    fn run(mut self) {
        // What came together with the job is already in the receiver.
        let mut pending = self.receive();
        loop {
            self.wait(pending);
            pending = self.receive();
            self.outbox.settle();
            let due = self.flush_at.is_some_and(|at| at <= Instant::now());
            pending = match self.outbox.flush(due) {
                Ok(Pending::Nothing) => {
                    self.flush_at = None;
                    Pending::Nothing
                }
                Ok(left) => {
                    let wait = Duration::from_millis(CONSOLE_FLUSH_MS);
                    if due || self.flush_at.is_none() {
                        self.flush_at = Some(Instant::now() + wait);
                    }
                    if pending == Pending::Nothing { left } else { pending }
                }
                // Nobody is left to hear the outcome.
                Err(_) => outbox::exit(0),
            };
            if self.stopping {
                self.stopper.stop();
            }
        }
    }

    fn wait(&self, pending: Pending) {
        let socket = stdin();
        let wake = self.outbox.wake_fd();
        let mut interest = PollFlags::IN;
        if pending == Pending::Frames {
            interest |= PollFlags::OUT;
        }
        let flush_in = self.flush_at.map(|at| at.saturating_duration_since(Instant::now()));
        let repeat_in = self.stopping.then_some(Duration::from_millis(STOP_REPEAT_MS));
        let timeout = [flush_in, repeat_in]
            .into_iter()
            .flatten()
            .min()
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [PollFd::new(&socket, interest), PollFd::new(&wake, PollFlags::IN)];
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    /// Takes all messages that are there.
    fn receive(&mut self) -> Pending {
        loop {
            match self.receiver.poll() {
                Ok(Received::Nothing) => return Pending::Nothing,
                Ok(Received::End) => outbox::exit(0),
                Ok(Received::Message(ToWorker::Stop)) => {
                    self.stopping = true;
                    self.stopper.stop();
                }
                Ok(Received::Message(_)) => self.refuse("a message came where only Stop may"),
                Err(error) => self.refuse(&error.to_string()),
            }
        }
    }

    fn refuse(&self, message: &str) -> ! {
        let fatal = Fatal { kind: FatalKind::Worker, message: message.to_owned() };
        self.outbox.last_words(&FromWorker::Fatal(fatal));
        outbox::exit(1)
    }
}
