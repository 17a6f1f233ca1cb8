//! Writes of content, and who asks for anything.

use crate::ids::{ClientId, RequestKey, VersionNumber};
use prost::Message;

/// Who asks for something, and how to recognise that it was asked before (R13).
#[derive(Clone, PartialEq, Message)]
pub struct Asker {
    /// User.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Log time of the client id's issue, ms.
    #[prost(uint64, tag = "2")]
    pub client_issued: u64,
    /// Random part of the client id.
    #[prost(uint64, tag = "3")]
    pub client_random: u64,
    /// Number of the request.
    #[prost(uint64, tag = "4")]
    pub number: u64,
    /// Lowest number still unanswered.
    #[prost(uint64, tag = "5")]
    pub lowest: u64,
    /// SHA-256 of what the user asked: operation, path as given, condition, content digest.
    #[prost(bytes = "vec", tag = "6")]
    pub ask: Vec<u8>,
}

impl Asker {
    /// The request key.
    pub fn key(&self) -> RequestKey {
        RequestKey {
            client: ClientId { issued: self.client_issued, random: self.client_random },
            number: self.number,
            lowest: self.lowest,
        }
    }

    /// An asker with this key.
    pub fn new(user: &str, key: RequestKey, ask: [u8; 32]) -> Asker {
        Asker {
            user: user.to_owned(),
            client_issued: key.client.issued,
            client_random: key.client.random,
            number: key.number,
            lowest: key.lowest,
            ask: ask.to_vec(),
        }
    }
}

/// A write that the acting member has prepared (R10, R14).
#[derive(Clone, PartialEq, Message)]
pub struct WriteComplete {
    /// Who asks.
    #[prost(message, optional, tag = "1")]
    pub asker: Option<Asker>,
    /// Pair.
    #[prost(uint32, tag = "2")]
    pub pair: u32,
    /// Epoch the acting member believes in.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// The acting member.
    #[prost(string, tag = "4")]
    pub server: String,
    /// Its registration.
    #[prost(uint64, tag = "5")]
    pub incarnation: u64,
    /// Write session, 16 bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub session: Vec<u8>,
    /// Folder of the target.
    #[prost(uint64, tag = "7")]
    pub folder: u64,
    /// Name of the target there.
    #[prost(string, tag = "8")]
    pub name: String,
    /// The file meant; 0: whatever bears the name, made if nothing does.
    #[prost(uint64, tag = "9")]
    pub file: u64,
    /// [`crate::ids::Seq`] of the state its capability was decided on.
    #[prost(uint64, tag = "10")]
    pub stamp: u64,
    /// Bytes of content.
    #[prost(uint64, tag = "11")]
    pub size: u64,
    /// How the digest was made.
    #[prost(uint32, tag = "12")]
    pub digest_kind: u32,
    /// SHA-256, 32 bytes.
    #[prost(bytes = "vec", tag = "13")]
    pub sha256: Vec<u8>,
    /// The write is refused (`CHANGED`) unless this is the head; 0.0: no condition.
    #[prost(uint64, tag = "14")]
    pub if_epoch: u64,
    /// Number of that version.
    #[prost(uint64, tag = "15")]
    pub if_number: u64,
    /// Refused (`EXISTS`) if the name is taken.
    #[prost(bool, tag = "16")]
    pub create_only: bool,
    /// Who has it prepared, bits of [`crate::record::on`].
    #[prost(uint32, tag = "17")]
    pub durable_on: u32,
    /// POSIX mode to keep; 0: leave.
    #[prost(uint32, tag = "18")]
    pub mode: u32,
    /// Modification time to keep, ms since 1970; 0: the commit's.
    #[prost(sint64, tag = "19")]
    pub mtime_ms: i64,
    /// End of the server's journal, the highest seen is kept (R7).
    #[prost(uint64, tag = "20")]
    pub journal: u64,
}

impl WriteComplete {
    /// The condition on the head; none: no condition.
    pub fn if_version(&self) -> VersionNumber {
        VersionNumber { epoch: self.if_epoch, number: self.if_number }
    }
}
