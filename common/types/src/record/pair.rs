//! Pairs of storage servers.

use super::on;
use prost::{Enumeration, Message};

/// What a pair is about, as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Phase {
    /// The acting member serves, if it has a lease.
    Steady = 0,
    /// `Promote` is in the log; what the new acting member lacks is not yet known, nobody serves (R11).
    Promoted = 1,
    /// `Handover` is in the log: commits wait, nobody gets a lease (R27).
    Handover = 2,
}

/// A pair of storage servers.
#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    /// Its number, from 1; also the number of its feed.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Its name: that of its primary.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Server name of the primary.
    #[prost(string, tag = "3")]
    pub primary: String,
    /// Server name of the backup.
    #[prost(string, tag = "4")]
    pub backup: String,
    /// Number of the current reign.
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    /// Server name of the acting member; empty before the first.
    #[prost(string, tag = "6")]
    pub acting: String,
    /// Server name of the preferred member.
    #[prost(string, tag = "7")]
    pub preferred: String,
    /// Where it stands between reigns.
    #[prost(enumeration = "Phase", tag = "8")]
    pub phase: i32,
    /// Log index of the open `Handover`.
    #[prost(uint64, tag = "9")]
    pub handover_seq: u64,
    /// Whom the open `Handover` makes acting.
    #[prost(string, tag = "10")]
    pub handover_to: String,
    /// Versions owed in this pair.
    #[prost(uint64, tag = "11")]
    pub owed: u64,
    /// Versions lost in this pair.
    #[prost(uint64, tag = "12")]
    pub lost: u64,
    /// Files of this pair (trash included).
    #[prost(uint64, tag = "13")]
    pub files: u64,
    /// Bytes of the heads of its files.
    #[prost(uint64, tag = "14")]
    pub bytes: u64,
    /// [`Seq`](crate::ids::Seq) of the last row of its feed.
    #[prost(uint64, tag = "15")]
    pub feed_end: u64,
    /// Whether the backup has ever caught up.
    #[prost(bool, tag = "16")]
    pub formed: bool,
    /// Failed tries of the handover that is wanted now.
    #[prost(uint32, tag = "17")]
    pub handover_tries: u32,
    /// Log time of the last change of the acting member, ms since 1970.
    #[prost(uint64, tag = "18")]
    pub changed_ms: u64,
    /// Whether the preferred member waits for an operator (`switchover` set it, or failback is manual).
    #[prost(bool, tag = "19")]
    pub hold: bool,
}

impl Pair {
    /// The other member of the pair than `server`.
    pub fn partner_of(&self, server: &str) -> &str {
        if server == self.primary { &self.backup } else { &self.primary }
    }

    /// Whether `server` is a member.
    pub fn has(&self, server: &str) -> bool {
        !server.is_empty() && (server == self.primary || server == self.backup)
    }

    /// The bit of [`on`] for `server`.
    pub fn bit_of(&self, server: &str) -> u32 {
        if server == self.primary { on::PRIMARY } else { on::BACKUP }
    }
}
