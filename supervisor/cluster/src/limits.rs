//! Every bound of the replicated state, with its unit.

/// Bytes of one value in the store. sled writes larger values (from about 128 KiB) to files that
/// nothing syncs, so values stay far below.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of encoded commands that one log entry holds at most; a single larger command still goes
/// through, alone.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024;

/// Commands that one log entry holds at most.
pub const ENTRY_COMMANDS_MAX: usize = 512;

/// Bytes of one encoded command.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Bytes of entries in one append to a follower: more would delay what waits behind it.
pub const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of recent entries kept decoded for replication.
pub const ENTRY_CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that sled may use as page cache, for the log and for the rows each.
pub const PAGE_CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Entries that are applied in one write to the store.
pub const APPLY_ENTRIES_MAX: usize = 256;

/// Rows that a snapshot reads while `apply` waits.
pub const SNAPSHOT_ROWS_PER_LOCK: usize = 512;

/// Entries after which a snapshot is made, unless set otherwise.
pub const SNAPSHOT_ENTRIES_DEFAULT: u64 = 2_000;

/// How many times [`SNAPSHOT_ENTRIES_DEFAULT`] entries, or what is set, the log may grow by while the
/// last snapshot is larger than that.
pub const SNAPSHOT_ENTRIES_FACTOR: u64 = 50;

/// How long a snapshot may take before another is tried, in milliseconds.
pub const SNAPSHOT_MS_MAX: u64 = 5 * 60 * 1000;

/// Entries after which the rows are made durable: what a node that lost power applies again.
pub const ROWS_SYNC_ENTRIES: u64 = 2_000;

/// Entries that stay in the log behind a snapshot, for followers that are a little late.
pub const LOG_KEEP_ENTRIES: u64 = 500;

/// Command ids that are remembered. A command is retried for [`PROPOSE_MS_MAX`], in which no more than
/// these come: only commands without another name of their own need one (tags), and ten thousand of
/// those a second are more than three nodes take. All of them are in every snapshot, and are read when
/// a node starts.
pub const COMMAND_IDS_MAX: u64 = 100_000;

/// Ended executions that are kept, unless set otherwise.
pub const EXECUTION_ROWS_DEFAULT: u64 = 20_000;

/// Bytes of ended executions that are kept, unless set otherwise.
pub const EXECUTION_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// Attempts that an execution gets when nodes are lost under it.
pub const ATTEMPTS_MAX: u32 = 3;

/// Bytes of a node name.
pub const NODE_NAME_BYTES_MAX: usize = 64;

/// Bytes of a host:port.
pub const ADDRESS_BYTES_MAX: usize = 261;

/// Tags of one heap.
pub const TAGS_MAX: usize = 64;

/// Bytes of the tags of one heap, keys and values together.
pub const TAGS_BYTES_MAX: usize = 8 * 1024;

/// Bytes of one frame between nodes.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Frames that wait to be sent on one connection.
pub const FRAMES_QUEUED_MAX: usize = 1024;

/// Calls that one connection works on at once.
pub const CALLS_AT_ONCE_MAX: usize = 256;

/// Bytes of a snapshot in one frame.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;

/// Commands that wait for the proposer.
pub const PROPOSALS_QUEUED_MAX: usize = 8192;

/// Entries that the proposer has under way at once: the next forms while these are synced.
pub const PROPOSALS_IN_FLIGHT_MAX: usize = 4;

/// How long a command is tried before its outcome is given up as unknown, in milliseconds.
pub const PROPOSE_MS_MAX: u64 = 10_000;

/// How long a read waits for the leader, in milliseconds.
pub const BARRIER_MS_MAX: u64 = 5_000;

/// How long a connection to another node may take, in milliseconds.
pub const CONNECT_MS_MAX: u64 = 1_000;

/// How long a node may be silent before it is declared lost, in milliseconds.
pub const LEASE_MS: u64 = 5_000;

/// How long after the last renewal that was answered a node stops what it runs, in milliseconds:
/// before the leader gives it to another.
pub const FENCE_MS: u64 = LEASE_MS * 8 / 10;

/// How often a node renews, in milliseconds.
pub const RENEW_MS: u64 = 1_000;

/// How long the body of a status answer may take to read, in milliseconds.
pub const STATUS_MS_MAX: u64 = 1_000;

/// Bytes of a status answer of another node.
pub const STATUS_BYTES_MAX: usize = 256 * 1024;

/// How long an execution that has ended is kept, in milliseconds, unless set otherwise.
pub const EXPIRE_AFTER_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;
