//! The template: a process with V8 ready that runs no script and forks a child for each.
//!
//! # Contract
//! * It talks to the supervisor alone, takes one request after the other, and its memory is what
//!   every child begins with: nothing of any script is ever in it.
//! * A child shares with its siblings what was settled before the fork: the layout of its addresses
//!   and the seed of V8's hash tables. The supervisor renews templates for that reason.
//! * It ends when the supervisor hangs up. Its children do not end with it.

use std::os::fd::AsFd;
use std::sync::Arc;

use mcp_v8_protocol::{Forked as ForkedMessage, FromWorker, ToWorker, encode};
use mcp_v8_runtime::Runtime;
use mcp_v8_sandbox::{Child, Forked, Forker, Purpose, Sandbox, send_with};
use rustix::io::Errno;

use crate::outbox::{Outbox, OutboxError};
use crate::receive::Receiver;
use crate::{WorkerError, await_job, out_of_order, prepare, ready, text};

/// Serves until the supervisor hangs up. In a child, runs its job, which ends the process.
pub(crate) fn run(
    mut sandbox: Sandbox,
    purpose: Purpose,
    outbox: &Arc<Outbox>,
) -> Result<(), WorkerError> {
    // Without it children work as well, only slower.
    let _ = text::move_to_huge_pages();
    let mut receiver = Receiver::of_template();
    let Some(mut runtime) = prepare(&mut sandbox, purpose, &mut receiver)? else { return Ok(()) };
    if let Some(runtime) = &mut runtime {
        runtime.warm_up_loops();
    }
    let (reports, mut forker) = sandbox.seal_template()?;
    let holder = forker.take_holder();
    let frame = encode(&FromWorker::Ready(ready(reports, holder.is_some(), purpose)));
    send_with(&frame.map_err(OutboxError::from)?, holder.as_slice()).map_err(OutboxError::Write)?;
    drop(holder);
    match serve(&mut receiver, &mut forker)? {
        None => Ok(()),
        Some(child) => run_child(child, purpose, outbox, runtime),
    }
}

/// Returns in a child; in the template only when the supervisor has hung up.
fn serve(receiver: &mut Receiver, forker: &mut Forker) -> Result<Option<Child>, WorkerError> {
    loop {
        let own_group = match receiver.next()? {
            None => return Ok(None),
            Some(ToWorker::Fork { own_group }) => own_group,
            Some(other) => return Err(out_of_order(&other, "Fork")),
        };
        // Closed again in both processes: in the child with everything else.
        let mut descriptors = receiver.take_descriptors().into_iter();
        let group = match own_group {
            false => None,
            true => Some(descriptors.next().ok_or(WorkerError::NoGroup)?),
        };
        match forker.fork(group.as_ref().map(AsFd::as_fd))? {
            Forked::Child(child) => {
                // Closed by the fork.
                std::mem::forget((group, descriptors));
                return Ok(Some(child));
            }
            Forked::Parent(birth) => {
                let group_refused = birth.group_refused.map(Errno::raw_os_error);
                let message = ForkedMessage { pid: birth.pid, group_refused };
                let frame = encode(&FromWorker::Forked(message)).map_err(OutboxError::from)?;
                send_with(&frame, &[birth.pidfd, birth.socket]).map_err(OutboxError::Write)?;
            }
        }
    }
}

fn run_child(
    child: Child,
    purpose: Purpose,
    outbox: &Arc<Outbox>,
    runtime: Option<Runtime>,
) -> Result<(), WorkerError> {
    child.seal()?;
    await_job(outbox, &mut Receiver::new(purpose), runtime)
}
