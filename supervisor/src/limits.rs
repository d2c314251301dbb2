//! Every bound of the supervisor, with its unit in its name.
//!
//! A value equal to a bound is accepted, one past it is refused with an error that names the field
//! and the accepted values. Bounds that the worker shares are in [`mcp_v8_protocol::limits`].

use std::time::Duration;

pub use mcp_v8_protocol::limits::CODE_BYTES_MAX;

/// Wall clock of one execution, in seconds: least, most and default.
pub const EXECUTION_TIMEOUT_SECS_MIN: u64 = 1;
/// See [`EXECUTION_TIMEOUT_SECS_MIN`].
pub const EXECUTION_TIMEOUT_SECS_MAX: u64 = 300;
/// See [`EXECUTION_TIMEOUT_SECS_MIN`].
pub const EXECUTION_TIMEOUT_SECS_DEFAULT: u64 = 30;

/// V8 heap of one execution, in MiB: least, most and default. The same amount again may be held in
/// `ArrayBuffer`s, which V8's heap limit does not cover.
pub const HEAP_MB_MIN: u64 = 8;
/// See [`HEAP_MB_MIN`].
pub const HEAP_MB_MAX: u64 = 4096;
/// See [`HEAP_MB_MIN`].
pub const HEAP_MB_DEFAULT: u64 = 128;

/// Console text of one execution, in bytes: least, most and default.
pub const CONSOLE_BYTES_MIN: u64 = 1024;
/// See [`CONSOLE_BYTES_MIN`].
pub const CONSOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// See [`CONSOLE_BYTES_MIN`].
pub const CONSOLE_BYTES_DEFAULT: u64 = 1024 * 1024;

/// Executions that run at once: most. The default is the number of cores.
pub const CONCURRENT_EXECUTIONS_MAX: u64 = 1024;

/// Workers kept ready when none runs, at most; otherwise as many as may run at once.
pub const IDLE_WORKERS_MAX: usize = 16;

/// Executions waiting for a worker. The next one is answered `overloaded`.
pub const QUEUE_DEPTH_MAX: usize = 1024;

/// Source code held by waiting and running executions, in bytes. Past it: `overloaded`.
pub const QUEUE_CODE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Finished executions that a server has in memory; the oldest go first. Those on disk are
/// `EXECUTION_ROWS_DEFAULT`; with `--stateless` there are only these.
pub const RETAINED_EXECUTIONS_MAX: usize = 10_000;

/// Console text, results and errors of finished executions, in bytes; the oldest go first.
pub const RETAINED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What a soft stop may take before SIGKILL. Chosen so that the caller has its answer within
/// 250 ms of the limit (promise P4).
pub const KILL_GRACE: Duration = Duration::from_millis(150);

/// Processor time a script may use beyond its wall clock, in seconds, before the kernel ends its
/// process: the script has one thread, so that this fires only where the wall clock did not.
pub const CPU_GRACE_SECS: u64 = 2;

/// What a process may take to be gone after its last message before SIGKILL.
pub const EXIT_GRACE: Duration = Duration::from_millis(100);

/// What a worker may take from spawn to ready.
pub const START_DEADLINE: Duration = Duration::from_secs(10);

/// What a template may take to make a child.
pub const FORK_DEADLINE: Duration = Duration::from_secs(2);

/// Children of one template. After them another takes its place, with another memory layout and
/// other hash seeds.
pub const TEMPLATE_FORKS_MAX: u64 = 10_000;

/// How long a template makes children, for the same reason.
pub const TEMPLATE_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// Templates that may be replaced at once because a child of theirs died of a fault, and how long it
/// takes until there may be one more.
pub const FAULT_RENEWALS_BURST: u32 = 4;
/// See [`FAULT_RENEWALS_BURST`].
pub const FAULT_RENEWAL_EVERY: Duration = Duration::from_millis(250);

/// Console frames of one execution that are always accepted, and how many more for each second that
/// it runs: a worker sends one in 10 ms, and more only when they are full.
pub const CONSOLE_FRAMES_MIN: u64 = 1024;
/// See [`CONSOLE_FRAMES_MIN`].
pub const CONSOLE_FRAMES_PER_SEC: u64 = 250;

/// Descriptors that came from a template and belong to no message yet.
pub const TEMPLATE_DESCRIPTORS_MAX: usize = 2;

/// Memory of the machine that all worker processes together may use, in percent, where there is a
/// control group for them. The rest is the server's and the system's.
pub const WORKERS_MEMORY_PERCENT: u64 = 80;

