//! Histories of registers, and whether they are linearizable.
//!
//! # Contract
//! * A history is a list of operations on one register in real time: each began before it was sent
//!   and ended after its answer had come.
//! * An operation without an answer stays open: it may have had its effect at any time since it began,
//!   or may still have it, or never. Whoever began it goes on as somebody else.
//! * [`History::check`] is exact. An open write that nobody read is left out, which changes no
//!   verdict; operations that surely had no effect are left out by whoever records.
//!
//! The search is exponential in what overlaps, so histories must be short.

use std::collections::HashSet;

use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

/// What a register holds; nothing at first.
pub type Content = Option<u64>;

/// What is done to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Puts a value that no other write puts.
    Write(u64),
    /// Asks for the value.
    Read,
}

#[derive(Debug, Clone)]
struct Operation {
    client: usize,
    action: Action,
    begun: usize,
    /// When it ended, and what a read saw.
    ended: Option<(usize, Content)>,
    /// It had no effect.
    void: bool,
}

/// What happened to one register.
#[derive(Debug, Clone, Default)]
pub struct History {
    operations: Vec<Operation>,
    now: usize,
}

/// An operation that was begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun(usize);

impl History {
    /// A client begins an operation; call this before it is sent.
    pub fn begin(&mut self, client: usize, action: Action) -> Begun {
        self.now += 1;
        self.operations.push(Operation {
            client,
            action,
            begun: self.now,
            ended: None,
            void: false,
        });
        Begun(self.operations.len() - 1)
    }

    /// A write was acknowledged.
    pub fn wrote(&mut self, begun: Begun) {
        self.now += 1;
        self.operations[begun.0].ended = Some((self.now, None));
    }

    /// A read was answered.
    pub fn read(&mut self, begun: Begun, content: Content) {
        self.now += 1;
        self.operations[begun.0].ended = Some((self.now, content));
    }

    /// The operation surely had no effect.
    pub fn void(&mut self, begun: Begun) {
        self.operations[begun.0].void = true;
    }

    /// How many operations were begun.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether one order explains all answers.
    ///
    /// # Errors
    /// The history as text, when none does.
    pub fn check(&self) -> Result<(), String> {
        let read: HashSet<u64> = self
            .operations
            .iter()
            .filter(|operation| operation.action == Action::Read)
            .filter_map(|operation| operation.ended?.1)
            .collect();
        let mut events = Vec::new();
        for (at, operation) in self.operations.iter().enumerate() {
            let matters = operation.ended.is_some()
                || matches!(operation.action, Action::Write(value) if read.contains(&value));
            if operation.void || !matters {
                continue;
            }
            events.push((operation.begun, at, true));
            if let Some((ended, _)) = operation.ended {
                events.push((ended, at, false));
            }
        }
        events.sort_unstable();
        let mut tester = LinearizabilityTester::new(Register(Content::None));
        // Open operations are threads of their own.
        let thread = |at: usize| match self.operations[at].ended {
            Some(_) => self.operations[at].client,
            None => 1_000_000 + at,
        };
        for (_, at, begins) in events {
            let operation = &self.operations[at];
            let recorded = match (begins, operation.action, operation.ended) {
                (true, Action::Write(value), _) => {
                    tester.on_invoke(thread(at), RegisterOp::Write(Some(value)))
                }
                (true, Action::Read, _) => tester.on_invoke(thread(at), RegisterOp::Read),
                (false, Action::Write(_), _) => tester.on_return(thread(at), RegisterRet::WriteOk),
                (false, Action::Read, ended) => {
                    let content = ended.and_then(|(_, content)| content);
                    tester.on_return(thread(at), RegisterRet::ReadOk(content))
                }
            };
            recorded.map_err(|error| format!("no history: {error}"))?;
        }
        if tester.is_consistent() { Ok(()) } else { Err(self.to_string()) }
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for operation in &self.operations {
            let Operation { client, action, begun, ended, void } = operation;
            write!(f, "client {client}, from {begun} ")?;
            match ended {
                Some((at, _)) => write!(f, "to {at}: ")?,
                None if *void => write!(f, "(no effect): ")?,
                None => write!(f, "(no answer): ")?,
            }
            match (action, ended) {
                (Action::Write(value), _) => writeln!(f, "write {value}")?,
                (Action::Read, Some((_, Some(content)))) => writeln!(f, "read {content}")?,
                (Action::Read, _) => writeln!(f, "read nothing")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(history: &mut History, client: usize, value: u64) {
        let begun = history.begin(client, Action::Write(value));
        history.wrote(begun);
    }

    fn read(history: &mut History, client: usize, content: Content) {
        let begun = history.begin(client, Action::Read);
        history.read(begun, content);
    }

    #[test]
    fn a_history_in_order_is_linearizable() {
        let mut history = History::default();
        read(&mut history, 1, None);
        write(&mut history, 1, 1);
        read(&mut history, 2, Some(1));
        write(&mut history, 2, 2);
        read(&mut history, 1, Some(2));
        assert_eq!(history.check(), Ok(()));
    }

    #[test]
    fn a_read_of_what_was_overwritten_before_it_began_is_not() {
        let mut history = History::default();
        write(&mut history, 1, 1);
        write(&mut history, 1, 2);
        read(&mut history, 2, Some(1));
        assert!(history.check().unwrap_err().contains("client 2, from 5 to 6: read 1"));
    }

    #[test]
    fn a_lost_acknowledged_write_is_not() {
        let mut history = History::default();
        write(&mut history, 1, 1);
        read(&mut history, 2, None);
        assert!(history.check().is_err());
    }

    #[test]
    fn two_reads_during_a_write_see_it_in_one_order() {
        let mut history = History::default();
        let slow = history.begin(1, Action::Write(1));
        read(&mut history, 2, Some(1));
        read(&mut history, 3, None);
        history.wrote(slow);
        assert!(history.check().is_err());
    }

    #[test]
    fn an_open_write_may_happen_late_or_never_but_not_come_back() {
        let mut history = History::default();
        let open = history.begin(1, Action::Write(1));
        write(&mut history, 2, 2);
        read(&mut history, 3, Some(2));
        assert_eq!(history.check(), Ok(()));
        // The client of an open operation goes on as somebody else.
        read(&mut history, 4, Some(1));
        assert_eq!(history.check(), Ok(()));
        read(&mut history, 3, Some(2));
        assert!(history.check().is_err(), "{history}");
        let mut void = History::default();
        let refused = void.begin(1, Action::Write(7));
        void.void(refused);
        read(&mut void, 2, None);
        assert_eq!(void.check(), Ok(()));
        let _ = open;
    }
}
