//! The cluster's beginning, and the life of a storage server: its starts, its failure, how far it has come.

use prost::Message;

/// Makes a cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Bootstrap {
    /// 16 random bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub cluster_id: Vec<u8>,
    /// The name managers' key, 32 random bytes (R15).
    #[prost(bytes = "vec", tag = "2")]
    pub master_key: Vec<u8>,
    /// Name of the first account.
    #[prost(string, tag = "3")]
    pub admin: String,
    /// Id of its key.
    #[prost(string, tag = "4")]
    pub key_id: String,
    /// Its key, 32 random bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub key: Vec<u8>,
    /// Which life of the feeds (R24, R26): random.
    #[prost(uint64, tag = "6")]
    pub generation: u64,
    /// Failures are found within about a second; holds for the life of the cluster, because a lease that
    /// was given at one pace must not be counted at the other (R2, R4).
    #[prost(bool, tag = "7")]
    pub fast: bool,
}

/// Registers one start of a storage server (R6, R7).
#[derive(Clone, PartialEq, Message)]
pub struct Register {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// Its primary's name, if it is a backup; else empty.
    #[prost(string, tag = "2")]
    pub backup_of: String,
    /// Token on its disk; empty for a new disk.
    #[prost(bytes = "vec", tag = "3")]
    pub token: Vec<u8>,
    /// Token it has stored to take on next.
    #[prost(bytes = "vec", tag = "4")]
    pub next_token: Vec<u8>,
    /// Address where it listens.
    #[prost(string, tag = "5")]
    pub addr: String,
    /// IP address it registers from.
    #[prost(string, tag = "6")]
    pub ip: String,
    /// Boot id of its host.
    #[prost(string, tag = "7")]
    pub boot: String,
    /// The operator says that this disk replaces the known one.
    #[prost(bool, tag = "8")]
    pub replace_disk: bool,
    /// The present incarnation is known to be alive at another address.
    #[prost(bool, tag = "9")]
    pub elsewhere: bool,
    /// It brings a folder along to be taken in: refused unless it is new, or has such an import unfinished (R24).
    #[prost(bool, tag = "10")]
    pub import: bool,
    /// The newest generation this disk has joined; a name manager of an older one was replaced by a rebuild (R26).
    #[prost(uint64, tag = "11")]
    pub generation: u64,
    /// The last registration of this disk, in that generation; 0 for none.
    #[prost(uint64, tag = "12")]
    pub incarnation: u64,
}

/// Where a registered server stands.
#[derive(Clone, PartialEq, Message)]
pub struct Recovered {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration it belongs to.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Durable cursor in the control feed.
    #[prost(uint64, tag = "3")]
    pub control_cursor: u64,
    /// Durable cursor in its pair's feed.
    #[prost(uint64, tag = "4")]
    pub pair_cursor: u64,
    /// End of its journal.
    #[prost(uint64, tag = "5")]
    pub journal: u64,
    /// Generation of the feeds its cursors belong to; 0 for a new disk.
    #[prost(uint64, tag = "6")]
    pub generation: u64,
    /// A part of its journal cannot be read (R31): it asks whether to go on with the rest, and says nothing else.
    #[prost(bool, tag = "7")]
    pub damaged: bool,
}

/// Declares a server failed.
#[derive(Clone, PartialEq, Message)]
pub struct Fail {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration that is meant.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Why, for people.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// What it had acknowledged until then, so that it is not counted as missed when it returns: everything
    /// up to here of the control feed.
    #[prost(uint64, tag = "4")]
    pub control_cursor: u64,
    /// The same of its pair's feed.
    #[prost(uint64, tag = "5")]
    pub pair_cursor: u64,
    /// End of its journal by then.
    #[prost(uint64, tag = "6")]
    pub journal: u64,
    /// It was stopped, or had asked to stop: no sign of trouble.
    #[prost(bool, tag = "7")]
    pub stopped: bool,
}

/// A server has passed the feeds' ends as of its registration (R8).
#[derive(Clone, PartialEq, Message)]
pub struct CaughtUp {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration that is meant.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Rows of its pair's feed sent to it since it registered.
    #[prost(uint64, tag = "3")]
    pub rows_resent: u64,
}

/// How far a server has durably applied its feeds (R21).
#[derive(Clone, PartialEq, Message)]
pub struct Acknowledge {
    /// Its name.
    #[prost(string, tag = "1")]
    pub server: String,
    /// The registration that is meant.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Everything up to here of the control feed.
    #[prost(uint64, tag = "3")]
    pub control_cursor: u64,
    /// Everything up to here of its pair's feed.
    #[prost(uint64, tag = "4")]
    pub pair_cursor: u64,
    /// End of its journal.
    #[prost(uint64, tag = "5")]
    pub journal: u64,
}
