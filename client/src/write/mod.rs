//! Writing: what fits one round trip goes in one, the rest as an upload in pieces.

mod append;
mod content;
mod copy;
mod put;
mod receipt;
mod request;
mod upload;
mod window;

pub use content::Content;
pub use copy::CopyOptions;
pub(crate) use copy::copy;
pub use receipt::Receipt;

use crate::core::{Core, for_a_file, not_the_root, parse};
use crate::namespace::{self, MakeOptions};
use content::Start;
use request::Request;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use types::ids::{RequestKey, VersionNumber};
use types::limits::INLINE_MAX;
use types::message::store::Durability;
use types::record::Kind;
use types::{Code, Error, Result};

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// After what is there, instead of in its place. Rewrites the file, so only up to 64 MiB.
    pub append: bool,
    /// Only if this is the head.
    pub if_version: Option<VersionNumber>,
    /// Only if the file does not exist.
    pub create_only: bool,
    /// Make missing folders.
    pub parents: bool,
    /// Durability wanted.
    pub durability: Durability,
    /// POSIX mode to keep; 0: leave.
    pub mode: u32,
    /// Modification time to keep, ms since 1970; 0: the commit's.
    pub mtime_ms: i64,
    /// Repeats the request with this key.
    pub request_key: Option<RequestKey>,
    /// Told how many bytes of an upload in pieces have arrived, for showing progress.
    pub progress: Option<Arc<AtomicU64>>,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            append: false,
            if_version: None,
            create_only: false,
            parents: false,
            durability: Durability::Unset,
            mode: 0,
            mtime_ms: 0,
            request_key: None,
            progress: None,
        }
    }
}

pub(crate) async fn write(
    core: &Arc<Core>,
    path: &str,
    content: Content,
    options: &WriteOptions,
) -> Result<Receipt> {
    let name = parse(path)?;
    let Some((folder, _)) = name.split_last() else { return Err(not_the_root(path)) };
    for_a_file(&name)?;
    if options.append && (options.if_version.is_some() || options.create_only) {
        let what = "an append has no condition on the version";
        return Err(Error::new(Code::Usage, what, "leave --if-version out"));
    }
    if options.parents && !folder.is_root() {
        let mut retry = core.retry();
        let found = core.lookups.for_writing(&core.manager, &name, None, false, &mut retry).await;
        if found.is_err_and(|error| error.code == Code::NotFound) {
            let options = MakeOptions { parents: true, ..MakeOptions::default() };
            namespace::make(core, &folder.to_string(), Kind::Folder, options).await?;
        }
    }
    if options.append {
        return append::append(core, path, name, content, options).await;
    }
    let request = Request::new(path, name, options);
    match content.start().await? {
        Start::Whole(bytes) if bytes.len() <= INLINE_MAX => put::put(core, &request, bytes).await,
        start => upload::upload(core, &request, start).await,
    }
}
