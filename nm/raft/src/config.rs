//! Settings of the group and their bounds.

use std::time::Duration;

use crate::error::RaftError;

const MIB: usize = 1 << 20;

/// redb's cache, in bytes, unless configured.
pub const DEFAULT_CACHE_BYTES: usize = 64 * MIB;
/// The least cache redb works well with, in bytes.
pub const MIN_CACHE_BYTES: usize = MIB;
/// The most cache allowed, in bytes: redb's own default of 1 GiB is refused.
pub const MAX_CACHE_BYTES: usize = 1024 * MIB - 1;
/// Applied payload after which the state is committed durably, in bytes. What a start has to repeat is at most twice
/// that: 4 MiB are about 15,000 small writes, a third of a second.
pub const DEFAULT_DIRTY_BYTES: u64 = 4 << 20;
/// Applied entries after which the state is committed durably.
pub const DEFAULT_DIRTY_ENTRIES: u64 = 10_000;
/// Entries kept in the log behind the durable state, for members that lag a little.
pub const DEFAULT_KEEP_ENTRIES: u64 = 1_000;
/// Size of one segment of the Raft log, in bytes.
pub const DEFAULT_SEGMENT_BYTES: u32 = 16 << 20;

/// Recent entries kept decoded in memory, in bytes; what was just appended is applied from here.
pub(crate) const ENTRY_CACHE_BYTES: usize = 16 * MIB;
/// The most entries applied in one transaction.
pub(crate) const APPLY_BATCH_ENTRIES: usize = 1024;
/// The most payload applied in one transaction, in bytes.
pub(crate) const APPLY_BATCH_BYTES: usize = 4 * MIB;
/// The most entries applied in openraft's task instead of the state's thread.
pub(crate) const INLINE_ENTRIES: usize = 8;
/// The most payload applied there, in bytes.
pub(crate) const INLINE_BYTES: usize = 64 << 10;
/// The most payload of an entry that is written, and synced, in openraft's task instead of the log's thread, in bytes.
pub(crate) const LONE_BYTES: usize = 4 << 10;
/// The most payload one group commit of the log takes, in bytes.
pub(crate) const WRITE_BATCH_BYTES: usize = 8 * MIB;
/// Operations waiting for the log's thread. openraft has few at a time; at the bound it waits.
pub(crate) const WRITE_QUEUE: usize = 1024;
/// How long the log is idle before its end is marked; PROTOCOL R31 asks for at most a second.
pub(crate) const IDLE_MARK: Duration = Duration::from_millis(500);
/// Batches waiting for the state's thread. openraft hands over one at a time.
pub(crate) const STATE_QUEUE: usize = 16;

const _: () = assert!(DEFAULT_CACHE_BYTES >= MIN_CACHE_BYTES && DEFAULT_CACHE_BYTES <= MAX_CACHE_BYTES);
const _: () = assert!(APPLY_BATCH_BYTES as u64 <= DEFAULT_DIRTY_BYTES);
const _: () = assert!(APPLY_BATCH_ENTRIES as u64 <= DEFAULT_DIRTY_ENTRIES);
const _: () = assert!(WRITE_BATCH_BYTES <= ENTRY_CACHE_BYTES);

/// How to run one member of the group.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// This member's id. Never give the id of a lost log to an empty one.
    pub node_id: u64,
    /// Where the other members and the clients reach this one, `host:port`.
    pub addr: String,
    /// Folder of the Raft log on the disk given to [`Raft::start`](crate::Raft::start).
    pub log_folder: String,
    /// redb's cache, in bytes.
    pub cache_bytes: usize,
    /// Size of one segment of the Raft log, in bytes.
    pub segment_bytes: u32,
    /// Applied payload after which the state is committed durably, in bytes.
    pub dirty_bytes: u64,
    /// Applied entries after which the state is committed durably.
    pub dirty_entries: u64,
    /// Entries kept in the log behind the durable state.
    pub keep_entries: u64,
}

impl RaftConfig {
    /// The defaults for member `node_id`.
    pub fn new(node_id: u64, addr: impl Into<String>) -> Self {
        RaftConfig {
            node_id,
            addr: addr.into(),
            log_folder: "raft".to_string(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            dirty_bytes: DEFAULT_DIRTY_BYTES,
            dirty_entries: DEFAULT_DIRTY_ENTRIES,
            keep_entries: DEFAULT_KEEP_ENTRIES,
        }
    }

    /// The largest payload a proposal may have, in bytes: an entry has to fit in a segment.
    pub fn max_payload(&self) -> usize {
        self.segment_bytes as usize / 2
    }

    pub(crate) fn check(&self) -> Result<(), RaftError> {
        let refuse = |what: String| Err(RaftError::Config(what));
        if !(MIN_CACHE_BYTES..=MAX_CACHE_BYTES).contains(&self.cache_bytes) {
            return refuse(format!(
                "the cache of {} bytes is not between {MIN_CACHE_BYTES} and {MAX_CACHE_BYTES}",
                self.cache_bytes
            ));
        }
        if self.dirty_bytes == 0 || self.dirty_entries == 0 {
            return refuse("the bounds of what is not yet durable must not be zero".to_string());
        }
        Ok(())
    }

    /// openraft's settings.
    ///
    /// A group of one elects itself when it starts and sends no heartbeats, so the timeouts only say how
    /// often openraft's clock ticks; they are those of a larger group on a local network. A restarted
    /// leader is elected anew instead of continuing its term: entries it had sent but not yet flushed
    /// must not get a twin under the same log id. Snapshots are triggered by what is not yet durable.
    pub(crate) fn openraft(&self) -> Result<openraft::Config, RaftError> {
        let config = openraft::Config {
            cluster_name: "pairfs".to_string(),
            heartbeat_interval: 100,
            election_timeout_min: 500,
            election_timeout_max: 1_000,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: (self.keep_entries / 2).max(1),
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| RaftError::Config(error.to_string()))
    }
}
