//! Every bound and default in one place, their relations asserted at compile time.

use std::time::Duration;

/// Bytes in a kibibyte.
pub const KIB: usize = 1024;
/// Bytes in a mebibyte.
pub const MIB: usize = 1024 * KIB;

/// The largest frame on any wire, header included, in bytes.
pub const FRAME_MAX: usize = MIB;
/// The largest serialized head of a frame, in bytes; the rest is for bulk bytes.
pub const FRAME_HEAD_MAX: usize = 512 * KIB;
/// A chunk of content: cuts lie at multiples of it, in bytes.
pub const CHUNK: usize = 4 * MIB;
/// A piece: what travels in one frame, in bytes.
pub const PIECE: usize = 256 * KIB;
/// Content up to this stands inline in the manifest, in bytes.
pub const INLINE_MAX: usize = 16 * KIB;
/// The unit of the CRC-64 that is checked at every read, in bytes.
pub const BLOCK: usize = 64 * KIB;
/// The most bytes a client keeps that are not yet on both members.
pub const CLIENT_WINDOW: usize = 16 * MIB;
/// The most bytes of large requests in one server, over all connections, from their arrival until nothing needs them
/// any more: also pieces of uploads that are kept to be hashed or passed on (R38).
pub const SERVER_WINDOW: usize = 64 * MIB;
/// The most bytes of answers to reads in one server that are not written out yet, over all connections (R38).
pub const SERVER_READS: usize = 32 * MIB;
/// The largest file, in bytes: bounded by the manifest, which must fit a record.
pub const FILE_MAX: u64 = 1 << 40;

/// The longest name, in bytes of UTF-8.
pub const NAME_MAX: usize = 255;
/// The longest path, in bytes of UTF-8.
pub const PATH_MAX: usize = 4096;

/// Rows in one page of the feed.
pub const PAGE_ROWS: usize = 256;
/// Bytes of rows in one page of the feed.
pub const PAGE_BYTES: usize = 256 * KIB;
/// Commands in one log entry.
pub const BATCH_COMMANDS: usize = 1024;
/// Bytes of commands in one log entry.
pub const BATCH_BYTES: usize = 512 * KIB;
/// Numbers that count up (rows, files, epochs, registrations, ms since 1970) stay below this; one that is beyond was not
/// given by any cluster, and nothing could be counted on from it.
pub const NUMBER_MAX: u64 = 1 << 62;
/// Names in one page of a listing.
pub const LIST_PAGE: usize = 1000;
/// Requests in flight on one connection.
pub const CONN_INFLIGHT: usize = 1024;
/// Requests that a name manager relays at once, each for a piece at most: bounds the bytes in its memory.
pub const RELAY_INFLIGHT: usize = 64;
/// Connections to one server.
pub const CONN_MAX: usize = 4096;

