//! What a write brought about.

use types::ids::{Digest, VersionNumber};
use types::message::store;
use types::record::{Version, on};
use types::{Error, Result};

/// The receipt of a write: it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The path as it was given.
    pub path: String,
    /// The version it became.
    pub version: VersionNumber,
    /// Bytes.
    pub size: u64,
    /// Digest of the content.
    pub digest: Digest,
    /// Whether both members have it durably, or the acting one only.
    pub both: bool,
    /// The file.
    pub file: u64,
}

impl Receipt {
    pub(crate) fn new(path: &str, receipt: store::Receipt) -> Result<Receipt> {
        let version = receipt.version.ok_or_else(|| Error::bad_request("a receipt without a version"))?;
        Receipt::of_version(path, &version, receipt.file, receipt.durable_on)
    }

    pub(crate) fn of_version(path: &str, version: &Version, file: u64, durable_on: u32) -> Result<Receipt> {
        Ok(Receipt {
            path: path.to_owned(),
            version: version.version(),
            size: version.size,
            digest: version.digest()?,
            both: durable_on & on::BOTH == on::BOTH,
            file,
        })
    }

    /// `both` or `local`.
    pub fn durable(&self) -> &'static str {
        if self.both { "both" } else { "local" }
    }
}
