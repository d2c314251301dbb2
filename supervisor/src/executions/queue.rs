//! Executions that wait for a worker, in order of acceptance.
//!
//! # Contract
//! * Bounded by [`QUEUE_DEPTH_MAX`] entries, and by [`QUEUE_CODE_BYTES_MAX`] bytes of code that
//!   wait or run. What does not fit is refused at once.
//! * A waiting execution can be taken out at any time.
//! * A step of a session waits aside until its turn; then it goes to the end of those that wait for a
//!   worker.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use uuid::Uuid;

use super::execution::Execution;
use super::quarantine::CodeHash;
use super::submit::Bounds;
use crate::limits::{QUEUE_CODE_BYTES_MAX, QUEUE_DEPTH_MAX};

/// An accepted script.
#[derive(Debug)]
pub struct Queued {
    /// Its execution.
    pub execution: Arc<Execution>,
    /// Its source.
    pub code: Arc<String>,
    /// The hash of that, when it is known already.
    pub hash: Option<CodeHash>,
    /// Its limits.
    pub bounds: Bounds,
    /// Whether it keeps its heap.
    pub keeps_heap: bool,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Queued>,
    /// What waits for its turn in a session.
    aside: Vec<Queued>,
    /// Places kept for executions that are being committed.
    reserved: usize,
    /// Bytes of code waiting and running.
    code_bytes: usize,
}

impl Inner {
    /// Executions that wait, whatever for, and places that are kept for more.
    fn taken(&self) -> usize {
        self.waiting.len() + self.aside.len() + self.reserved
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    filled: Notify,
}

impl Queue {
    /// Keeps a place for an execution with so much code.
    ///
    /// # Errors
    /// The number of waiting executions, when it would not fit.
    pub fn reserve(&self, code_bytes: usize) -> Result<(), usize> {
        let mut inner = self.inner.lock();
        let bytes = inner.code_bytes + code_bytes;
        let waiting = inner.taken();
        if waiting >= QUEUE_DEPTH_MAX || bytes > QUEUE_CODE_BYTES_MAX {
            return Err(waiting);
        }
        inner.code_bytes = bytes;
        inner.reserved += 1;
        Ok(())
    }

    /// Gives a place back that is not needed.
    pub fn unreserve(&self, code_bytes: usize) {
        let mut inner = self.inner.lock();
        inner.code_bytes -= code_bytes;
        inner.reserved -= 1;
    }

    /// Adds an execution that has a place. One that keeps its heap waits aside.
    pub fn push_reserved(&self, queued: Queued) {
        let mut inner = self.inner.lock();
        inner.reserved -= 1;
        self.put(inner, queued);
    }

    /// Adds an execution whatever waits: one that the cluster has given to this node. One that keeps
    /// its heap waits aside.
    pub fn push_always(&self, queued: Queued) {
        let mut inner = self.inner.lock();
        inner.code_bytes += queued.code.len();
        self.put(inner, queued);
    }

    fn put(&self, mut inner: MutexGuard<'_, Inner>, queued: Queued) {
        if queued.keeps_heap {
            inner.aside.push(queued);
            return;
        }
        inner.waiting.push_back(queued);
        drop(inner);
        self.filled.notify_one();
    }

    /// Whether an execution waits aside.
    pub fn is_aside(&self, id: Uuid) -> bool {
        self.inner.lock().aside.iter().any(|queued| queued.execution.id() == id)
    }

    /// Whether any execution waits aside.
    pub fn has_aside(&self) -> bool {
        !self.inner.lock().aside.is_empty()
    }

    /// Those that wait aside.
    pub fn aside(&self) -> Vec<Uuid> {
        self.inner.lock().aside.iter().map(|queued| queued.execution.id()).collect()
    }

    /// Lets an execution that waits aside wait for a worker.
    pub fn admit(&self, id: Uuid) {
        let mut inner = self.inner.lock();
        // Also an attempt that does not count any more: it ends where it would begin.
        while let Some(at) = inner.aside.iter().position(|queued| queued.execution.id() == id) {
            let queued = inner.aside.remove(at);
            inner.waiting.push_back(queued);
            self.filled.notify_one();
        }
    }