/// Versions kept for undo, checkpoints not counted.
pub const VERSIONS_KEPT: usize = 10;
/// Versions of one file that ended of which is remembered that they did: as many as are kept of its line and of its
/// conflicts, and as many as may end one by one while the other member is behind.
pub const ENDED_KEPT: usize = 32;
/// Events kept by the name manager.
pub const EVENTS_KEPT: u64 = 10_000;
/// Results kept for one client (R13).
pub const RESULTS_PER_CLIENT: u64 = 1024;
/// Clients whose results are kept (R13).
pub const CLIENTS_KEPT: u64 = 65_536;
/// A client that is silent this long may be dropped (R13).
pub const CLIENT_IDLE: Duration = Duration::from_secs(3600);
/// How far behind a member may be when it is declared caught up (R8).
pub const FRESH_ROWS: u64 = 4096;
/// How far behind a member may be when it is declared caught up (R8), in bytes.
pub const FRESH_BYTES: u64 = 256 * MIB as u64;
/// A lag up to this always counts as "can be applied in 200 ms" (R27).
pub const HANDOVER_ROWS: u64 = 64;
/// A lag up to this always counts as "can be applied in 200 ms" (R27), in bytes.
pub const HANDOVER_BYTES: u64 = 8 * MIB as u64;
/// A handover that is not done by then is aborted (R27).
pub const HANDOVER_MAX: Duration = Duration::from_millis(500);
/// Open write sessions of one storage server.
pub const SESSIONS_MAX: usize = 65_536;
/// A session without progress lives this long beyond its client's timeout.
pub const SESSION_IDLE: Duration = Duration::from_secs(60);
/// A capability lives at most this long (R15).
pub const CAPABILITY_TTL: Duration = Duration::from_secs(60);
/// A folder's new files are spread over at most so many pairs; the name manager names them to clients.
pub const SPREAD_PAIRS: usize = 16;
/// Clients cache a placement at most this long (R23).
pub const PLACEMENT_TTL: Duration = Duration::from_secs(1);
/// How long a client waits for a lost server unless told otherwise.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest `--timeout`.
pub const CLIENT_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// How long content stays in the trash.
pub const TRASH_TIME: Duration = Duration::from_secs(24 * 3600);
/// Entries of an import that go into the log together.
pub const IMPORT_BATCH: usize = 64;
/// Files and folders that one command purges from the trash.
pub const PURGE_SLICE: usize = 64;
/// Files that one request to scrub can name.
pub const SCRUB_FILES: usize = 1024;
/// A page of a scrub ends after so long, so that it can be answered and called off.
pub const SCRUB_PAGE: Duration = Duration::from_secs(1);
/// What a page of a scrub can tell; then it ends.
pub const SCRUB_FINDINGS: usize = 256;
/// Chunks that a scrub has in memory at once.
pub const SCRUB_AHEAD: usize = 3;
/// How long a scrub waits for foreground work before each chunk, or its worth of small files, at most: it gets on under
/// any load.
pub const SCRUB_YIELD: Duration = Duration::from_millis(200);
/// In this time the background scrubber looks once at everything.
pub const SCRUB_PERIOD: Duration = Duration::from_secs(7 * 24 * 3600);
/// What the background scrubber reads at most, bytes a second.
pub const SCRUB_RATE: u64 = 16 * MIB as u64;
/// Files with a bad copy that a server remembers.
pub const SCRUB_BAD: usize = 1024;
/// Files with a bad copy that a heartbeat names.
pub const SCRUB_BAD_TOLD: usize = 64;
/// Tombstones that one command collects (R24).
pub const COLLECT_SLICE: usize = 512;
/// A member that was declared failed so long ago is not waited for with the collection of tombstones (R24); when it
/// returns it is compared from the start.
pub const COLLECT_WITHOUT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the partner of a damaged member that acted last has, to catch up from the name manager alone, before nobody
/// is said to be able to tell what was damaged (R31).
pub const DAMAGE_PATIENCE: Duration = Duration::from_secs(30);
/// Times of failures that are kept of a server, to tell whether it fails again and again.
pub const FAILURES_KEPT: usize = 16;
/// A server that failed so often…
pub const FLAP_FAILURES: usize = 3;
/// …within this time does not take its role back by itself before it was stable that long.
pub const FLAP_WINDOW: Duration = Duration::from_secs(600);
/// Ids of records in one page of a comparison (R24).
pub const COMPARE_PAGE: usize = 8192;
/// Records that are set aside, in one page.
pub const ASIDE_PAGE: usize = 256;
/// Names that one event lists, at most.
pub const NAMES_TOLD: usize = 10;
/// A connection must have proved itself by then.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Reconnecting backs off up to this between members of a cluster.
pub const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// The steps of a failing row's back-off; the last one repeats.
pub const ROW_BACKOFF: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// How fast failures are found: all times of heartbeats and leases, and of what is done now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A server sends a heartbeat this often.
    pub heartbeat: Duration,
    /// The monitor looks this often.
    pub check: Duration,
    /// Silence after the last arrival that means failed.
    pub timeout: Duration,
    /// What a holder gives up of the timeout.
    pub guard: Duration,
    /// Tombstones are collected this often (R24).
    pub collect: Duration,
    /// A server whose disk or data port has not answered for so long does no work, though its heartbeats arrive.
    pub hang: Duration,
}

