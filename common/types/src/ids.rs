//! Identities: small copyable values with one meaning each, and their text and byte forms.

use crate::error::{Code, Error, Result};
use std::fmt;
use std::str::FromStr;

/// Identity of a file or folder; never used twice in a cluster generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(pub u64);

impl InodeId {
    /// No inode.
    pub const NONE: InodeId = InodeId(0);
    /// The root folder `/`.
    pub const ROOT: InodeId = InodeId(1);
    /// The folder that holds what was removed; no path leads to it.
    pub const TRASH: InodeId = InodeId(2);
    /// The first id given to a user's file or folder.
    pub const FIRST: InodeId = InodeId(16);
}

impl fmt::Display for InodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which change feed: the control feed (0) or the feed of the pair with that number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub u32);

impl FeedId {
    /// Folders, access, users and pairs: what every server applies.
    pub const CONTROL: FeedId = FeedId(0);
}

/// Place of a command on the cluster's one number line: log index and place in its batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

impl Seq {
    /// Before everything.
    pub const ZERO: Seq = Seq(0);
    const PLACE_BITS: u32 = 16;

    /// The number of command `place` of log entry `index`.
    pub const fn new(index: u64, place: u16) -> Seq {
        Seq((index << Self::PLACE_BITS) | place as u64)
    }

    /// The log entry it belongs to.
    pub const fn index(self) -> u64 {
        self.0 >> Self::PLACE_BITS
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A version as people write it: `E.N`, the pair's epoch at its commit and a number that the file
/// never uses twice. Orders by epoch, then number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionNumber {
    /// Epoch of the pair when it was committed.
    pub epoch: u64,
    /// Number within the file.
    pub number: u64,
}

impl VersionNumber {
    /// No version.
    pub const NONE: VersionNumber = VersionNumber { epoch: 0, number: 0 };

    /// Whether this stands for "no version".
    pub const fn is_none(self) -> bool {
        self.number == 0
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl FromStr for VersionNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<VersionNumber> {
        text.split_once('.')
            .and_then(|(epoch, number)| {
                Some(VersionNumber { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
            })
            .ok_or_else(|| {
                Error::new(
                    Code::Usage,
                    format_args!("'{text}' is not a version"),
                    "write it as E.N, such as 1.3",
                )
            })
    }
}

/// Identity of a write session and, once committed, of the version it became (R11). 16 random bytes
/// chosen by the client, so that an upload keeps its identity when its server is lost.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// The id of a version that the name manager makes by itself (an empty file): it cannot meet a
    /// random one, because those begin with a byte above zero.
    pub fn made_at(seq: Seq) -> SessionId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&seq.0.to_be_bytes());
        SessionId(id)
    }

    /// An id from 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> SessionId {
        bytes[0] |= 1;
        SessionId(bytes)
    }

    /// Whether the name manager made it.
    pub fn is_made(self) -> bool {
        self.0[0] == 0
    }

    /// Reads 16 bytes from a message.
    pub fn from_slice(bytes: &[u8]) -> Result<SessionId> {
        bytes.try_into().map(SessionId).map_err(|_| Error::bad_request("a session id is 16 bytes"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Identity of a client, issued by the name manager: the log time of its issue (ms) and a random part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// Log time of its issue, in ms since 1970.
    pub issued: u64,
    /// Random part.
    pub random: u64,
}

impl ClientId {
    /// Its key in tables: orders by time of issue.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.issued.to_be_bytes());
        bytes[8..].copy_from_slice(&self.random.to_be_bytes());
        bytes
    }
}

/// Idempotency key of one request of a user (R13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Who asks.
    pub client: ClientId,
    /// Increasing number of the request.
    pub number: u64,
    /// Lowest number the client has no answer for yet; results below it may be forgotten.
    pub lowest: u64,
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.client.issued, self.client.random, self.number)
    }
}

impl FromStr for RequestKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<RequestKey> {
        let bad = || {
            Error::new(
                Code::Usage,
                format_args!("'{text}' is not a request key"),
                "copy it from the message that gave it",
            )
        };
        let parts: Vec<u64> = text
            .split('-')
            .map(|part| u64::from_str_radix(part, 16))
            .collect::<Result<_, _>>()
            .map_err(|_| bad())?;
        let [issued, random, number] = parts[..] else { return Err(bad()) };
        Ok(RequestKey { client: ClientId { issued, random }, number, lowest: number })
    }
}

/// How the digest of a content was made (R17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DigestKind {
    /// SHA-256 of the content; contents up to one chunk.
    #[default]
    Plain = 0,
    /// SHA-256 over the digests of chunks cut at multiples of the chunk size.
    Tree = 1,
    /// SHA-256 over length and digest of chunks cut elsewhere (a concatenation of parts).
    Cuts = 2,
}

/// Digest of a content; with its kind and the size it names the manifest too.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    /// How it was made.
    pub kind: DigestKind,
    /// SHA-256.
    pub sha256: [u8; 32],
}

impl Digest {
    /// Reads a digest from a message: kind number and 32 bytes.
    pub fn from_parts(kind: u32, sha256: &[u8]) -> Result<Digest> {
        let kind = match kind {
            0 => DigestKind::Plain,
            1 => DigestKind::Tree,
            2 => DigestKind::Cuts,
            _ => return Err(Error::bad_request("unknown kind of digest")),
        };
        let sha256 = sha256.try_into().map_err(|_| Error::bad_request("a digest is 32 bytes"))?;
        Ok(Digest { kind, sha256 })
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            DigestKind::Plain => "sha256:",
            DigestKind::Tree => "sha256-tree:",
            DigestKind::Cuts => "sha256-cuts:",
        })?;
        write_hex(f, &self.sha256)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_read_back() {
        let version = VersionNumber { epoch: 3, number: 17 };
        assert_eq!(version.to_string().parse::<VersionNumber>(), Ok(version));
        assert!("3".parse::<VersionNumber>().is_err());
        let key = RequestKey {
            client: ClientId { issued: 1_700_000_000_000, random: 0xabc },
            number: 9,
            lowest: 9,
        };
        assert_eq!(key.to_string().parse::<RequestKey>(), Ok(key));
        assert!("1-2".parse::<RequestKey>().is_err());
    }

    #[test]
    fn a_version_made_by_the_name_manager_never_meets_a_random_one() {
        assert!(SessionId::made_at(Seq::new(7, 3)).is_made());
        assert!(!SessionId::from_random([0; 16]).is_made());
    }

    #[test]
    fn sequence_numbers_order_by_entry_then_place() {
        assert!(Seq::new(7, 65_535) < Seq::new(8, 0));
        assert_eq!(Seq::new(8, 3).index(), 8);
    }
}