    /// Adds an execution at the end.
    ///
    /// # Errors
    /// The number of waiting executions, when it does not fit.
    pub fn push(&self, queued: Queued) -> Result<(), usize> {
        let mut inner = self.inner.lock();
        let code_bytes = inner.code_bytes + queued.code.len();
        let waiting = inner.taken();
        if waiting >= QUEUE_DEPTH_MAX || code_bytes > QUEUE_CODE_BYTES_MAX {
            return Err(waiting);
        }
        inner.code_bytes = code_bytes;
        inner.waiting.push_back(queued);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for the next execution. Its code stays accounted for until [`Queue::release`].
    pub async fn next(&self) -> Queued {
        loop {
            // Registered before the check, so that a push in between is not missed.
            let filled = self.filled.notified();
            if let Some(queued) = self.inner.lock().waiting.pop_front() {
                return queued;
            }
            filled.await;
        }
    }

    /// Takes a waiting execution out, this attempt of it and no other; `false` when it does not wait.
    pub fn remove(&self, execution: &Arc<Execution>) -> bool {
        let mut inner = self.inner.lock();
        let is_it = |queued: &Queued| Arc::ptr_eq(&queued.execution, execution);
        if let Some(at) = inner.aside.iter().position(is_it) {
            let queued = inner.aside.remove(at);
            inner.code_bytes -= queued.code.len();
            return true;
        }
        let Some(at) = inner.waiting.iter().position(is_it) else { return false };
        if let Some(queued) = inner.waiting.remove(at) {
            inner.code_bytes -= queued.code.len();
        }
        true
    }

    /// Executions that wait, in order of acceptance, and behind them those that wait aside.
    pub fn waiting(&self) -> Vec<Arc<Execution>> {
        let inner = self.inner.lock();
        let waiting = inner.waiting.iter().chain(&inner.aside);
        waiting.map(|queued| Arc::clone(&queued.execution)).collect()
    }

    /// Gives the bytes of an execution back that came out of [`Queue::next`].
    pub fn release(&self, code_bytes: usize) {
        self.inner.lock().code_bytes -= code_bytes;
    }

    /// Executions that wait.
    pub fn depth(&self) -> usize {
        let inner = self.inner.lock();
        inner.waiting.len() + inner.aside.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Principal;
    use std::time::Duration;

    fn queued(code_bytes: usize) -> Queued {
        Queued {
            execution: Arc::new(Execution::new(Principal::EVERYBODY, Uuid::now_v7(), None)),
            code: "x".repeat(code_bytes).into(),
            hash: None,
            bounds: Bounds { wall: Duration::from_secs(1), heap_bytes: 1, console_bytes: 1 },
            keeps_heap: false,
        }
    }

    fn step(code_bytes: usize) -> Queued {
        Queued { keeps_heap: true, ..queued(code_bytes) }
    }

    #[tokio::test]
    async fn a_step_waits_aside_until_it_is_admitted() {
        let queue = Queue::default();
        let (first, other) = (step(3), queued(4));
        let (id, other_id) = (first.execution.id(), other.execution.id());
        queue.push_always(first);
        queue.push_always(other);
        assert_eq!(queue.next().await.execution.id(), other_id, "it passes one that waits aside");
        assert!(queue.is_aside(id) && queue.depth() == 1 && queue.waiting().len() == 1);
        queue.admit(id);
        queue.admit(id);
        assert!(!queue.is_aside(id));
        assert_eq!(queue.next().await.execution.id(), id);
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn what_waits_aside_takes_a_place_and_can_be_taken_out() {
        let queue = Queue::default();
        let ids: Vec<Arc<Execution>> = (0..QUEUE_DEPTH_MAX)
            .map(|_| {
                queue.reserve(1).unwrap();
                let step = step(1);
                let execution = Arc::clone(&step.execution);
                queue.push_reserved(step);
                execution
            })
            .collect();
        assert_eq!(queue.reserve(1), Err(QUEUE_DEPTH_MAX));
        assert!(queue.remove(&ids[0]) && !queue.remove(&ids[0]));
        assert_eq!(queue.reserve(1), Ok(()));
        queue.unreserve(1);
        ids[1..].iter().for_each(|step| assert!(queue.remove(step)));
        assert_eq!((queue.depth(), queue.inner.lock().code_bytes), (0, 0));
    }

    #[tokio::test]
    async fn the_queue_is_full_at_its_depth_and_takes_again_after_one_left() {
        let queue = Queue::default();
        for _ in 0..QUEUE_DEPTH_MAX {
            assert!(queue.push(queued(1)).is_ok());
        }
        assert_eq!(queue.push(queued(1)), Err(QUEUE_DEPTH_MAX));
        queue.next().await;
        assert!(queue.push(queued(1)).is_ok());
    }

    #[tokio::test]
    async fn code_bytes_count_until_they_are_released() {
        let queue = Queue::default();
        assert!(queue.push(queued(QUEUE_CODE_BYTES_MAX)).is_ok());
        assert_eq!(queue.push(queued(1)), Err(1));
        let running = queue.next().await;
        assert_eq!(queue.push(queued(1)), Err(0));
        queue.release(running.code.len());
        assert!(queue.push(queued(1)).is_ok());
    }

    #[test]
    fn a_waiting_execution_can_be_taken_out_once() {
        let queue = Queue::default();
        let one = queued(5);
        let execution = Arc::clone(&one.execution);
        assert!(queue.push(one).is_ok());
        assert!(queue.remove(&execution));
        assert!(!queue.remove(&execution));
        assert_eq!((queue.depth(), queue.inner.lock().code_bytes), (0, 0));
    }
}
