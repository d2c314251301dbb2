//! Runs scripts in tests.
//!
//! V8 is initialised once, on a thread that all others which enter an isolate descend from, and an
//! isolate lives and dies on one of those.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

use mcp_v8_protocol::{Failure, FailureKind, Job, JobLimits, Outcome, Usage};

use crate::{HeapBase, Runtime, SaveError, ScriptSink, Stopper, bake, bake_heap_base};

type Task = Box<dyn FnOnce(&'static Baked) + Send>;

/// What is made at build time otherwise.
pub(crate) struct Baked {
    pub(crate) snapshot: &'static [u8],
    pub(crate) base: HeapBase,
}

static HOST: OnceLock<Mutex<Sender<Task>>> = OnceLock::new();

/// Stack of a test thread: as large as the worker's is at least.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Runs `body` on a thread that may use V8, with the startup snapshot.
pub(crate) fn with_v8<R: Send + 'static>(
    body: impl FnOnce(&'static [u8]) -> R + Send + 'static,
) -> R {
    with_baked(|baked| body(baked.snapshot))
}

/// Runs `body` on a thread that may use V8, with everything that is made at build time.
pub(crate) fn with_baked<R: Send + 'static>(
    body: impl FnOnce(&'static Baked) -> R + Send + 'static,
) -> R {
    let host = HOST.get_or_init(|| {
        let (sender, tasks) = channel::<Task>();
        thread::spawn(move || {
            // In a thread of its own: a thread that has made a snapshot is left alone.
            crate::initialize();
            let snapshot = thread::spawn(bake).join().unwrap().unwrap();
            let baked = thread::spawn(bake_heap_base).join().unwrap().unwrap();
            let base = HeapBase::new(Box::leak(baked.blob.into_boxed_slice()), &baked.facts);
            let snapshot = Box::leak(snapshot.into_boxed_slice());
            let baked: &'static Baked =
                Box::leak(Box::new(Baked { snapshot, base: base.unwrap() }));
            // From here on all isolates have one hash seed, as those of one heap must.
            std::mem::forget(Runtime::new(snapshot, LIMITS.heap_bytes).unwrap());
            for task in tasks {
                thread::Builder::new().stack_size(STACK_BYTES).spawn(move || task(baked)).unwrap();
            }
        });
        Mutex::new(sender)
    });
    let (sender, result) = channel();
    let task: Task = Box::new(move |baked| {
        let _ = sender.send(body(baked));
    });
    host.lock().unwrap().send(task).unwrap();
    result.recv().expect("the test body panicked")
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) console: String,
    pub(crate) truncated: bool,
    pub(crate) artifacts: Vec<(String, String, Vec<u8>)>,
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
}

impl Ran {
    /// The result of a completed run.
    #[track_caller]
    pub(crate) fn result(self) -> Option<String> {
        match self.outcome {
            Outcome::Completed { result, .. } => result,
            Outcome::Failed(failure) => panic!("failed: {failure:?}"),
        }
    }

    /// The failure of a failed run.
    #[track_caller]
    pub(crate) fn failure(self, kind: FailureKind) -> Failure {
        match self.outcome {
            Outcome::Failed(failure) if failure.kind == kind => failure,
            other => panic!("{other:?} where {kind:?} was expected"),
        }
    }
}

/// Scripts that run one after the other on one heap, each in an isolate of its own.
#[derive(Default, Clone)]
pub(crate) struct Session {
    heap: Option<&'static [u8]>,
}

impl Session {
    /// A session that has run `code`.
    #[track_caller]
    pub(crate) fn after(code: &str) -> Self {
        let mut session = Self::default();
        session.step(code);
        session
    }

    /// Runs `code`, keeps the heap, and gives the result.
    #[track_caller]
    pub(crate) fn step(&mut self, code: &str) -> Option<String> {
        let (ran, saved) = self.try_step(code, LIMITS, u64::MAX);
        let result = ran.result();
        self.heap = Some(saved.expect("the script completed").expect("the heap is kept"));
        result
    }