/// Processes of all workers together, where there is a control group for them: far above what can
/// run at once ([`CONCURRENT_EXECUTIONS_MAX`]), each of which may have one.
pub const WORKERS_TASKS_MAX: u64 = 4 * CONCURRENT_EXECUTIONS_MAX;

/// Processes and threads in the control group of one worker: itself.
pub const WORKER_TASKS_MAX: u64 = 1;

/// Bytes that are read of what the kernel has counted in a control group.
pub const GROUP_EVENTS_BYTES_MAX: usize = 512;

/// Bytes that may be left in the control group of a worker that is gone, for it to be used again. The
/// kernel counts some ahead on each processor.
pub const GROUP_LEFT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long no control group is made for a worker after that has failed.
pub const GROUP_RETRY_PAUSE: Duration = Duration::from_secs(10);

/// How long the control groups of a pool that stops are tried to be removed, all together.
pub const GROUP_REMOVAL_MAX: Duration = Duration::from_millis(200);

/// First pause after a worker died while starting; doubles to [`BACKOFF_MAX`], with jitter.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// See [`BACKOFF_MIN`].
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Start-up deaths within [`BREAKER_WINDOW`] that open the breaker.
pub const BREAKER_DEATHS: usize = 5;
/// See [`BREAKER_DEATHS`].
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);

/// Heaps that stand on one another on the disk: each takes as much as it differs from the one below,
/// and reading the last one reads all.
pub const HEAP_DEPTH_MAX: u8 = 16;

/// How long a node waits for another's answer about a heap, in milliseconds: longer than one takes to
/// fetch the heaps below it.
pub const HEAP_CALL_MS_MAX: u64 = 30_000;

/// Bytes of a heap's file that go from node to node at once.
pub const HEAP_COPY_BYTES_MAX: usize = 256 * 1024;

/// Heaps that have arrived and are proven at once.
pub const HEAPS_PROVEN_AT_ONCE: usize = 4;

/// Heaps that a node brings to others at once: fewer than the calls that a connection works on.
pub const HEAPS_SPREAD_AT_ONCE: usize = 64;

/// Bytes of what another node says went wrong.
pub const PROBLEM_BYTES_MAX: usize = 256;

/// Bytes of a heap's file: those of the largest heap, and what cannot be compressed costs.
pub const HEAP_FILE_BYTES_MAX: u64 = mcp_v8_protocol::limits::HEAP_BYTES_MAX + 8 * 1024 * 1024;

/// For each script that may run at once: scripts that have run, whose heaps are being stored, brought to
/// other nodes and committed.
pub const STORING_PER_SLOT: usize = 8;

/// Artifacts that a server keeps which keeps nothing else: in memory, the oldest go first.
pub const ARTIFACTS_MEMORY_MAX: usize = 1000;

/// Bytes of those: 64 MiB.
pub const ARTIFACTS_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a page of a session's history, about: past it the page ends.
pub const SNAPSHOTS_BYTES_MAX: usize = 256 * 1024;

/// Heaps that a search by tags finds at most.
pub const TAGGED_HEAPS_MAX: usize = 1000;

/// Bytes of a heap's file that go to a bucket at once; a shorter one goes as one object.
pub const HEAP_PIECE_BYTES: usize = 8 * 1024 * 1024;

/// How long one request to a bucket may take.
pub const BUCKET_REQUEST_MAX: Duration = Duration::from_secs(20);
/// How long it is repeated.
pub const BUCKET_RETRY_MAX: Duration = Duration::from_secs(10);

/// Heaps that are remembered to be in a bucket.
pub const BUCKET_KNOWN_MAX: usize = 100_000;

/// Heaps that a round removes from a bucket.
pub const HEAPS_AT_BUCKET_MAX: usize = 1000;

/// MiB of heaps that a node keeps beside a bucket: default, least and most.
pub const HEAP_CACHE_MB_DEFAULT: u64 = 8 * 1024;
/// See [`HEAP_CACHE_MB_DEFAULT`].
pub const HEAP_CACHE_MB_MIN: u64 = 64;
/// See [`HEAP_CACHE_MB_DEFAULT`].
pub const HEAP_CACHE_MB_MAX: u64 = 1024 * 1024;

/// Bytes of heaps that are kept in memory.
pub const HEAP_CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// How long a heap is brought to other nodes before the step fails that left it, unless a majority has
/// it. Longer than [`HEAP_CALL_MS_MAX`], so that every node was asked once at least.
pub const HEAP_SPREAD_MAX: Duration = Duration::from_secs(40);
/// How soon that is tried again.
pub const HEAP_SPREAD_AGAIN: Duration = Duration::from_millis(200);

