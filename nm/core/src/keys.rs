//! How the state lies in its tables: keys, and the few messages that only the state knows.

use prost::Message;
use types::command::Bootstrap;
use types::ids::{ClientId, InodeId};
use types::path::lookup_name;
use types::rebuild::StandReport;
use types::record::{Record, User};

/// The key of the cluster's fixed facts in `Meta`.
pub const CLUSTER: &[u8] = b"cluster";
/// The key of [`Counters`] in `Meta`.
pub const COUNTERS: &[u8] = b"counters";
/// The key of [`RebuildEntry`] in `Meta`, as long as a rebuild is under way.
pub const REBUILD: &[u8] = b"rebuild";

/// What a cluster is; never changes but by a rebuild.
#[derive(Clone, PartialEq, Message)]
pub struct ClusterEntry {
    /// 16 random bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub cluster_id: Vec<u8>,
    /// The name managers' key, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub master_key: Vec<u8>,
    /// Generation of the feeds.
    #[prost(uint64, tag = "3")]
    pub generation: u64,
    /// Failures are found within about a second.
    #[prost(bool, tag = "4")]
    pub fast: bool,
}

/// Everything that counts up.
#[derive(Clone, PartialEq, Message)]
pub struct Counters {
    /// Log time, ms since 1970.
    #[prost(uint64, tag = "1")]
    pub log_time: u64,
    /// Last inode id given.
    #[prost(uint64, tag = "2")]
    pub last_inode: u64,
    /// Last pair id given.
    #[prost(uint32, tag = "3")]
    pub last_pair: u32,
    /// Last event number given.
    #[prost(uint64, tag = "4")]
    pub last_event: u64,
    /// Lowest event number kept.
    #[prost(uint64, tag = "5")]
    pub first_event: u64,
    /// Last incarnation given.
    #[prost(uint64, tag = "6")]
    pub last_incarnation: u64,
    /// Seq of the last row of the control feed.
    #[prost(uint64, tag = "7")]
    pub control_end: u64,
    /// Clients known.
    #[prost(uint64, tag = "8")]
    pub clients: u64,
    /// Unknown client ids issued up to here are refused (R13).
    #[prost(uint64, tag = "9")]
    pub client_floor: u64,
    /// Added to log indexes in sequence numbers: after a rebuild the log begins anew, they do not (R26).
    #[prost(uint64, tag = "10")]
    pub index_base: u64,
}

/// A rebuild that is under way (R26).
#[derive(Clone, PartialEq, Message)]
pub struct RebuildEntry {
    /// What the cluster will be.
    #[prost(message, optional, tag = "1")]
    pub cluster: Option<Bootstrap>,
    /// The members that have reported.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<StandReport>,
    /// Highest sequence number seen.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    /// Latest log time seen, ms since 1970.
    #[prost(uint64, tag = "4")]
    pub time_ms: u64,
    /// Highest epoch seen in a version, by pair.
    #[prost(btree_map = "uint32, uint64", tag = "5")]
    pub epochs: std::collections::BTreeMap<u32, u64>,
    /// Taking in is over: the numbers of the new life begin above all that was seen.
    #[prost(bool, tag = "6")]
    pub settling: bool,
    /// First sequence number of the new life.
    #[prost(uint64, tag = "7")]
    pub first_seq: u64,
    /// Inodes up to this one have taken their place.
    #[prost(uint64, tag = "8")]
    pub settled: u64,
    /// All have.
    #[prost(bool, tag = "9")]
    pub is_settled: bool,
    /// The folder for what has no place; 0: there was no need for one.
    #[prost(uint64, tag = "10")]
    pub found: u64,
    /// Files and folders that were put there, or got another name.
    #[prost(uint64, tag = "11")]
    pub misplaced: u64,
    /// Writes without a known outcome that became versions.
    #[prost(uint64, tag = "12")]
    pub writes: u64,
    /// Files and folders, without tombstones.
    #[prost(uint64, tag = "13")]
    pub entries: u64,
}

/// A user with what only the name manager may know.
#[derive(Clone, PartialEq, Message)]
pub struct UserEntry {
    /// What everybody may know.
    #[prost(message, optional, tag = "1")]
    pub public: Option<User>,
    /// Access keys.
    #[prost(message, repeated, tag = "2")]
    pub keys: Vec<AccessKey>,
}

/// An access key of a user.
#[derive(Clone, PartialEq, Message)]
pub struct AccessKey {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
}

/// A client as R13 needs it.
#[derive(Clone, PartialEq, Message)]
pub struct ClientEntry {
    /// Results below this number are forgotten.
    #[prost(uint64, tag = "1")]
    pub lowest: u64,
    /// Log time it was last noted, ms; renewed at most once a minute.
    #[prost(uint64, tag = "2")]
    pub heard_ms: u64,
}

/// An owed version (R11).
#[derive(Clone, PartialEq, Message)]
pub struct OwedEntry {
    /// Who holds it.
    #[prost(string, tag = "1")]
    pub holder: String,
    /// The record's `content_seq` as `Owe` left it: equal still means that the head is unchanged (R12).
    #[prost(uint64, tag = "2")]
    pub content_seq: u64,
    /// SHA-256 of the version, 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
}

