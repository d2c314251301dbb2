//! What the callbacks of one isolate share. Lives in a slot of the isolate.
//!
//! Every field is borrowed for as short as possible and never across a call into JavaScript:
//! scripts call back in.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use mcp_v8_protocol::Failure;

use crate::artifacts::Outlet;
use crate::clock::{self, Started};
use crate::console::Console;
use crate::heap::HeapGuard;
use crate::random::Generator;
use crate::rejections::Rejections;
use crate::source::PositionMap;
use crate::stop::Stopper;
use crate::thrown::Thrown;
use crate::timers::Timers;

/// State of one isolate.
pub(crate) struct State {
    pub(crate) console: RefCell<Console>,
    pub(crate) artifacts: Outlet,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) rejections: RefCell<Rejections>,
    /// The first exception that left a microtask.
    pub(crate) uncaught: RefCell<Option<Failure>>,
    /// The last value the module threw itself.
    pub(crate) thrown: RefCell<Option<Thrown>>,
    /// The accessor behind `stack` of every error, once it was needed.
    pub(crate) stack_getter: RefCell<Option<v8::Global<v8::Function>>>,
    /// What `Math.random` draws from, once it was called.
    pub(crate) random: RefCell<Option<Generator>>,
    started: Cell<Option<Started>>,
    positions: RefCell<Rc<PositionMap>>,
    stopper: Stopper,
    heap: Arc<HeapGuard>,
}

impl State {
    pub(crate) fn new(stopper: Stopper, heap: Arc<HeapGuard>) -> Self {
        Self {
            console: RefCell::default(),
            artifacts: Outlet::default(),
            timers: RefCell::default(),
            rejections: RefCell::default(),
            uncaught: RefCell::default(),
            thrown: RefCell::default(),
            stack_getter: RefCell::default(),
            random: RefCell::default(),
            started: Cell::default(),
            positions: RefCell::new(Rc::new(PositionMap::identity())),
            stopper,
            heap,
        }
    }

    /// The state of `isolate`; none while the snapshot is baked.
    pub(crate) fn of(isolate: &v8::Isolate) -> Option<Rc<Self>> {
        isolate.get_slot::<Rc<Self>>().cloned()
    }

    pub(crate) fn stopper(&self) -> &Stopper {
        &self.stopper
    }

    /// Whether the heap limit was reached.
    pub(crate) fn is_heap_full(&self) -> bool {
        self.heap.is_full()
    }

    /// Whether no JavaScript may run any more.
    pub(crate) fn is_halted(&self) -> bool {
        self.stopper.is_stopped() || self.heap.is_full()
    }

    /// Lets go of everything of the script: its heap is going to be written.
    pub(crate) fn let_go(&self) {
        self.timers.take();
        self.rejections.take();
        self.uncaught.take();
        self.thrown.take();
        self.stack_getter.take();
    }

    /// Says that the job begins now.
    pub(crate) fn start(&self, started: Started) {
        self.started.set(Some(started));
    }

    /// Time since the job began as the script may know it, in microseconds.
    pub(crate) fn elapsed_us(&self) -> u64 {
        clock::coarse(self.started.get().map_or(0, Started::wall_us))
    }

    /// When the job began as the script may know it, in microseconds since 1970.
    pub(crate) fn origin_us(&self) -> u64 {
        clock::coarse(self.started.get().map_or(0, Started::unix_us))
    }

    /// Where positions V8 reports lie in the user's source.
    pub(crate) fn positions(&self) -> Rc<PositionMap> {
        Rc::clone(&self.positions.borrow())
    }

    pub(crate) fn set_positions(&self, positions: PositionMap) {
        self.positions.replace(Rc::new(positions));
    }
}