/// How old a file must be that is removed because nothing names its heap: by then the step that left it
/// has named it, or never will.
pub const HEAP_GRACE: Duration = Duration::from_secs(15 * 60);

/// How long after its start a process removes none: a step that had its heap stored here before may be
/// brought here once more until then.
pub const HEAP_SWEEP_AFTER: Duration = Duration::from_secs(120);

/// How often a node looks for heaps that it lacks, and that nothing names.
pub const HEAP_UPKEEP: Duration = Duration::from_secs(60);
/// How often while it knows of none, or could not get one.
pub const HEAP_UPKEEP_AGAIN: Duration = Duration::from_secs(5);

/// Connections of one address to the cluster port. A node has some ten to each other one.
pub const CLUSTER_CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// How long whoever has connected, to whichever port, may take nothing of what is sent to them.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// How long a death that a script caused may take to be counted in the whole cluster before the answer
/// goes out without.
pub const QUARANTINE_COUNT_MAX: Duration = Duration::from_secs(2);

/// Blocks of memory from this size on, in bytes, go back to the system as soon as they are free.
pub const LARGE_BLOCK_BYTES: i32 = 128 * 1024;

/// What running scripts may take to end once their server was told to stop, in seconds: default and
/// most.
pub const DRAIN_SECS_DEFAULT: u64 = 30;
/// See [`DRAIN_SECS_DEFAULT`].
pub const DRAIN_SECS_MAX: u64 = EXECUTION_TIMEOUT_SECS_MAX;

/// How long a node that stops waits, after its own scripts have ended, for those that others have
/// taken over from it: whoever waits here for one hears its end.
pub const ANSWERS_MAX: Duration = Duration::from_secs(30);

/// How long a connection that has no request under way stays open when its server stops: one may be on
/// its way.
pub const LAST_REQUEST_MAX: Duration = Duration::from_millis(300);

/// How long a node says that it is not ready before it takes no more connections, at least: load
/// balancers look every second or so, and send requests until they have looked.
pub const NOT_READY_MIN: Duration = Duration::from_secs(2);

/// How long after its ports were opened a server tells its service manager that it has started, though
/// it is not ready: what it waits for then, others must bring.
pub const READY_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked at whether a server is ready, for its service manager.
pub const SERVICE_LOOK: Duration = Duration::from_millis(500);

/// What a service manager may take to receive a message.
pub const SERVICE_SEND_MAX: Duration = Duration::from_secs(2);

/// Bytes of what a service manager is told about the state of the server; it takes 4 KiB altogether.
pub const SERVICE_STATUS_BYTES_MAX: usize = 1024;

/// What a stop may take beyond the drain time and [`ANSWERS_MAX`] if whatever can be late is late.
pub const STOP_LATE_MAX: Duration = Duration::from_secs(15);

/// How long a connection that has begun when its port is about to close may take to be there: longer
/// than a packet and its answer are on their way between a proxy and its servers, also where the machine
/// is busy. Whoever begins one meanwhile is kept waiting for longer than that.
pub const HANDSHAKE_MAX: Duration = Duration::from_millis(100);

/// How long scripts that were told to stop may take to end before they are left behind.
pub const STOP_MAX: Duration = Duration::from_secs(2);

/// How long open connections may take to finish once the scripts have ended.
pub const CONNECTION_DRAIN_MAX: Duration = Duration::from_secs(2);

/// Seconds a call may wait for an execution: most, and the default of `run_js`.
pub const WAIT_SECS_MAX: u64 = 300;
/// See [`WAIT_SECS_MAX`].
pub const WAIT_SECS_DEFAULT: u64 = 30;

/// Bytes of a request body: room for the largest code in JSON escapes of two bytes a byte.
pub const BODY_BYTES_MAX: usize = 2 * CODE_BYTES_MAX + 64 * 1024;

/// What a client may take to send its request body.
pub const BODY_READ_MAX: Duration = Duration::from_secs(60);

/// Bytes of all request bodies that one listener reads at once. Past it: 503.
pub const BODIES_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Connections on one listener that are there and not accepted yet; the kernel's `net.core.somaxconn` may
/// be less.
pub const CONNECTIONS_WAITING_MAX: u32 = 4096;

/// Connections open at once on one listener; the next one waits to be accepted.
pub const CONNECTIONS_MAX: usize = 1024;

/// What a client may take to send its request head.
pub const HEADER_READ_MAX: Duration = Duration::from_secs(15);

/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Lines of an output page: default and most.
pub const PAGE_LINES_DEFAULT: u64 = 100;
/// See [`PAGE_LINES_DEFAULT`].
pub const PAGE_LINES_MAX: u64 = 100_000;