impl Pace {
    /// The default: 5 s, 5 s, 15 s, guard 1 s, collection every minute, hanging after 30 s.
    pub const NORMAL: Pace = Pace {
        heartbeat: Duration::from_secs(5),
        check: Duration::from_secs(5),
        timeout: Duration::from_secs(15),
        guard: Duration::from_secs(1),
        collect: Duration::from_secs(60),
        hang: Duration::from_secs(30),
    };
    /// `--fast`: 200 ms, 200 ms, 1 s, guard 200 ms, collection every second, hanging after 10 s.
    pub const FAST: Pace = Pace {
        heartbeat: Duration::from_millis(200),
        check: Duration::from_millis(200),
        timeout: Duration::from_secs(1),
        guard: Duration::from_millis(200),
        collect: Duration::from_secs(1),
        hang: Duration::from_secs(10),
    };

    /// How long a lease runs from the sending of the heartbeat it answers (R2).
    pub const fn lease(self) -> Duration {
        match self.timeout.checked_sub(self.guard) {
            Some(lease) => lease,
            None => Duration::ZERO,
        }
    }
}

const _: () = {
    assert!(PIECE + FRAME_HEAD_MAX < FRAME_MAX, "a piece and its head fit a frame");
    assert!(PAGE_BYTES <= FRAME_HEAD_MAX, "a page of rows fits a frame");
    assert!(CHUNK.is_multiple_of(PIECE) && PIECE.is_multiple_of(BLOCK), "cuts nest");
    assert!(INLINE_MAX <= BLOCK, "inline content is one block");
    assert!(CLIENT_WINDOW >= 2 * CHUNK, "a client can fill one chunk while one is on its way");
    assert!(SERVER_WINDOW >= 2 * CLIENT_WINDOW && SERVER_READS >= CLIENT_WINDOW);
    assert!(SCRUB_AHEAD * CHUNK <= CLIENT_WINDOW, "a scrub takes no more memory than one client");
    assert!(SCRUB_BAD_TOLD <= SCRUB_BAD && SCRUB_BAD <= SCRUB_FILES, "one page looks at all of them");
    assert!(SCRUB_FILES * 10 <= FRAME_HEAD_MAX && SCRUB_FINDINGS * 1024 <= FRAME_HEAD_MAX);
    assert!(RELAY_INFLIGHT * FRAME_MAX <= SERVER_WINDOW, "what is relayed stays within a server's memory");
    assert!(RELAY_INFLIGHT < CONN_INFLIGHT, "relaying leaves room for other requests on a connection");
    assert!(BATCH_BYTES <= FRAME_HEAD_MAX);
    assert!(
        IMPORT_BATCH * (2 * PATH_MAX + KIB) < FRAME_HEAD_MAX + BATCH_BYTES,
        "an import's page fits a frame"
    );
    assert!(Pace::NORMAL.guard.as_millis() < Pace::NORMAL.timeout.as_millis());
    assert!(3 * Pace::NORMAL.heartbeat.as_millis() <= Pace::NORMAL.timeout.as_millis());
    assert!(3 * Pace::FAST.heartbeat.as_millis() <= Pace::FAST.timeout.as_millis());
    assert!(FLAP_FAILURES <= FAILURES_KEPT);
    assert!(HANDOVER_MAX.as_millis() < Pace::FAST.timeout.as_millis());
    assert!(Pace::NORMAL.hang.as_millis() > Pace::NORMAL.timeout.as_millis(), "slow is not silent");
    assert!(Pace::FAST.hang.as_millis() > Pace::FAST.timeout.as_millis(), "slow is not silent");
};
