//! Appending: read what is there, write it with more after it, on condition that it is still the head.

use super::content::Content;
use super::receipt::Receipt;
use super::request::Request;
use super::{WriteOptions, put, upload};
use crate::bounds::APPEND_MAX;
use crate::core::Core;
use crate::read::{ReadOptions, Reader};
use crate::retry::Retry;
use crate::write::content::Start;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use types::content::Digester;
use types::ids::VersionNumber;
use types::limits::INLINE_MAX;
use types::path::{PathName, Quoted};
use types::{Code, Error, Result};

pub(super) async fn append(
    core: &Arc<Core>,
    path: &str,
    name: PathName,
    content: Content,
    options: &WriteOptions,
) -> Result<Receipt> {
    let tail = content.whole(APPEND_MAX).await?;
    let mut digester = Digester::default();
    digester.update(&tail);
    let asked = digester.finish();
    let mut retry = core.retry();
    loop {
        let (base, before) = current(core, path, APPEND_MAX - tail.len() as u64).await?;
        let mut whole = BytesMut::with_capacity(before.len() + tail.len());
        whole.extend_from_slice(&before);
        whole.extend_from_slice(&tail);
        let whole = whole.freeze();
        let request = Request::append(path, name.clone(), options, asked, base);
        let written = match whole.len() <= INLINE_MAX {
            true => put::put(core, &request, whole).await,
            false => upload::upload(core, &request, Start::Whole(whole)).await,
        };
        match written {
            // Somebody else wrote meanwhile, and this one surely did not: once more, on theirs.
            Err(error)
                if matches!(error.code, Code::Changed | Code::Exists) && options.request_key.is_none() =>
            {
                pause(&mut retry, error).await?;
            }
            other => return other,
        }
    }
}

async fn pause(retry: &mut Retry, error: Error) -> Result<()> {
    let busy = Error { code: Code::Busy, ..error.clone() };
    let (_, pause) = retry.failed(busy).map_err(|_| error)?;
    tokio::time::sleep(pause).await;
    Ok(())
}

/// The head and its content; none if there is no file.
async fn current(core: &Arc<Core>, path: &str, max: u64) -> Result<(Option<VersionNumber>, Bytes)> {
    let mut reader = match Reader::open(core.clone(), path, &ReadOptions::default()).await {
        Err(error) if error.code == Code::NotFound => return Ok((None, Bytes::new())),
        other => other?,
    };
    if reader.version().size > max {
        let what = format_args!("{} is too large to be appended to", Quoted(path));
        let next = format_args!("files up to {APPEND_MAX} bytes can be; write it as a whole");
        return Err(Error::new(Code::Unsupported, what, next));
    }
    let head = reader.version().version();
    Ok((Some(head), reader.to_end(max).await?))
}