/// Bytes of an output page in byte mode: default and most.
pub const PAGE_BYTES_DEFAULT: u64 = 4096;
/// See [`PAGE_BYTES_DEFAULT`].
pub const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// Executions in one list: default and most.
pub const LIST_DEFAULT: u64 = 100;
/// See [`LIST_DEFAULT`].
pub const LIST_MAX: u64 = 1000;

/// Sessions of the legacy HTTP+SSE transport open at once.
pub const SSE_SESSIONS_MAX: usize = 512;

/// Sessions of Streamable HTTP open at once (revisions up to 2025-11-25 have sessions). For one more,
/// the one that was not used for longest is closed.
pub const MCP_SESSIONS_MAX: usize = 2048;

/// Those of one caller, where callers are told apart. For one more, the one of that caller that was not
/// used for longest is closed.
pub const MCP_SESSIONS_PER_PRINCIPAL_MAX: usize = 256;

/// What a session may be idle for before it is closed: longer than the longest call, which counts as
/// idle while it waits.
pub const MCP_SESSION_IDLE_MAX: Duration = Duration::from_secs(2 * WAIT_SECS_MAX);

/// How often a node looks whether sessions of MCP clients have ended at others.
pub const MCP_SESSIONS_SWEPT: Duration = Duration::from_secs(10);

/// How often the cluster is told which sessions of MCP clients are used.
pub const MCP_SESSION_USE_NOTED: Duration = Duration::from_secs(15 * 60);

/// Notifications of cancelled requests that other nodes have told of and that wait; who tells of one more
/// waits as well.
pub const CANCELLED_WAITING_MAX: usize = 256;

/// Bytes of the reason for which a client cancels a request that other nodes are told.
pub const CANCELLED_REASON_BYTES_MAX: usize = 512;

/// How long other nodes are told that a request is cancelled, until they have heeded it.
pub const OTHERS_TOLD_MAX: Duration = Duration::from_secs(5);

/// How long the end of an MCP session may take to be known at every node before it is answered.
pub const SESSION_END_SEEN_MAX: Duration = Duration::from_secs(1);

/// How long the cluster is asked to stop an execution whose caller has gone, while it has no majority:
/// by then its time is over.
pub const CANCEL_TRIED_MAX: Duration = Duration::from_secs(EXECUTION_TIMEOUT_SECS_MAX);

/// How long a server that stops waits until what was cancelled is cancelled in the cluster.
pub const CANCELS_MAX: Duration = Duration::from_secs(3);

/// Messages waiting in one direction of an SSE session, and requests of one that have no answer yet.
pub const SSE_QUEUE_DEPTH_MAX: usize = 64;

/// Bytes of console text in one progress notification.
pub const PROGRESS_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a script that are hashed on the thread that serves its request; longer ones are hashed
/// on a blocking thread.
pub const HASH_INLINE_BYTES_MAX: usize = 64 * 1024;

/// How often a comment keeps an idle SSE stream open through proxies.
pub const SSE_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Bytes of the MCP library's own error text that are passed on.
pub const LIBRARY_ERROR_BYTES_MAX: usize = 64 * 1024;

/// Pause between two progress notifications, so that a flood of lines becomes few messages.
pub const PROGRESS_PAUSE: Duration = Duration::from_millis(20);

/// How long after the end of a script its last progress may take to be sent, before its result is.
pub const PROGRESS_END_MAX: Duration = Duration::from_millis(250);

/// Bytes of one MCP message as it is sent. Clients refuse larger ones: the Python SDK takes events
/// of up to 1 MiB. What does not fit is cut with a notice that says how to read the rest.
pub const MCP_MESSAGE_BYTES_MAX: usize = 1024 * 1024 - 64 * 1024;

/// How often a client is asked to look at a task, in milliseconds.
pub const TASK_POLL_MS: u64 = 1_000;

/// How long a client is told that a task is kept, in milliseconds, from when it was accepted. It is
/// kept as long as its execution, which is for as long from when that ended, unless more have ended
/// since than are kept.
pub const TASK_KEPT_MS: u64 = mcp_v8_cluster::limits::EXPIRE_AFTER_MS_DEFAULT;

/// Messages waiting in one direction of a stdio connection.
pub const STDIO_QUEUE_DEPTH_MAX: usize = 64;

/// How long scripts may go on after the client of a stdio server has closed its end.
pub const STDIO_DRAIN_MAX: Duration = Duration::from_secs(1);

