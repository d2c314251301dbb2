//! V8 without isolation, for comparison: the example `bare` of the worker, which runs scripts in one
//! process, one after the other.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mcp_v8_protocol::{Decoder, FromWorker, Outcome, ToWorker, encode};
use mcp_v8_tests::binary;

use crate::load::job;

const READ_BYTES: usize = 16 * 1024;

/// The running program. It is ended when dropped.
pub struct Bare {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    decoder: Decoder<FromWorker>,
}

impl Bare {
    /// Starts it.
    pub fn start() -> Self {
        let mut child = Command::new(binary("examples/bare"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout, decoder: Decoder::default() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a script in a fresh isolate and returns its result. Blocks the thread meanwhile.
    pub fn run(&mut self, code: &str) -> Option<String> {
        self.stdin.write_all(&encode(&ToWorker::Job(job(code))).unwrap()).unwrap();
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.decoder.next_message().unwrap() {
                Some(FromWorker::Done(done)) => match done.outcome {
                    Outcome::Completed { result, .. } => return result,
                    Outcome::Failed(failure) => panic!("{}", failure.message),
                },
                Some(_) => panic!("the bare program said something else than it should"),
                None => {}
            }
            let read = self.stdout.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "the bare program has ended");
            self.decoder.buffer_mut().extend_from_slice(&bytes[..read]);
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