/// The key in `Meta` of how far tombstones of a feed have been collected (R24).
pub fn collected(feed: u32) -> Vec<u8> {
    [b"collected-", &feed.to_be_bytes()[..]].concat()
}

/// Key in `Meta` of when a name was last given up, as long as a rebuild is under way.
pub fn given_up(parent: u64, name: &str) -> Vec<u8> {
    [GIVEN_UP, &parent.to_be_bytes(), lookup_name(name).as_bytes()].concat()
}

/// What the keys of [`given_up`] begin with.
pub const GIVEN_UP: &[u8] = b"given-up-";

/// Key of an inode.
pub fn inode(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

/// What a name is ordered by: its NFC form, a folder with a `/` behind, so that a listing with prefixes
/// and delimiters is one scan.
pub fn sort_name(name: &str, folder: bool) -> String {
    let mut sort = lookup_name(name);
    if folder {
        sort.push('/');
    }
    sort
}

/// Key of a name: folder, then sort name.
pub fn name(parent: InodeId, sort: &str) -> Vec<u8> {
    let mut key = parent.0.to_be_bytes().to_vec();
    key.extend_from_slice(sort.as_bytes());
    key
}

/// Key of the name under which `record` stands.
pub fn name_of(record: &Record) -> Vec<u8> {
    name(InodeId(record.parent), &sort_name(&record.name, record.is_folder()))
}

/// The first key after every key that begins with `prefix`; empty if there is none.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    end
}

/// Key of a row.
pub fn feed(feed: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&feed.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The row number in a key made by [`feed()`].
pub fn feed_seq(key: &[u8]) -> u64 {
    key.get(4..12).and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// What a row of the feed points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSubject {
    /// An inode.
    Inode(u64),
    /// A pair.
    Pair(u32),
    /// A user.
    User(String),
}

impl RowSubject {
    /// Its bytes in the feed table.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, rest) = match self {
            RowSubject::Inode(id) => (1, id.to_be_bytes().to_vec()),
            RowSubject::Pair(id) => (2, id.to_be_bytes().to_vec()),
            RowSubject::User(name) => (3, name.as_bytes().to_vec()),
        };
        [vec![tag], rest].concat()
    }

    /// Reads [`RowSubject::encode`] back.
    pub fn decode(bytes: &[u8]) -> Option<RowSubject> {
        match bytes.split_first()? {
            (1, id) => Some(RowSubject::Inode(u64::from_be_bytes(id.try_into().ok()?))),
            (2, id) => Some(RowSubject::Pair(u32::from_be_bytes(id.try_into().ok()?))),
            (3, name) => Some(RowSubject::User(String::from_utf8(name.to_vec()).ok()?)),
            _ => None,
        }
    }
}

/// Key in `Meta` of where a subject that does not remember it stands in the control feed.
pub fn row_place(subject: &RowSubject) -> Vec<u8> {
    [b"row-", &subject.encode()[..]].concat()
}

/// Key of a stored result.
pub fn result(client: ClientId, number: u64) -> Vec<u8> {
    [&client.to_bytes()[..], &number.to_be_bytes()].concat()
}

/// Key in `ClientsByTime`.
pub fn client_by_time(heard_ms: u64, client: ClientId) -> Vec<u8> {
    [&heard_ms.to_be_bytes()[..], &client.to_bytes()].concat()
}

/// Key of an owed version.
pub fn owed(pair: u32, inode: u64, session: &[u8]) -> Vec<u8> {
    [&pair.to_be_bytes()[..], &inode.to_be_bytes(), session].concat()
}

/// Prefix of the uploads to a name.
pub fn upload_prefix(folder: u64, name: &str) -> Vec<u8> {
    [&folder.to_be_bytes()[..], lookup_name(name).as_bytes(), &[0]].concat()
}

/// Key of an upload.
pub fn upload(folder: u64, name: &str, session: &[u8]) -> Vec<u8> {
    [&upload_prefix(folder, name)[..], session].concat()
}

/// Key in the trash: oldest first; time 0 is what is to be purged at once.
pub fn trash(time_ms: u64, inode: u64) -> Vec<u8> {
    [time_ms.to_be_bytes(), inode.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_sorts_as_its_name_with_a_slash() {
        let mut sorts =
            [sort_name("a", true), sort_name("a-b", false), sort_name("a", false), sort_name("a0", false)];
        sorts.sort();
        assert_eq!(sorts, ["a", "a-b", "a/", "a0"]);
    }

    #[test]
    fn the_end_of_a_prefix_comes_after_all_its_keys() {
        assert_eq!(after_prefix(&[1, 2]), [1, 3]);
        assert_eq!(after_prefix(&[1, 255]), [2]);
        assert!(after_prefix(&[255, 255]).is_empty());
    }

    #[test]
    fn a_row_subject_is_read_back() {
        for subject in [RowSubject::Inode(7), RowSubject::Pair(3), RowSubject::User("ann".into())] {
            assert_eq!(RowSubject::decode(&subject.encode()), Some(subject));
        }
        assert_eq!(RowSubject::decode(&[]), None);
        assert_eq!(RowSubject::decode(&[1, 2]), None);
    }
}
