//! The same V8 with no isolation at all: runs scripts in this process, one after the other, each in
//! an isolate that is made for it and dropped after it. The benchmark measures what isolation costs
//! against it.
//!
//! Jobs come in frames on standard input; a report of each goes to standard output. It is started by
//! `mcp-v8-bench`.

use std::error::Error;
use std::io::{Read, Write, stdin, stdout};
use std::rc::Rc;

use mcp_v8_protocol::{Decoder, FromWorker, ToWorker, encode};
use mcp_v8_runtime::{Runtime, ScriptSink};

/// The one that the worker carries.
static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/snapshot.bin"));

const READ_BYTES: usize = 16 * 1024;

struct Ignored;

impl ScriptSink for Ignored {
    fn write(&self, _: &str) {}
    fn truncated(&self) {}
    fn artifact(&self, _: &str, _: &str, _: &[u8]) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    mcp_v8_runtime::initialize();
    let mut decoder = Decoder::<ToWorker>::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        while let Some(message) = decoder.next_message()? {
            let ToWorker::Job(job) = message else { return Err("only jobs are taken here".into()) };
            let mut runtime = Runtime::new(SNAPSHOT, job.limits.heap_bytes)?;
            let done = runtime.run(&job, Rc::new(Ignored));
            // Before the answer: a server in one process has to do it as well.
            drop(runtime);
            stdout().write_all(&encode(&FromWorker::Done(Box::new(done)))?)?;
            stdout().flush()?;
        }
        match stdin().read(&mut bytes)? {
            0 => return Ok(()),
            read => decoder.buffer_mut().extend_from_slice(&bytes[..read]),
        }
    }
}
