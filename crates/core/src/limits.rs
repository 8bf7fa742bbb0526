//! Every bound of the core in one place, with the relations between them checked when it is compiled.

/// Log rows that are read at once. A change set above that is closed early, and atomicity given up (G4).
pub const GROUP_ROWS_MAX: usize = 100_000;
/// The same for bytes, as [`Value::size`](crate::model::Value::size) counts them.
pub const GROUP_BYTES_MAX: usize = 64 << 20;
/// The largest row that travels, in bytes. Larger ones stay at their origin, with an error in its log.
pub const ROW_SIZE_MAX: usize = 64 << 20;
/// A body is closed when its rows have about this many bytes before compression: 64 to 256 KB is where JetStream with
/// `sync_interval: always` carries most (26 MB/s at 16 KB, 215 MB/s at 256 KB).
pub const BODY_SIZE_TARGET: usize = 256 << 10;
/// The largest message, envelope included; a body above it continues in the next part. External servers usually
/// have `max_payload` 1 MB.
pub const MESSAGE_SIZE_MAX: usize = 1_000_000;
/// The smallest largest message that may be configured: the greatest group still fits its [`PARTS_MAX`] parts.
pub const MESSAGE_SIZE_MIN: usize = 4096;
/// Messages of one group.
pub const PARTS_MAX: u32 = 100_000;
/// The largest envelope and header before the body.
pub const HEADER_SIZE_MAX: usize = 1024;
/// What a decoder expands a body to at most: one row of the greatest size and a full body before it.
pub const BODY_RAW_SIZE_MAX: usize = ROW_SIZE_MAX + 2 * BODY_SIZE_TARGET + (1 << 20);
/// Items (values and what stands before them) of all rows of a body: each takes a byte at least, and a body is closed with
/// the row that reaches [`BODY_SIZE_TARGET`]. A compressed body of nothing but NULLs would take a hundred times its size.
pub const BODY_ITEMS_MAX: usize = BODY_SIZE_TARGET + COLUMNS_MAX + 16;
/// Columns of a table; SQLite's own upper bound.
pub const COLUMNS_MAX: usize = 32_767;
/// The longest name of a cluster, in bytes.
pub const CLUSTER_NAME_MAX: usize = 128;
/// Messages of an atomic batch; the server's own limit.
pub const ATOMIC_BATCH_MAX: usize = 1000;
/// Messages of one source that may be under way to the core.
pub const SOURCE_WINDOW_MESSAGES: u32 = 64;
/// Bytes of one source's complete groups that may wait for the database before no more messages are asked for.
pub const SOURCE_QUEUE_BYTES_MAX: usize = 8 << 20;
/// The most bytes of one group in memory: its bodies as they travel; incompressible ones are a little larger than the
/// rows, and the last row may be of the greatest size.
pub const GROUP_RECEIVED_BYTES_MAX: usize = GROUP_BYTES_MAX + ROW_SIZE_MAX + (8 << 20);
/// Bounds of the rows in one apply transaction, between which it adapts.
pub const APPLY_ROWS_MIN: u64 = 16;
/// The upper one.
pub const APPLY_ROWS_MAX: u64 = 20_000;
/// The longest wait before an apply asks again for the application's lock, in milliseconds.
pub const APPLY_BUSY_MAX_MS: u64 = 200;
/// Groups of ours that are remembered as sent by this process: those under way, and as many of a try before.
pub const SENT_GROUPS_MAX: usize = 2 * GROUPS_UNDER_WAY_MAX;
/// Groups, of all shards, that one reading of the log is cut into at most.
pub const GROUPS_UNDER_WAY_MAX: usize = 512;
/// Rows from which on a change set ends at the next place where a transaction is known to end: applied within the time for
/// which the lock is held beside an application that writes, and large enough that what a group costs beside its rows is
/// little.
pub const SET_ROWS: usize = 100;
/// How often a stream that is followed is looked at, and how long a stopped source rests, in milliseconds.
pub const OBSERVE_INTERVAL_MS: u64 = 10_000;
/// The next look at a stream that went on while nothing of it came, after it was followed anew: that helped, or it did
/// not. With the interval it keeps the promise that a silent source is told of within 30 s.
pub const STALL_LOOK_MS: u64 = 3_000;
/// How long to wait before a lost source is tried again, at first; doubled each time.
pub const RETRY_FIRST_MS: u64 = 50;
/// The same at most.
pub const RETRY_MAX_MS: u64 = 2_000;
/// How often the store is asked whether anything became too old, beside housekeeping for its own reasons, in milliseconds.
pub const EXPIRY_INTERVAL_MS: u64 = 600_000;
/// Entries that the conflict log keeps unless told otherwise.
pub const CONFLICTS_KEPT: u64 = 10_000;
/// How long it keeps one unless told otherwise, in milliseconds: 30 days.
pub const CONFLICTS_KEPT_MS: u64 = 30 * 24 * 3_600_000;
/// How far another node's clock may be ahead of ours before it is an alarm, unless told otherwise, in milliseconds.
pub const CLOCK_DRIFT_MAX_MS: u64 = 10_000;
/// Log rows after which housekeeping runs without waiting for its interval; also the most it stamps or trims in one commit,
/// which while the application writes are about a hundredth of it.
pub const HOUSEKEEPING_ROWS: usize = 10_000;
/// Rows, or row versions, that one step of the scan looks at: with so many to log it holds the write lock for about 2 ms.
pub const SCAN_ROWS: usize = 256;
/// Bytes of rows after which a step ends before that.
pub const SCAN_BYTES: usize = 8 << 20;
/// Between two steps of a scan over tables whose triggers were missing, in milliseconds.
pub const SCAN_PAUSE_MARKED_MS: u64 = 10;
/// The same while all tables are looked at in the background: a million rows in 7 minutes, 1 % of a core.
pub const SCAN_PAUSE_WHOLE_MS: u64 = 100;
/// Between two scans over all tables, in milliseconds; none when nobody has written.
pub const SCAN_INTERVAL_MS: u64 = 3_600_000;
/// When a step is tried again that found the database busy.
pub const SCAN_RETRY_MS: u64 = 100;
/// The same for one that failed otherwise.
pub const SCAN_TROUBLE_MS: u64 = 60_000;
/// Between two records of a member, in milliseconds.
pub const HEARTBEAT_MS: u64 = 2_500;
/// After so many heartbeats without a word a member counts as silent: its node id may be taken over by another machine.
pub const HEARTBEATS_MISSED_MAX: u64 = 4;
/// The same in milliseconds.
pub const SILENT_AFTER_MS: u64 = HEARTBEAT_MS * HEARTBEATS_MISSED_MAX;
/// For how long a record of a process that was killed may be under way, in milliseconds.
pub const RECORD_LATE_MAX_MS: u64 = 60_000;
/// For how long a caller that was refused and does not come again is shown, in milliseconds.
pub const REFUSED_SHOWN_MS: u64 = 60_000;
/// Callers that were refused and are shown.
pub const REFUSED_CALLERS_MAX: usize = 32;
/// Members that a node knows, itself not among them. A mesh is for about fifteen.
pub const KNOWN_MEMBERS_MAX: usize = 256;
/// Positions in a member's record: sixteen origins with 256 shards each.
pub const RECORD_POSITIONS_MAX: usize = 4_096;
/// Sources in a member's record.
pub const RECORD_SOURCES_MAX: usize = 4_096;
/// The longest text in a member's record but for the cluster's name, in bytes.
pub const RECORD_TEXT_MAX: usize = 512;
/// The longest address of a member, in bytes: a name of 255 and a port.
pub const ADDRESS_SIZE_MAX: usize = 264;
/// The longest record of a member, in bytes: below what any server takes as a message.
pub const RECORD_SIZE_MAX: usize = 900_000;
/// Samples by which an origin tells how many rows somebody is behind.
pub const BACKLOG_SAMPLES_MAX: usize = 32;

const _: () = assert!(RECORD_SIZE_MAX < MESSAGE_SIZE_MAX && SILENT_AFTER_MS > 2 * HEARTBEAT_MS);
const _: () = assert!(SCAN_ROWS <= HOUSEKEEPING_ROWS && SCAN_PAUSE_WHOLE_MS < SCAN_INTERVAL_MS);
const _: () = assert!(HEADER_SIZE_MAX < MESSAGE_SIZE_MAX && CLUSTER_NAME_MAX < HEADER_SIZE_MAX);
const _: () = assert!(BODY_SIZE_TARGET < MESSAGE_SIZE_MAX);
const _: () = assert!(BODY_RAW_SIZE_MAX > ROW_SIZE_MAX + BODY_SIZE_TARGET);
const _: () = assert!(
    (MESSAGE_SIZE_MIN - HEADER_SIZE_MAX) * PARTS_MAX as usize > 2 * (GROUP_BYTES_MAX + BODY_RAW_SIZE_MAX)
);
