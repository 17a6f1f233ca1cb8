//! Copying within the cluster: within a pair the copy shares the chunks and no bytes travel; from pair to pair the
//! content is read and written.

use super::content::Content;
use super::receipt::Receipt;
use super::request::new_session;
use super::{WriteOptions, put, write};
use crate::ask::ask;
use crate::call::call;
use crate::core::{Acting, Core, Key, parse};
use crate::lookup::{Found, Lookup, locate};
use crate::read::{ReadOptions, Reader};
use crate::retry::Retry;
use bytes::Bytes;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use types::capability::{SignedCapability, right};
use types::ids::{RequestKey, SessionId, VersionNumber};
use types::limits::PIECE;
use types::message::store::{CommitRequest, Copy, CopyRequest, Durability, Target};
use types::path::{PathName, Quoted};
use types::record::{Kind, Record};
use types::{Code, Error, Result};

/// How to copy.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// Only if there is no file yet.
    pub create_only: bool,
    /// Durability wanted.
    pub durability: Durability,
    /// Repeats the request with this key.
    pub request_key: Option<RequestKey>,
}

/// One copy, over all its attempts.
struct Copying<'a> {
    core: &'a Core,
    options: &'a CopyOptions,
    from: PathName,
    to: PathName,
    session: SessionId,
    ask: [u8; 32],
    /// The version that is copied: that of the first attempt.
    version: VersionNumber,
}

/// What is copied, as the name manager has it now.
struct Original {
    target: Target,
    capability: SignedCapability,
    mode: u32,
}

pub(crate) async fn copy(core: &Arc<Core>, from: &str, to: &str, options: &CopyOptions) -> Result<Receipt> {
    let from_name = parse(from)?;
    let mut retry = core.retry();
    let record = file(core, &from_name, &mut retry).await?;
    let to_name = destination(core, &from_name, to, &mut retry).await?;
    if to_name == from_name {
        let what = format_args!("{} and {} are the same file", Quoted(from), Quoted(to));
        return Err(Error::new(Code::Usage, what, "give another name"));
    }
    let Some(head) = record.head_version() else {
        let what = format_args!("the only copy of {} is on a server that is away", Quoted(from));
        return Err(Error::new(Code::OnlyCopyAway, what, "see `pairfs info`"));
    };
    if !head.is_empty() {
        let conditions: &[&str] = if options.create_only { &["create"] } else { &[] };
        let ask = ask("cp", &[from, to], conditions, None);
        let (session, version) = (new_session()?, head.version());
        let copying = Copying { core, options, from: from_name, to: to_name.clone(), session, ask, version };
        let key = core.key(options.request_key, &mut retry).await?;
        let shared = copying.share(&key, &mut retry).await;
        match key.end(shared, &retry)? {
            Some(receipt) => return Ok(receipt),
            None => tracing::debug!(from, to, "the copy lives on another pair: read and written"),
        }
    }
    rewrite(core, from, &to_name, &record, options).await
}

/// The file to copy.
async fn file(core: &Core, path: &PathName, retry: &mut Retry) -> Result<Record> {
    let located = locate(&core.manager, path, right::READ, false, retry).await?;
    let shown = path.to_string();
    let record = located.record.ok_or_else(|| Error::not_found(Quoted(&shown)))?;
    let (code, what, next) = match record.kind() {
        Kind::File => return Ok(record),
        Kind::Folder => (Code::IsAFolder, "a folder", "copy its files, or use get -r and put -r"),
        _ => (Code::Unsupported, "a symbolic link", "use the path it points to"),
    };
    Err(Error::new(code, format_args!("{} is {what}", Quoted(&shown)), next))
}

/// Where the copy goes: into an existing folder, under the same name.
async fn destination(core: &Core, from: &PathName, to: &str, retry: &mut Retry) -> Result<PathName> {
    let path = parse(to)?;
    let there = locate(&core.manager, &path, right::READ, false, retry).await;
    let folder = match there {
        Ok(located) => located.record.is_some_and(|record| record.is_folder()),
        Err(error) if error.code == Code::NotFound && !path.must_be_folder() => false,
        Err(error) => return Err(error),
    };
    match from.names().last() {
        Some(name) if folder => path.join(name),
        _ => Ok(path),
    }
}

