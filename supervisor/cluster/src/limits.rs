//! Every bound of the replicated state, with its unit.

/// Bytes of one value in the store.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a segment of sled's files. sled writes pages of more than a quarter of this to files of
/// their own that nothing syncs; a page has about twenty values, so it stays far below.
pub const SLED_SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// How long opening a database waits for the end of threads that had it open, in milliseconds.
pub const DATABASE_LOCK_MS_MAX: u64 = 5_000;

/// Bytes of encoded commands that one log entry holds at most; a single larger command still goes
/// through, alone.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024;

/// Commands that one log entry holds at most.
pub const ENTRY_COMMANDS_MAX: usize = 512;

/// Bytes of one encoded command.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Bytes of each of the two journal segments. What one holds is made durable in the database while
/// the other is written: the larger, the less often, and the longer a restart reads.
pub const JOURNAL_SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of entries in one append to a follower: more would delay what waits behind it.
pub const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of recent entries kept decoded for replication.
pub const ENTRY_CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that sled may use as page cache, for the log and for the rows each.
pub const PAGE_CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Entries that are applied in one write to the store.
pub const APPLY_ENTRIES_MAX: usize = 256;

/// Bytes of changed rows that are kept to be made again; more than that is written as one batch. Far
/// below a quarter of [`SLED_SEGMENT_BYTES`], with what else is on the page.
pub const REDO_BYTES_MAX: usize = 128 * 1024;

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

/// Workers that code may kill within [`QUARANTINE_WINDOW_MS`]. The last of them quarantines it.
pub const QUARANTINE_DEATHS: usize = 3;
/// See [`QUARANTINE_DEATHS`]. In milliseconds.
pub const QUARANTINE_WINDOW_MS: u64 = 60 * 60 * 1000;

/// How long quarantined code is refused, in milliseconds.
pub const QUARANTINE_MS: u64 = 60 * 60 * 1000;

/// Codes whose deaths are remembered. For one more, the one that is not quarantined and killed longest
/// ago is forgotten; while all are quarantined, one more is not counted.
pub const QUARANTINE_ENTRIES_MAX: usize = 1024;

/// Bytes kept of how the last worker died, which may be in the worker's words.
pub const QUARANTINE_REASON_BYTES_MAX: usize = 512;

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

/// Backups that a node takes or sends at once.
pub const BACKUPS_AT_ONCE_MAX: usize = 2;

/// Bytes of changed rows that are remembered while a backup is taken.
pub const BACKUP_KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a backup that are read and sent at once.
pub const BACKUP_CHUNK_BYTES: usize = 256 * 1024;

/// How long the receiver of a backup may take nothing, in milliseconds.
pub const BACKUP_STALL_MS_MAX: u64 = 30_000;

/// Bytes of a disk that are left free, at most.
pub const DISK_RESERVE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Bytes that are left free at least: what the databases have in memory and still have to write.
/// Of a disk that is not much larger, a half.
pub const DISK_RESERVE_BYTES_MIN: u64 = 2 * (JOURNAL_SEGMENT_BYTES + SLED_SEGMENT_BYTES) as u64;

/// Of a smaller disk one part of so many is left free.
pub const DISK_RESERVE_SHARE: u64 = 20;

/// Other clusters whose nodes are told of when they are refused, so that nobody fills the log.
pub const STRANGERS_MAX: usize = 16;

/// How often a node looks how much room its disk has, in milliseconds.
pub const DISK_LOOK_MS: u64 = 500;

/// A disk that was too full must have one part of so many of the reserve more than that.
pub const DISK_MARGIN_SHARE: u64 = 4;

/// How long a command waits for room on a full disk when nobody else could commit it, in
/// milliseconds.
pub const FULL_MS_MAX: u64 = 1_000;
/// Bytes of the secret that nodes share: least and most. 32 random bytes cannot be guessed by
/// whoever records a proof.
pub const SECRET_BYTES_MIN: usize = 32;
/// See [`SECRET_BYTES_MIN`].
pub const SECRET_BYTES_MAX: usize = 4096;