    /// Runs `code`, and gives why its heap was not kept.
    #[track_caller]
    pub(crate) fn refused(&self, code: &str) -> SaveError {
        let (ran, saved) = self.try_step(code, LIMITS, u64::MAX);
        ran.result();
        saved.expect("the script completed").expect_err("the heap was kept")
    }

    /// Runs `code`, and writes the heap if that completed.
    pub(crate) fn try_step(
        &self,
        code: &str,
        limits: JobLimits,
        bytes_max: u64,
    ) -> (Ran, Option<Result<&'static [u8], SaveError>>) {
        let (code, heap) = (code.to_owned(), self.heap);
        with_baked(move |baked| {
            let mut runtime = Runtime::restore(&baked.base, heap, limits.heap_bytes).unwrap();
            let (ran, _) = run_in(&mut runtime, code, limits);
            let saved = matches!(ran.outcome, Outcome::Completed { .. }).then(|| {
                let saved = runtime.save(bytes_max)?;
                Ok(&*Box::leak(saved.to_vec().into_boxed_slice()))
            });
            (ran, saved)
        })
    }

    /// Bytes of the heap that was kept last.
    pub(crate) fn bytes(&self) -> usize {
        self.heap.map_or(0, <[u8]>::len)
    }
}

fn run_in(runtime: &mut Runtime, code: String, limits: JobLimits) -> (Ran, Rc<Collected>) {
    let sink = Rc::new(Collected::default());
    let (execution_id, code) = ("test".to_owned(), code.into());
    let job = Job { execution_id, attempt: 1, code, limits, heap: None };
    let done = runtime.run(&job, Rc::<Collected>::clone(&sink));
    let ran = Ran {
        console: sink.text.take(),
        truncated: sink.truncated.get(),
        artifacts: sink.artifacts.take(),
        outcome: done.outcome,
        usage: done.usage,
    };
    (ran, sink)
}

/// Limits that no test meets by accident.
pub(crate) const LIMITS: JobLimits = JobLimits {
    heap_bytes: 64 << 20,
    buffer_bytes: 64 << 20,
    console_bytes: 1 << 20,
    cpu_secs: 60,
};

/// Runs `code`.
pub(crate) fn run(code: &str) -> Ran {
    run_with(code, LIMITS, |_, _| {})
}

/// Runs `code` after `before` has seen what stops it, and what tells of its first console text.
pub(crate) fn run_with(
    code: &str,
    limits: JobLimits,
    before: impl FnOnce(Stopper, Receiver<()>) + Send + 'static,
) -> Ran {
    let code = code.to_owned();
    with_v8(move |snapshot| {
        let mut runtime = Runtime::new(snapshot, limits.heap_bytes).unwrap();
        runtime.warm_up();
        let (first, begun) = channel();
        let sink = Rc::new(Collected { first: Cell::new(Some(first)), ..Collected::default() });
        before(runtime.stopper(), begun);
        let (execution_id, code) = ("test".to_owned(), code.into());
        let job = Job { execution_id, attempt: 1, code, limits, heap: None };
        let done = runtime.run(&job, Rc::<Collected>::clone(&sink));
        Ran {
            console: sink.text.take(),
            truncated: sink.truncated.get(),
            artifacts: sink.artifacts.take(),
            outcome: done.outcome,
            usage: done.usage,
        }
    })
}

#[derive(Default)]
struct Collected {
    text: RefCell<String>,
    truncated: Cell<bool>,
    artifacts: RefCell<Vec<(String, String, Vec<u8>)>>,
    first: Cell<Option<Sender<()>>>,
}

impl ScriptSink for Collected {
    fn write(&self, text: &str) {
        self.text.borrow_mut().push_str(text);
        if let Some(first) = self.first.take() {
            // A test that does not wait for it has let its end go.
            let _ = first.send(());
        }
    }

    fn artifact(&self, key: &str, mime_type: &str, bytes: &[u8]) {
        let artifact = (key.to_owned(), mime_type.to_owned(), bytes.to_vec());
        self.artifacts.borrow_mut().push(artifact);
    }

    fn truncated(&self) {
        assert!(!self.truncated.replace(true), "truncated twice");
    }
}