impl Copying<'_> {
    /// Shares the content; none if the copy has to live on another pair.
    async fn share(&self, key: &Key<'_>, retry: &mut Retry) -> Result<Option<Receipt>> {
        let core = self.core;
        let mut fresh = false;
        loop {
            let original = self.original(retry).await?;
            let beside = Some(original.target.pair);
            let Lookup { found, remembered } =
                core.lookups.for_writing(&core.manager, &self.to, beside, fresh, retry).await?;
            let pair = found.target.pair;
            if pair != original.target.pair && !retry.is_unknown() {
                return Ok(None);
            }
            let timing = &*retry;
            let answer = core.at_acting(pair, timing, |acting| async move {
                let request = self.request(&original, &found, &acting, key, timing);
                call::<Copy>(&acting.connection, &request, Bytes::new(), timing.deadline()).await
            });
            match answer.await {
                Ok((receipt, _)) => return Receipt::new(&self.to.to_string(), receipt).map(Some),
                Err(error) if remembered && put::retry_unremembered(error.code) => {
                    core.lookups.forget(&self.to);
                    fresh = true;
                }
                Err(error) => fresh = core.after(error, pair, &self.to, retry).await?,
            }
        }
    }

    async fn original(&self, retry: &mut Retry) -> Result<Original> {
        let located = locate(&self.core.manager, &self.from, right::READ, false, retry).await?;
        let missing = |what| Error::bad_request(format_args!("the name manager named no {what}"));
        let record = located.record.ok_or_else(|| missing("file"))?;
        let target =
            Target { pair: record.pair, folder: located.folder, name: located.name, file: record.id };
        let capability = located.capability.ok_or_else(|| missing("capability"))?;
        Ok(Original { target, capability, mode: record.mode })
    }

    fn request(
        &self,
        original: &Original,
        found: &Found,
        acting: &Acting,
        key: &Key<'_>,
        retry: &Retry,
    ) -> CopyRequest {
        let commit = CommitRequest {
            session: self.session.0.to_vec(),
            target: Some(found.target.clone()),
            capability: Some(found.capability.clone()),
            epoch: acting.epoch,
            asker: Some(key.asker(self.ask)),
            create_only: self.options.create_only,
            durability: self.options.durability.into(),
            inherited: found.durability,
            mode: original.mode,
            timeout_ms: retry.left_for_server(),
            ..CommitRequest::default()
        };
        CopyRequest {
            commit: Some(commit),
            source: Some(original.target.clone()),
            capability: Some(original.capability.clone()),
            version_epoch: self.version.epoch,
            version_number: self.version.number,
        }
    }
}

/// Reads and writes, with bounded memory.
async fn rewrite(
    core: &Arc<Core>,
    from: &str,
    to: &PathName,
    record: &Record,
    options: &CopyOptions,
) -> Result<Receipt> {
    let write_options = WriteOptions {
        create_only: options.create_only,
        durability: options.durability,
        mode: record.mode,
        request_key: options.request_key,
        ..WriteOptions::default()
    };
    let read_options = ReadOptions { version: Some(record.head()), ..ReadOptions::default() };
    if record.head_version().is_none_or(|head| head.is_empty()) {
        return Box::pin(write(core, &to.to_string(), Content::Bytes(Bytes::new()), &write_options)).await;
    }
    let mut reader = Reader::open(core.clone(), from, &read_options).await?;
    let (mut sink, stream) = tokio::io::duplex(4 * PIECE);
    let feed = async move {
        while let Some(bytes) = reader.next().await? {
            sink.write_all(&bytes).await?;
        }
        Ok::<(), Error>(())
    };
    // What cannot be read to its end must not become a shorter file.
    let stream = WholeOrNothing { stream, fed: Some(tokio::spawn(feed)) };
    let path = to.to_string();
    Box::pin(write(core, &path, Content::Stream(Box::new(stream)), &write_options)).await
}

/// A stream that ends well only if the one who feeds it did.
struct WholeOrNothing {
    stream: tokio::io::DuplexStream,
    /// None once it has ended well.
    fed: Option<tokio::task::JoinHandle<Result<()>>>,
}

impl tokio::io::AsyncRead for WholeOrNothing {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        use std::task::{Poll, ready};
        let before = buffer.filled().len();
        ready!(std::pin::Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let Some(fed) = self.fed.as_mut().filter(|_| buffer.filled().len() == before) else {
            return Poll::Ready(Ok(()));
        };
        let ended = ready!(std::pin::Pin::new(fed).poll(context)).map_err(std::io::Error::other)?;
        self.fed = None;
        Poll::Ready(ended.map_err(std::io::Error::other))
    }
}