/// Bytes of a worker's log line that are kept.
pub const WORKER_LOG_LINE_BYTES_MAX: usize = 4096;

/// Worker log lines passed on per second; the rest are counted.
pub const WORKER_LOG_LINES_PER_SEC_MAX: u32 = 20;

/// Bytes of worker log that are read per second, roughly; whoever writes more waits.
pub const WORKER_LOG_BYTES_PER_SEC_MAX: usize =
    2 * WORKER_LOG_LINE_BYTES_MAX * WORKER_LOG_LINES_PER_SEC_MAX as usize;

/// Bytes of a text that travel in the command it belongs to; a longer one is sent ahead in pieces.
pub const INLINE_TEXT_BYTES_MAX: usize = 8 * 1024;

/// Bytes of one of those pieces: with what is around it, it fits one value of the store.
pub const TEXT_PART_BYTES: usize = 15 * 1024;

/// Pieces that are sent before the first of them is answered.
pub const TEXT_PARTS_AT_ONCE: usize = 16;

/// Log lines of one kind in a second that a caller can cause at will; the rest are counted.
pub const LOG_LINES_PER_SEC_MAX: u32 = 5;

/// Bytes of a request's id that is taken from its caller.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Bytes of a `tracestate` that is passed on. W3C Trace Context asks for 512 at least.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// Phases of an execution that a trace shows: it has some five, and more where commits are repeated.
pub const PHASES_MAX: usize = 32;

/// What one delivery of spans may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
pub const OTLP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long a server that stops delivers its last spans.
pub const OTLP_FLUSH_MAX: Duration = Duration::from_secs(2);

/// Bytes of a collector's answer.
pub const OTLP_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long a node waits for new console text when another asks for it.
pub const FOLLOW_WAIT: Duration = Duration::from_secs(5);

/// How long what the nodes have said of themselves is shown before they are asked again.
pub const OVERVIEW_FRESH: Duration = Duration::from_millis(500);

/// How long whoever looks at an execution of another node waits for what it has printed.
pub const FIRST_LOOK_MAX: Duration = Duration::from_millis(500);

/// Bytes of a bearer token.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Characters of a name in a token (of its key, of its algorithm) that an error shows.
pub const TOKEN_NAMED_CHARS_MAX: usize = 64;

/// Seconds by which clocks may differ when a token is judged: default and most.
pub const TOKEN_LEEWAY_SECS_DEFAULT: u64 = 60;
/// See [`TOKEN_LEEWAY_SECS_DEFAULT`].
pub const TOKEN_LEEWAY_SECS_MAX: u64 = 600;

/// Bytes of the modulus of an RSA key that tokens are verified with, least and most: 2048 to 8192 bits.
pub const RSA_BYTES_MIN: usize = 256;
/// See [`RSA_BYTES_MIN`].
pub const RSA_BYTES_MAX: usize = 1024;

/// Keys in a key set.
pub const JWKS_KEYS_MAX: usize = 100;

/// Bytes of a key set.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;

/// How long fetching a key set may take.
pub const JWKS_FETCH_MAX: Duration = Duration::from_secs(5);

/// How often a key set is fetched.
pub const JWKS_REFRESH: Duration = Duration::from_secs(5 * 60);

/// How soon again when it could not be.
pub const JWKS_RETRY: Duration = Duration::from_secs(10);

/// How long keys count that cannot be fetched again.
pub const JWKS_STALE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a key set is fetched because tokens name keys that it does not have: so often at once, and
/// then once in this time.
pub const JWKS_WANTED_BURST: u32 = 3;
/// See [`JWKS_WANTED_BURST`].
pub const JWKS_WANTED_EVERY: Duration = Duration::from_secs(10);

/// Executions of one principal that have not ended: most that can be allowed.
pub const PRINCIPAL_CONCURRENT_MAX: u32 = 100_000;

/// Submissions of one principal in a minute: most that can be allowed.
pub const PRINCIPAL_RATE_MAX: u32 = 1_000_000;

/// Principals of which a server remembers how much they have submitted.
pub const PRINCIPALS_RATED_MAX: usize = 10_000;

/// What a client may take for a TLS handshake.
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// TLS handshakes under way at once on the ports of the clients: fewer than there may be
/// connections, so that those who are in keep theirs.
pub const TLS_HANDSHAKES_MAX: usize = CONNECTIONS_MAX / 2;

/// Those of one address.
pub const TLS_HANDSHAKES_PER_ADDRESS_MAX: usize = TLS_HANDSHAKES_MAX / 4;

/// How often it is looked whether a certificate was replaced.
pub const TLS_LOOK: Duration = Duration::from_secs(2);
