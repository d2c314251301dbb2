//! Golden frames: the exact bytes of one message of each kind, as committed in `golden/`.
//!
//! A failure here means that the wire changed. If that is meant, raise `VERSION` and run the test
//! with `MCP_V8_WRITE_GOLDEN=1` to write the new bytes.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use mcp_v8_protocol::{
    ArtifactHead, Decoder, Done, Failure, FailureKind, Fatal, FatalKind, Forked, FromWorker,
    HeapEngine, Hello, Job, JobHeap, JobLimits, Layer, LayerReport, Outcome, Ready, ToWorker,
    Usage, Wire, WrittenHeap, encode,
};

fn check<M: Wire + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    let frame = encode(message).unwrap();
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    if std::env::var_os("MCP_V8_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{hex}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(hex, golden.trim(), "the bytes of {name} changed");
    let mut decoder = Decoder::<M>::default();
    decoder.buffer_mut().extend_from_slice(&frame);
    assert_eq!(decoder.next_message().unwrap().as_ref(), Some(message));
}

#[test]
fn frames_to_a_worker() {
    check("to_worker_hello", &ToWorker::Hello(Hello { heap_bytes: 128 << 20, isolate: true }));
    check("to_worker_fork", &ToWorker::Fork { own_group: true });
    let job = Job {
        execution_id: "0193-abc".to_owned(),
        attempt: 2,
        code: "console.log('hé')".to_owned().into(),
        limits: JobLimits {
            heap_bytes: 128 << 20,
            buffer_bytes: 64 << 20,
            console_bytes: 1 << 20,
            cpu_secs: 32,
        },
        heap: None,
    };
    check("to_worker_job", &ToWorker::Job(job.clone()));
    let heap = Some(JobHeap { base_bytes: Some(457_000), bytes_max: 256 << 20 });
    check("to_worker_job_heap", &ToWorker::Job(Job { heap, ..job }));
}

#[test]
fn frames_from_a_worker() {
    check(
        "from_worker_ready",
        &FromWorker::Ready(Ready {
            pid: 4711,
            worker_version: "0.1.0".to_owned(),
            v8_version: "15.2.1".to_owned(),
            sandbox: vec![
                LayerReport { layer: Layer::Landlock, missing: Some("no".to_owned()) },
                LayerReport { layer: Layer::SystemCalls, missing: None },
            ],
            holder: true,
            heap_engines: vec![HeapEngine([7; 32])],
        }),
    );
    check("from_worker_forked", &FromWorker::Forked(Forked { pid: 4712, group_refused: Some(38) }));
    check("from_worker_saving", &FromWorker::Saving);
    check("from_worker_console", &FromWorker::Console("[WARN] hé\n".to_owned()));
    check("from_worker_console_truncated", &FromWorker::ConsoleTruncated);
    let (key, mime_type) = ("plot.png".to_owned(), "image/png".to_owned());
    let head = ArtifactHead { key, mime_type, bytes: 300 };
    check("from_worker_artifact", &FromWorker::Artifact(head));
    check("from_worker_artifact_bytes", &FromWorker::ArtifactBytes(vec![0, 255, 7]));
    check(
        "from_worker_fatal",
        &FromWorker::Fatal(Fatal { kind: FatalKind::OutOfMemory, message: "heap".to_owned() }),
    );
    let usage = Usage { cpu_us: 300, wall_us: 301, buffer_peak_bytes: 5 };
    check(
        "from_worker_done_completed",
        &FromWorker::Done(Box::new(Done {
            outcome: Outcome::Completed { result: Some("2".to_owned()), result_truncated: false },
            usage,
            heap: Some(WrittenHeap { bytes: 457_128, restore_us: 1200, save_us: 5400 }),
        })),
    );
    check(
        "from_worker_done_failed",
        &FromWorker::Done(Box::new(Done {
            outcome: Outcome::Failed(Failure {
                kind: FailureKind::Thrown,
                message: "Error: no".to_owned(),
                stack: Some("Error: no\n    at script.js:1:7".to_owned()),
                line: Some(1),
                column: Some(7),
            }),
            usage,
            heap: None,
        })),
    );
}