/// Bytes of a certificate file.
pub const TLS_FILE_BYTES_MAX: usize = 1024 * 1024;

/// How often certificate files are looked at, in milliseconds.
pub const TLS_LOOK_MS: u64 = 5_000;

/// How long a TLS handshake may take, in milliseconds.
pub const TLS_HANDSHAKE_MS_MAX: u64 = 2_000;

/// How far the clock of whoever proves the secret may be from this node's, in milliseconds.
pub const CLOCK_SKEW_MS_MAX: u64 = 60_000;

/// Requests with proof that are remembered so that none is taken twice: 136 a second for as long as
/// they count. They are an operator's, and of nodes that join.
pub const PROOFS_REMEMBERED_MAX: usize = 16_384;

/// Bytes of `Authorization`.
pub const AUTHORIZATION_BYTES_MAX: usize = 512;

/// How long a caller that begins a connection has to prove the secret, in milliseconds.
pub const PROOF_MS_MAX: u64 = 2_000;

/// Callers that begin a connection and have not proven the secret yet.
pub const STREAMS_UNPROVEN_MAX: usize = 256;
/// Those of one address. A node begins a few at once.
pub const STREAMS_UNPROVEN_PER_ADDRESS_MAX: usize = 16;

/// How long the body of a request to the cluster port may take, in milliseconds.
pub const BODY_READ_MS_MAX: u64 = 10_000;

/// For each reason, refusals are logged at most once in so many milliseconds.
pub const REFUSALS_LOG_MS: u64 = 5_000;

/// Why another node is not trusted is logged again after so many milliseconds while it stays the
/// same, and forgotten when it has not come up for as long.
pub const TROUBLE_MS: u64 = 30_000;

/// Nodes that are not trusted and of which it is remembered why.
pub const TROUBLES_MAX: usize = 64;

/// Where nothing is proven: how often the addresses of members are looked up at most, in
/// milliseconds, however many strangers call.
pub const ADDRESSES_LOOK_MS: u64 = 1_000;

/// Where nothing is proven: how long an address of a name counts before the name is looked up
/// again, in milliseconds.
pub const ADDRESSES_AGE_MS: u64 = 60_000;

/// Where nothing is proven: how long a caller from an unknown address waits for such a look, in
/// milliseconds. Shorter than [`CONNECT_MS_MAX`].
pub const ADDRESSES_WAIT_MS: u64 = 500;

/// How long looking up one name may take, in milliseconds.
pub const RESOLVE_MS_MAX: u64 = 5_000;

/// Names and addresses of other nodes that are looked up.
pub const ADDRESSES_MAX: usize = 256;

/// Artifacts that are kept.
pub const ARTIFACTS_MAX: u64 = 10_000;

/// Bytes of all artifacts that are kept, before they are compressed: 8 GiB.
pub const ARTIFACTS_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Sessions that are kept.
pub const SESSIONS_MAX: u64 = 100_000;

/// Bytes of a session's name.
pub const SESSION_NAME_BYTES_MAX: usize = 256;

/// Pieces of a step's source that its session's history keeps, each of at most [`VALUE_BYTES_MAX`]
/// bytes.
pub const SESSION_CODE_PIECES_MAX: u32 = 2;

/// Entries of a session's history that are kept; the oldest are forgotten.
pub const SESSION_ENTRIES_MAX: u64 = 10_000;

/// Sessions of MCP clients that are kept. For one more, the one that was not used for longest goes.
pub const MCP_SESSIONS_KEPT_MAX: u64 = 10_000;

/// What a session of an MCP client is kept for after its last use, in milliseconds: a day.
pub const MCP_SESSION_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Bytes that are kept of what an MCP client says of itself.
pub const MCP_CLIENT_BYTES_MAX: usize = 4 * 1024;

/// Sessions of MCP clients that one command ends, or notes the use of.
pub const MCP_SESSIONS_PER_COMMAND_MAX: usize = 256;
